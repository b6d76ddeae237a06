"""A site's own family files: what they can say, and what is wrong with one in one go."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import COMMIT
from vscadmin.errors import ConfigError
from vscadmin.procs.families import load_catalogue

GOOD = """
[[family]]
name = "zed"
title = "Zed"
status = "unverified"
grace = "10m"
[[family.layout]]
name = "server"
folder = [".zed_server/<commit>"]
[[family.layout.process]]
name = "server"
role = "root"
program = "zed"
exe = ["path"]
listens = { tcp = true }
[[agent]]
name = "helper"
path = "zed/helper"
"""


def test_a_site_adds_a_family(tmp_path: Path) -> None:
    (tmp_path / "zed.toml").write_text(GOOD)
    (tmp_path / "notes.txt").write_text("no TOML")
    catalogue = load_catalogue(str(tmp_path))
    match = catalogue.match((f"/home/u/.zed_server/{COMMIT}/zed".encode(),))
    assert match is not None
    assert (match.family.name, match.family.grace) == ("zed", 600)
    assert catalogue.agent([b"/opt/zed/helper"]) == "helper"


def test_a_site_replaces_a_family_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "cursor.toml").write_text(GOOD.replace('"zed"\n', '"cursor"\n', 1))
    family = load_catalogue(str(tmp_path)).family("cursor")
    assert family is not None
    assert family.title == "Zed"


def test_a_missing_directory_is_no_error() -> None:
    assert load_catalogue("/nonexistent").families == load_catalogue().families


def problems(tmp_path: Path, text: str) -> str:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_catalogue(str(tmp_path))
    assert all(line.startswith(f"{tmp_path}/bad.toml: ") for line in caught.value.problems)
    return str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('name = "zed"', "name = 7", "name: must be a string, not 7"),
        ('title = "Zed"', "", "title: is missing"),
        ('status = "unverified"', 'status = "maybe"', '"maybe" is not one of verified, unverified'),
        ('grace = "10m"', 'grace = "5w"', '"5w" is no duration'),
        ('folder = [".zed_server/<commit>"]', "folder = [1]", "folder: must be a list of strings"),
        ('role = "root"', 'role = "member"', "no process has the role root"),
        ('program = "zed"', "", "needs either script or program"),
        ('exe = ["path"]', "", "needs exe"),
        ('exe = ["path"]', 'exe = ["foldr/zed"]', '"foldr/zed" is no shell, path'),
        ("tcp = true", 'udp = true, tcp = "yes"', "listens.udp: unknown key"),
        ('path = "zed/helper"', "", "path: is missing"),
        ("[[agent]]", "[agent]", "agent: must be a list"),
        ("[[family.layout]]", "[[family.layouts]]", "layouts: unknown key"),
    ],
)
def test_a_bad_file_is_told_key_by_key(tmp_path: Path, before: str, after: str, said: str) -> None:
    assert before in GOOD
    assert said in problems(tmp_path, GOOD.replace(before, after, 1))


def test_all_errors_come_at_once(tmp_path: Path) -> None:
    text = problems(tmp_path, GOOD.replace("10m", "5w").replace('exe = ["path"]', "color = 1"))
    assert len(text.splitlines()) == 3


@pytest.mark.parametrize("text", [b"[[family", b"\xff\xfe"])
def test_what_is_no_toml_is_told(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "bad.toml").write_bytes(text)
    with pytest.raises(ConfigError, match="is no TOML"):
        load_catalogue(str(tmp_path))


def test_a_file_that_is_not_trusted_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("not even TOML [")
    with pytest.raises(ConfigError, match="others can write it"):
        load_catalogue(str(tmp_path), trusted=lambda _path: "others can write it")


def test_an_unreadable_directory_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ConfigError, match="Not a directory"):
        load_catalogue(str(file))
