"""What happens at a bad moment: a clock that is set, a policy that changes, what exec(2) leaves."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.builders import CATALOGUE
from vscadmin.cleanup import store_file
from vscadmin.cli.main import cli
from vscadmin.errors import StoreFailedError
from vscadmin.procs.scan import take_snapshot

INHERITED = """
import signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM, signal.SIGTERM])
sys.argv = ["vscadmin", "--version"]
from vscadmin.cli.main import main
try:
    main()
finally:
    print(signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL)
    print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


def test_signals_are_not_as_who_started_us_had_them() -> None:
    """A sendmail that failed would have delivered, and no deadline would be heard."""
    done = subprocess.run([sys.executable, "-c", INHERITED], capture_output=True, check=True)
    assert done.stdout.splitlines()[-2:] == [b"True", b"set()"]


def test_a_clock_that_is_set_within_a_look_is_seen_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    before = take_snapshot(CATALOGUE)
    real, asked = time.time, []

    def stepping() -> float:
        """Return the time, an hour later from the second question on."""
        asked.append(real())
        return asked[-1] + (3600 if len(asked) > 1 else 0)

    monkeypatch.setattr(time, "time", stepping)
    after = take_snapshot(CATALOGUE)
    steps = (after.boot_time - before.boot_time, after.taken_at - before.taken_at)
    assert steps[0] == pytest.approx(steps[1], abs=60)


def test_the_policy_is_that_of_the_time_after_the_splay(
    root: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.toml"

    def of(store: str) -> str:
        return f'version = 1\nmode = "observe"\n[store]\npath = "{tmp_path}/{store}/store.sqlite"\n'

    policy.write_text(of("before"))
    monkeypatch.setattr(time, "sleep", lambda _: policy.write_text(of("after")))
    done = CliRunner().invoke(cli, ["cleanup", "--policy", str(policy), "--splay", "5m"])
    assert done.exception is None, done.output
    assert (tmp_path / "after").exists()
    assert not (tmp_path / "before").exists()


def test_a_run_that_dies_while_it_sets_a_store_aside_makes_none_of_the_next_suspect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own" / "store.sqlite"
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"damaged")
    store_file.mark_suspect(str(path))
    assert store_file.is_suspect(str(path))

    def die(*_: object) -> None:
        raise OSError(5, "killed")

    monkeypatch.setattr("os.rename", die)
    with pytest.raises(StoreFailedError):
        store_file.set_aside(str(path), 0.0)
    assert not store_file.is_suspect(str(path))
