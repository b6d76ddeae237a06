from __future__ import annotations

import os
from pathlib import Path

import pytest

from vscadmin.errors import ConfigError
from vscadmin.trust import doubts

OURS = frozenset({0, os.getuid()})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text("")
    path.chmod(0o644)
    return path


def test_a_file_that_only_its_owner_can_change_is_trusted(file: Path) -> None:
    assert doubts(str(file), OURS) == ()


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_can_write_is_doubted(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert doubts(str(file), OURS) == (f"{file}: its group or others can write it",)


def test_a_directory_above_that_others_can_write_is_doubted(file: Path) -> None:
    file.parent.chmod(0o777)
    assert len(doubts(str(file), OURS)) == 1
    file.parent.chmod(0o1777)
    assert doubts(str(file), OURS) == (), "in a sticky directory others cannot replace it"


def test_another_owner_is_doubted(file: Path) -> None:
    assert any("not to root" in each for each in doubts(str(file), frozenset({4321})))


def test_the_file_behind_a_link_counts(file: Path, tmp_path: Path) -> None:
    file.chmod(0o666)
    link = tmp_path / "link"
    link.symlink_to(file)
    assert len(doubts(str(link), OURS)) == 1


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match="/nonexistent/x: No such file"):
        doubts("/nonexistent/x")
