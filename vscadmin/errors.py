"""Every expected failure, its exit code, and words for what is wrong.

Anything else that is raised is a bug (exit 1).
"""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum


class Exit(IntEnum):
    """What the exit status of `vscadmin` says; the values of sysexits.h where one fits."""

    DONE = 0
    BUG = 1
    USAGE = 2
    INCOMPLETE = 10
    PLAN_REFUSED = 11
    WOULD_ACT = 12
    NO_BACKEND = 69
    NO_PROCESS_TABLE = 71
    LOCK_HELD = 75
    NOT_PERMITTED = 77
    BAD_CONFIGURATION = 78


class VscadminError(Exception):
    """An expected failure: one clear line for the user, and the exit code of the design."""

    exit_code = Exit.BUG


class UsageError(VscadminError):
    """The command line asks for something that is not there: a pid, a user, a product."""

    exit_code = Exit.USAGE


class ProcessTableError(VscadminError):
    """/proc is missing, is not a process table or cannot be listed."""

    exit_code = Exit.NO_PROCESS_TABLE


class ConfigError(VscadminError):
    """A policy, catalogue or site file is wrong; *problems* holds all of it, a line each."""

    exit_code = Exit.BAD_CONFIGURATION

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class PlanRefusedError(VscadminError):
    """More would be ended at once than the policy allows, or not what was approved."""

    exit_code = Exit.PLAN_REFUSED

    def __init__(self, words: str, plan_hash: str = "") -> None:
        super().__init__(words)
        self.plan_hash = plan_hash


class NotPermittedError(VscadminError):
    """Only root may do this."""

    exit_code = Exit.NOT_PERMITTED


class LockHeldError(VscadminError):
    """Another run holds the lock: this one does nothing, and the next comes soon enough."""

    exit_code = Exit.LOCK_HELD


class StoreError(VscadminError):
    """The store may not be used until an admin sees to it, so it counts as configuration.

    Others could change it, a newer vscadmin wrote it, or it is another program's database.
    """

    exit_code = Exit.BAD_CONFIGURATION


class StoreFailedError(StoreError):
    """The store could not be read or written now: a full disk, a busy or a damaged file.

    What is not recorded must not be done: the run stops there, and what it left undone
    makes it incomplete. The next one tries again.
    """

    exit_code = Exit.INCOMPLETE


class TimeOverError(VscadminError):
    """A run took longer than the policy allows; what it had begun is recorded."""

    exit_code = Exit.INCOMPLETE


def shown(value: object) -> str:
    """Return *value* as a problem shows it: quoted if it is a string, and not too long."""
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def suggestion(word: str, known: Collection[str]) -> str:
    """Return what to put after an unknown *word*: the known one that is most like it, or ""."""
    from difflib import get_close_matches  # noqa: PLC0415 - 3 ms, and only of use in an error

    close = get_close_matches(word, known, 1)
    return f'; did you mean "{close[0]}"?' if close else ""
