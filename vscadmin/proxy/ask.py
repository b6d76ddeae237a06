"""Short questions to other programs, asked without waiting: squeue, scancel."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from vscadmin.proxy.child import Children, spawn
from vscadmin.proxy.loop import Loop
from vscadmin.proxy.shell import status_of
from vscadmin.proxy.stream import Inlet

_LONGEST = 1 << 20  # bytes of an answer; what comes after them is not read
NOT_STARTED = 127
KILLED = 128 + signal.SIGKILL
"""Its status where no answer came in time."""


class Asker:
    """Runs one command at a time, each with a deadline."""

    def __init__(self, loop: Loop, children: Children, environment: Mapping[str, str]) -> None:
        self._loop = loop
        self._children = children
        self._environment = environment

    def ask(
        self, argv: Sequence[str], seconds: float, answered: Callable[[bytes, int], None]
    ) -> None:
        """Run *argv*; *answered* gets its stdout and its exit status (128 + signal if killed)."""
        opened: list[int] = []
        try:
            opened += os.pipe2(os.O_CLOEXEC)
            opened.append(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
            reader, writer, null = opened
            pid = spawn(argv, self._environment, (null, writer, null), waits=False)
        except OSError:  # as where connections have all the descriptors there are
            for fd in opened:
                os.close(fd)
            answered(b"", NOT_STARTED)
            return
        os.close(writer)
        os.close(null)
        _Question(self._loop, self._children, pid, reader, answered).give(seconds)


class _Question:
    """One command under way; answered when it ended and its output did."""

    def __init__(
        self,
        loop: Loop,
        children: Children,
        pid: int,
        reader: int,
        answered: Callable[[bytes, int], None],
    ) -> None:
        self._loop = loop
        self._pid = pid
        self._reader = reader
        self._answered = answered
        self._output = b""
        self._status: int | None = None
        self._is_read = self._is_answered = False
        self._inlet = Inlet(loop, reader, self._received, self._ended)
        self._inlet.resume()
        children.add(pid, self._reaped)

    def give(self, seconds: float) -> None:
        """End it after so many seconds."""
        self._deadline = self._loop.later(seconds, self._too_late)

    def _too_late(self) -> None:
        """Wait for nobody any more: what a wrapper has started may hold its output."""
        if self._status is None:  # else its number may be another's by now
            for end in (os.killpg, os.kill):  # it may not lead its group yet
                with suppress(ProcessLookupError, PermissionError):
                    end(self._pid, signal.SIGKILL)
        self._inlet.close()
        self._answer(KILLED)

    def _received(self, data: bytes) -> None:
        if len(self._output) < _LONGEST:
            self._output += data

    def _ended(self) -> None:
        self._is_read = True
        self._maybe_answer()

    def _reaped(self, waited: int) -> None:
        self._status = status_of(waited)
        self._maybe_answer()

    def _maybe_answer(self) -> None:
        if self._is_read and self._status is not None:
            self._answer(self._status)

    def _answer(self, status: int) -> None:
        """Answer once; the process may be reaped later."""
        if not self._is_answered:
            self._is_answered = True
            self._deadline.cancel()
            os.close(self._reader)
            self._answered(self._output, status)
