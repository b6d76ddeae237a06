"""The note of what is stopped says whose it is, and is of one boot."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from vscadmin.cleanup import stopping
from vscadmin.errors import StoreFailedError
from vscadmin.model import ProcessKey

KEYS = (ProcessKey(10, 100), ProcessKey(11, 101))


def test_the_next_run_knows_whose_and_which(tmp_path: Path) -> None:
    path = str(tmp_path / "own" / "store")
    stopping.note(path, "boot", 1001, KEYS)
    assert stopping.left_behind(path, "boot") == stopping.Left(1001, KEYS)
    assert stopping.left_behind(path, "another boot") is None
    stopping.forget(path)
    assert stopping.left_behind(path, "boot") is None


def test_a_disk_that_takes_a_part_of_it_takes_none(tmp_path: Path) -> None:
    """Else nothing would be continued that was stopped then."""
    path = str(tmp_path / "own" / "store")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StoreFailedError, match=r"store\.stopping: cannot be written: No space"):
            stopping.note(path, "boot", 1001, [ProcessKey(pid, pid) for pid in range(1000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_note_that_does_not_say_whose_is_none(tmp_path: Path) -> None:
    path = str(tmp_path / "own" / "store")
    stopping.note(path, "boot", 1001, KEYS)
    Path(path + ".stopping").write_text('["boot", [[10, 100]]]')
    assert stopping.left_behind(path, "boot") is None
