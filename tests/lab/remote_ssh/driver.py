"""Play the editor's side of a Remote-SSH session, byte by byte, over a child process."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Final, Self, TypeVar

from tests.lab.remote_ssh.pipes import Pipes
from tests.lab.remote_ssh.result import (
    Event,
    KeepAlive,
    Platform,
    Progress,
    Ready,
    Result,
    ResultParser,
    Shell,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.lab.remote_ssh.scripts import Script

_WAIT_SECONDS: Final = 90.0
_END_SECONDS: Final = 10.0
_PATIENCE_SECONDS: Final = 3.0
_SHOWN_BYTES: Final = 2000

_T = TypeVar("_T")
_E = TypeVar("_E", bound=Event)


class RemoteSshError(Exception):
    """The session did not get where it should; its last output is in the text."""


class RemoteSsh:
    """One connection of an editor: *argv* stands where the editor runs its ssh.

    Nothing is added to *argv*. Its process gets a process group of its own, and the
    group ends with it: so does what nsenter has started, but what the shell has started
    does not if, as behind an sshd, the shell has a session of its own. *socks_port* is
    where its `-D` listens. *seconds* is how long each step may take.
    """

    def __init__(
        self,
        argv: Sequence[str],
        script: Script,
        *,
        socks_port: int | None = None,
        env: Mapping[str, str] | None = None,
        seconds: float = _WAIT_SECONDS,
    ) -> None:
        self.script = script
        self.socks_port = socks_port
        self._argv = argv
        self._env = env
        self._seconds = seconds
        self._parser = ResultParser(script.script_id)
        self._changed = threading.Condition()
        self._events: list[Event] = []
        self._at_end = False
        self._started: tuple[subprocess.Popen[bytes], Pipes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def socks(self) -> tuple[str, int] | None:
        """Where a window's connections go in, if there is dynamic forwarding."""
        return None if self.socks_port is None else ("127.0.0.1", self.socks_port)

    @property
    def pid(self) -> int:
        """The child's pid."""
        return self._child()[0].pid

    @property
    def stderr(self) -> str:
        """The last of what came on stderr, where a person would read it."""
        return _text(self._child()[1].stderr)

    @property
    def events(self) -> list[Event]:
        """All that was said so far."""
        with self._changed:
            return self._events.copy()

    @property
    def blanks(self) -> int:
        """The number of blanks that have come since the result."""
        return self.events.count(KeepAlive())

    def connect(self, *, greet: bool = True) -> Result:
        """Start, and return the result once it is there, be it a failure."""
        self.start(greet=greet)
        return self.expect(Result)

    def start(self, *, greet: bool = True) -> None:
        """Start the child, greet the shell there, and send the script; stdin stays open.

        The greeting wants a bash, or another shell that reads no further than the line it
        executes: dash would keep the script's beginning from the shell nested in it. An
        editor that does not greet sends the script first and alone.
        """
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            self._argv,
            env=self._env,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            bufsize=0,
            start_new_session=True,
        )
        self._started = process, Pipes(process, self._take)
        if greet:
            self._greet()
        self.send(self.script.render())

    def send(self, data: bytes) -> None:
        """Write *data* to the shell's stdin."""
        try:
            self._child()[1].write(data, self._seconds)
        except OSError as error:
            raise self._error(f"the shell takes no input: {error}") from error

    def expect(self, kind: type[_E], seconds: float | None = None) -> _E:
        """Wait for an event of *kind*; return the first."""

        def first() -> _E | None:
            return next((event for event in self._events if isinstance(event, kind)), None)

        return self._expect(first, kind.__name__, seconds)

    def expect_progress(self, text: str, seconds: float | None = None) -> str:
        """Wait for a progress line with *text* in it; return the first."""

        def first() -> str | None:
            lines = (event.text for event in self._events if isinstance(event, Progress))
            return next((line for line in lines if text in line), None)

        return self._expect(first, f"line with {text!r}", seconds)

    def expect_blanks(self, count: int, seconds: float | None = None) -> None:
        """Wait until *count* blanks have come since the result."""
        self._expect(
            lambda: self._events.count(KeepAlive()) >= count or None, f"{count} blanks", seconds
        )

    def wait(self, seconds: float = _END_SECONDS) -> int:
        """Wait until the child ends by itself; return its status."""
        try:
            return self._child()[0].wait(seconds)
        except subprocess.TimeoutExpired:
            raise self._error(f"still running after {seconds:g} s") from None

    def close(self) -> None:
        """End the session as the editor does: it ends its ssh, and asks nobody."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the session as a crash does."""
        self._end(signal.SIGKILL)

    def _end(self, signum: signal.Signals) -> None:
        if self._started is None:
            return
        process, pipes = self._started
        if signum is not signal.SIGKILL:
            pipes.close_stdin()
        try:
            _signal_group(process, signum)
            process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            _signal_group(process, signal.SIGKILL)
            process.wait(_END_SECONDS)
        finally:
            pipes.close()

    def _greet(self) -> None:
        self.send(f"echo ready: {self.script.script_id}\n".encode())
        self.expect(Ready)
        self.send(b"uname -rsv\n")
        self.expect(Platform)
        self.send(b"echo $0\n")
        self.expect(Shell)
        self.send(f"{self.script.layout.shell}\n".encode())

    def _child(self) -> tuple[subprocess.Popen[bytes], Pipes]:
        if self._started is None:
            raise RemoteSshError("the session has not been started")
        return self._started

    def _take(self, data: bytes) -> None:
        with self._changed:
            self._events += self._parser.receive_data(data)
            self._at_end = not data
            self._changed.notify_all()

    def _expect(self, look: Callable[[], _T | None], what: str, seconds: float | None) -> _T:
        """Return what *look* sees once it sees anything; it looks at the events."""
        deadline = time.monotonic() + (self._seconds if seconds is None else seconds)
        with self._changed:
            while (seen := look()) is None:
                left = deadline - time.monotonic()
                if self._at_end or left <= 0:
                    why = "the session ended" if self._at_end else "too late"
                    raise self._error(f"{why}: no {what}")
                self._changed.wait(left)
        return seen

    def _error(self, what: str) -> RemoteSshError:
        process, pipes = self._child()
        shown = (f"{name}: {_text(data)}" for name, data in _outputs(pipes))
        return RemoteSshError("\n".join((f"{what} (status {process.poll()})", *shown)))


def _signal_group(process: subprocess.Popen[bytes], signum: signal.Signals) -> None:
    """Signal the child's process group, as long as the child itself holds its number."""
    if process.poll() is None:
        os.killpg(process.pid, signum)


def _outputs(pipes: Pipes) -> tuple[tuple[str, bytes], ...]:
    return ("stdout", pipes.stdout[-_SHOWN_BYTES:]), ("stderr", pipes.stderr[-_SHOWN_BYTES:])


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")
