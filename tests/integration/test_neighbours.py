"""Hostile neighbours: real processes with a server's names that must never be candidates."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.lookalike import Lookalike
from tests.run import COMMAND, eventually, json_of


@pytest.fixture
def lookalike(tmp_path: Path) -> Lookalike:
    return Lookalike(tmp_path)


@contextlib.contextmanager
def started(argv: list[str], executable: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(argv, executable=executable, stdin=subprocess.PIPE) as process:
        try:
            eventually(lambda: psutil.Process(process.pid).cmdline(), lambda seen: seen == argv)
            yield process
        finally:
            process.kill()


def pids() -> set[int]:
    return {tree["pid"] for tree in json_of("scan")["trees"]}


def reason(pid: int) -> str:
    return str(json_of("explain", str(pid))["no_tree"])


def test_an_editor_on_a_servers_file(lookalike: Lookalike, tmp_path: Path) -> None:
    vim = tmp_path / "vim"
    shutil.copy("/usr/bin/tail", vim)
    with started([str(vim), "-f", str(lookalike.launcher)]) as editor:
        assert editor.pid not in pids()
        assert "neither its program nor its script is a path of the catalogue" in reason(editor.pid)


def test_tail_of_a_servers_log(lookalike: Lookalike) -> None:
    log = lookalike.folder.parents[1] / ".abc.log"
    log.write_text("listening\n")
    with started(["tail", "-f", str(log)], "/usr/bin/tail") as tail:
        assert tail.pid not in pids()


def test_a_job_that_the_debugger_started(lookalike: Lookalike) -> None:
    script = lookalike.folder.parents[1] / "extensions" / "ms-python.debugpy-1" / "launcher.py"
    script.parent.mkdir(parents=True)
    script.write_text("import sys; sys.stdin.read()\n")
    with started([sys.executable, str(script), "--", "/home/ada/job.py"]) as job:
        assert job.pid not in pids()


def test_a_process_that_renamed_itself(lookalike: Lookalike) -> None:
    argv = [str(lookalike.node), "-f", str(lookalike.main)]
    with started(argv, "/usr/bin/tail") as liar:
        assert liar.pid not in pids()
        assert "but its executable is" in reason(liar.pid)


def test_a_title_with_a_servers_whole_command_line(lookalike: Lookalike) -> None:
    with started(
        [f"{lookalike.node} {lookalike.main}", "-f", "/dev/null"], "/usr/bin/tail"
    ) as liar:
        assert liar.pid not in pids()


def test_ourselves_and_our_ancestors(lookalike: Lookalike) -> None:
    """Somebody may look from the terminal of the very server that he works in."""
    lookalike.main.write_text(f"{COMMAND} scan --json\n")
    seen = subprocess.run(
        ["sh", str(lookalike.launcher)], capture_output=True, text=True, check=True, timeout=60
    )
    assert str(lookalike.folder) not in seen.stdout
    assert '"kind": "scan"' in seen.stdout


def test_a_lookalike_itself_is_found(lookalike: Lookalike) -> None:
    """Else the tests above could not fail."""
    with lookalike.start() as process:
        try:
            assert process.pid in eventually(pids, lambda seen: process.pid in seen)
        finally:
            for child in psutil.Process(process.pid).children():
                child.kill()
            process.wait(10)
    assert os.path.exists(lookalike.fifo)
