"""What a bootstrap script says on its stdout: bytes in, events out, in any chunking."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_KEY: Final = re.compile(r"[A-Za-z]\w*")
_EXEC_BACKEND_TOKEN: Final = "remotessh"  # noqa: S105  # every exec server's server has it


@dataclass(frozen=True, slots=True)
class Ready:
    """The remote shell has carried out its first command."""


@dataclass(frozen=True, slots=True)
class Platform:
    """What `uname -rsv` said."""

    text: str


@dataclass(frozen=True, slots=True)
class Shell:
    """What `echo $0` said."""

    text: str


@dataclass(frozen=True, slots=True)
class Running:
    """The script has begun."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A line for the user to read, or one that is none of ours."""

    text: str


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """One of the blanks that follow the result."""


@dataclass(frozen=True, slots=True)
class Result:
    """The block that tells the client where its server is, or that there is none."""

    values: Mapping[str, str]

    @property
    def exit_code(self) -> int:
        """What is wrong, as a number; 0 if the server is there."""
        return int(self.values.get("exitCode", "0"))

    @property
    def endpoint(self) -> tuple[str, int] | Path | None:
        """What the client dials on the login node: its loopback whatever host is named."""
        place = self.values.get("listeningOn", "")
        if place.startswith("/"):
            return Path(place)
        port = place.rpartition(":")[2]
        return ("127.0.0.1", int(port)) if port else None

    @property
    def token(self) -> str:
        """The token of the server itself, which an exec server only passes bytes to."""
        return self.values.get("connectionToken", _EXEC_BACKEND_TOKEN)


Event = Ready | Platform | Shell | Running | Progress | KeepAlive | Result


class _State(enum.Enum):
    TALKING = enum.auto()
    READY = enum.auto()
    PLATFORM_KNOWN = enum.auto()
    IN_RESULT = enum.auto()
    DONE = enum.auto()


class ResultParser:
    """Read the output of the session with *script_id*.

    A value counts only inside the block between `start` and `end`, at a line's start:
    a shell that echoes its input shows the script's own lines as well.
    """

    def __init__(self, script_id: str) -> None:
        self._id = script_id
        self._state = _State.TALKING
        self._held = b""
        self._values: dict[str, str] = {}

    def receive_data(self, data: bytes) -> list[Event]:
        """Take bytes from the shell; return what they complete."""
        self._held += data
        events: list[Event] = []
        while True:
            events += self._blanks()
            line, newline, rest = self._held.partition(b"\n")
            if not newline:
                return events
            self._held = rest
            events += self._line(line.decode(errors="replace").strip())

    def _blanks(self) -> list[Event]:
        """Take the blanks that wait for no end of line."""
        if self._state is not _State.DONE:
            return []
        rest = self._held.lstrip(b" ")
        count, self._held = len(self._held) - len(rest), rest
        return [KeepAlive()] * count

    def _line(self, line: str) -> list[Event]:
        if line == f"ready: {self._id}":
            self._state = _State.READY
            return [Ready()]
        if line == f"{self._id}: running":
            self._state = _State.TALKING
            return [Running()]
        if line == f"{self._id}: start":
            self._state = _State.IN_RESULT
            self._values = {}
            return []
        return self._text(line) if line else []

    def _text(self, line: str) -> list[Event]:
        match self._state:
            case _State.READY:
                self._state = _State.PLATFORM_KNOWN
                return [Platform(line)]
            case _State.PLATFORM_KNOWN:
                self._state = _State.TALKING
                return [Shell(line)]
            case _State.IN_RESULT:
                return self._in_result(line)
        return [Progress(line)]

    def _in_result(self, line: str) -> list[Event]:
        if line == f"{self._id}: end":
            self._state = _State.DONE
            return [Result(self._values)]
        if (values := _values(line)) is None:
            return [Progress(line)]
        self._values.update(values)
        return []


def _values(line: str) -> dict[str, str] | None:
    """Return the values in `key==value==key==value==`, or nothing if it is another line."""
    *fields, end = line.split("==")
    keys = fields[::2]
    if end or not fields or len(fields) % 2 or not all(map(_KEY.fullmatch, keys)):
        return None
    return dict(zip(keys, fields[1::2], strict=True))
