"""The note of what is stopped says whose it is, and is of one boot."""

from __future__ import annotations

from pathlib import Path

from vscadmin.cleanup import stopping
from vscadmin.model import ProcessKey

KEYS = (ProcessKey(10, 100), ProcessKey(11, 101))


def test_the_next_run_knows_whose_and_which(tmp_path: Path) -> None:
    path = str(tmp_path / "own" / "store")
    stopping.note(path, "boot", 1001, KEYS)
    assert stopping.left_behind(path, "boot") == stopping.Left(1001, KEYS)
    assert stopping.left_behind(path, "another boot") is None
    stopping.forget(path)
    assert stopping.left_behind(path, "boot") is None


def test_a_note_that_does_not_say_whose_is_none(tmp_path: Path) -> None:
    path = str(tmp_path / "own" / "store")
    stopping.note(path, "boot", 1001, KEYS)
    Path(path + ".stopping").write_text('["boot", [[10, 100]]]')
    assert stopping.left_behind(path, "boot") is None
