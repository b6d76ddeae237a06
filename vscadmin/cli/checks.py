"""What a check of doctor is, and how long it may take."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, TypeVar

from vscadmin.errors import Exit

Found = TypeVar("Found")


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


def within(seconds: float, look: Callable[[], Found]) -> Found:
    """Return what *look* does; raises TimeoutError after *seconds*, and what *look* raises.

    A thread of its own: a name server that does not answer, or a file system that is gone,
    cannot be interrupted otherwise.
    """
    found: list[Found] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            found.append(look())
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not found:
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    return found[0]
