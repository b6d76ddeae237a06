"""docs/relay-hazards.md is complete, and every test that it names exists."""

from __future__ import annotations

import re

import pytest

from tests.contract.markdown import DOCS, ROOT, in_backquotes, rows

PAGE = rows((DOCS / "relay-hazards.md").read_text(encoding="utf-8"))
FAULTS = range(1, 20)
SHOWN = sorted({name for *_, shown in PAGE for name in in_backquotes(shown)})


def test_every_fault_has_its_row_and_a_test_that_shows_it() -> None:
    assert [int(row[0]) for row in PAGE] == list(FAULTS)
    for row in PAGE:
        assert len(row) == 4
        assert all(row)
        assert re.fullmatch(r"`[^`]+`(, `[^`]+`)*", row[3]), f"what shows fault {row[0]}?"


def test_every_fault_has_a_test_of_its_own_on_any_machine() -> None:
    for row in PAGE:
        assert "`tests/integration/test_known_faults.py::" in row[3], row[0]


@pytest.mark.parametrize("name", SHOWN)
def test_what_shows_it_exists(name: str) -> None:
    path, _, test = name.partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf"^ *def {re.escape(test)}\(", text, re.MULTILINE)
