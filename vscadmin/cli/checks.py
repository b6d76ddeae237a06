"""What a check of doctor is."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from vscadmin.errors import Exit


class Grade(StrEnum):
    """How a check went. A warning narrows what can be seen or done; a failure stops it."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


class Check(NamedTuple):
    """One check, and the exit code that its failure leads to."""

    name: str
    grade: Grade
    words: str
    code: Exit = Exit.DONE
