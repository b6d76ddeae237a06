"""Saying that connections are refused, without letting a stranger fill the user's screen."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from vscadmin.proxy.loop import Loop

_MINUTE = 60.0  # s


class Refusals:
    """Passes a line on at once; the same one again after a minute, with how often it came."""

    def __init__(self, loop: Loop, say: Callable[[str], None]) -> None:
        self._loop = loop
        self._say = say
        self._repeated: dict[str, int] = {}

    def add(self, line: str) -> None:
        """Say *line*, now or within a minute."""
        if line in self._repeated:
            self._repeated[line] += 1
        else:
            self._say(line)
            self._wait(line)

    def _wait(self, line: str) -> None:
        self._repeated[line] = 0
        self._loop.later(_MINUTE, partial(self._again, line))

    def _again(self, line: str) -> None:
        count = self._repeated.pop(line)
        if count:
            self._say(f"{line}, {count} more within a minute")
            self._wait(line)
