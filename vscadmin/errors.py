"""Every expected failure and its exit code. Anything else that is raised is a bug (exit 1)."""

from __future__ import annotations

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
