"""docs/hazards.md is complete, and every test that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HAZARDS = range(1, 39)


def rows() -> list[list[str]]:
    text = (ROOT / "docs" / "hazards.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (\d+ \| .*) \|$", text, re.MULTILINE)
    return [line.split(" | ") for line in lines]


def named() -> list[str]:
    return sorted({name for row in rows() for name in re.findall(r"`([^`]+)`", row[3])})


def test_every_hazard_has_its_row_and_something_that_shows_it() -> None:
    assert [int(row[0]) for row in rows()] == list(HAZARDS)
    for row in rows():
        assert len(row) == 4
        assert all(cell.strip() for cell in row)
        assert re.fullmatch(r"`[^`]+`(, `[^`]+`)*", row[3]), f"what shows hazard {row[0]}?"


@pytest.mark.parametrize("name", named())
def test_what_shows_it_exists(name: str) -> None:
    path, _, test = name.partition("::")
    assert path.startswith("tests/")
    if test:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^ *def {re.escape(test)}\(", text, re.MULTILINE)
    else:
        assert path.endswith(".toml")
        assert (ROOT / path).is_file()
