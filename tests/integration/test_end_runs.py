"""What takes cleanup off a node ends that installation's runs, and nobody who looks like one."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

END_RUNS = (
    Path(__file__).parents[2] / "ansible" / "roles" / "vscadmin_cleanup" / "files" / "end_runs.py"
)
WAIT = "import signal; signal.pause()"


@pytest.mark.usefixtures("root")
def test_the_runs_of_one_prefix_are_ended_and_nobody_else(tmp_path: Path) -> None:
    prefix = tmp_path / "opt"
    python = f"{prefix}/1.0/bin/python3"

    def start(*argv: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(argv, executable=sys.executable)
        everybody.callback(process.wait)
        everybody.callback(process.kill)
        return process

    with ExitStack() as everybody:
        run = start(python, "-I", "-c", WAIT, "cleanup", "--splay", "5m")
        others = [
            start(python, "-I", "-c", WAIT, "report", "cleanup"),
            start(f"{python} -I -c x cleanup", "-I", "-c", WAIT),  # the same, joined by spaces
            start(f"{prefix}2/1.0/bin/python3", "-I", "-c", WAIT, "cleanup"),
            start("python3", "-I", "-c", WAIT, python, "-I", "-c", WAIT, "cleanup"),
        ]
        said = end_runs(prefix)
        assert (said.returncode, said.stdout) == (0, f"pid {run.pid} was told to end\n")
        assert run.wait(5) == -signal.SIGTERM
        assert [other.poll() for other in others] == [None] * len(others)
        assert (end_runs(prefix).returncode, end_runs(prefix).stdout) == (0, "")


def end_runs(prefix: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-I", str(END_RUNS), str(prefix)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=90, check=False)
