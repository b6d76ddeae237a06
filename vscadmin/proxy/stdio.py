"""The three streams between the client and the shell in the job, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from vscadmin.proxy.boot import Hello, HelloReader, TrailerReader
from vscadmin.proxy.journal import Journal
from vscadmin.proxy.loop import Loop
from vscadmin.proxy.rewrite import Announced, Announcements, Backend, Event, Forward
from vscadmin.proxy.stream import Flow, Outlet

if TYPE_CHECKING:  # direct mode only
    from vscadmin.proxy.binding import Binding


class Callbacks(NamedTuple):
    """What the streams tell their session."""

    hello: Callable[[Hello], None]
    """The step said hello."""
    port: Callable[[int], None]
    """The agent listens there, in direct mode."""
    listen: Callable[[Backend], Backend]
    """A server was announced: where the client finds it."""
    gone: Callable[[], None]
    """The client is gone: nobody reads stdout any more."""
    stderr: Callable[[bytes], bytes]
    """The launcher or the shell wrote this to stderr: what of it is for the user."""
    stderr_ended: Callable[[], bytes]
    """There is no more of it: what of the last line is for the user."""
    fail: Callable[[str], None]
    """The session cannot go on."""


class Stdio:
    """Stdin, stdout and stderr of a session.

    Stdin is left alone until `open_stdin`; stdout is not the shell's until the hello came.
    """

    def __init__(
        self,
        loop: Loop,
        journal: Journal,
        mark: bytes,
        told: Callbacks,
    ) -> None:
        self._loop = loop
        self._journal = journal
        self._told = told
        self._mark = mark
        self._tees = journal.tees
        self._hello = HelloReader(mark)
        self._announcements = Announcements()
        self._read: Callable[[bytes], bytes] = self._before_hello
        self._bind: Binding | None = None
        self._trailer: TrailerReader | None = None
        self.shell_bytes = 0
        """Bytes of the shell's stdout that arrived."""
        self.trailing_status: int | None = None
        """The status that a shell without an agent left at the end of its output."""
        self._stdout = Outlet(loop, 1, gone=told.gone)
        self._stderr = Outlet(loop, 2)
        journal.user = self._stderr.write

    def connect(self, stdin: int, stdout: int, stderr: int) -> None:
        """Take our ends of the launcher's pipes."""
        self._stdin = Outlet(self._loop, stdin)
        self._out = Flow(self._loop, stdout, self._stdout, self._from_step, self._out_ended)
        self._err = Flow(self._loop, stderr, self._stderr, self._from_stderr, self._err_ended)
        self._out.inlet.resume()
        self._err.inlet.resume()

    def order(self, data: bytes) -> None:
        """Send something of ours to the step, before the client's stdin."""
        self._stdin.write(data)

    def open_stdin(self, bind_to: str = "") -> None:
        """Let the client's stdin through; *bind_to* is the host that servers have to bind to."""
        if bind_to:
            from vscadmin.proxy.binding import Binding  # noqa: PLC0415 - direct mode only

            self._bind = Binding(bind_to, self._journal)
        self._in = Flow(self._loop, 0, self._stdin, self._from_client, self._in_ended)
        self._in.inlet.resume()

    def expect_port(self) -> None:
        """After the hello comes the agent's port."""
        self._held = b""
        self._read = self._before_port

    def expect_trailer(self) -> None:
        """After the shell's output comes its status."""
        self._trailer = TrailerReader(self._mark)

    # Stdout.

    def _from_step(self, data: bytes) -> bytes:
        written = self._read(data)
        self._tees[1].write(written)
        return written

    def _before_hello(self, data: bytes) -> bytes:
        try:
            found = self._hello.feed(data)
        except ValueError as error:
            self._told.fail(str(error))
            return b""
        if found is None:
            return b""
        hello, rest = found
        self._read = self._from_shell
        self._told.hello(hello)
        return self._read(rest)

    def _before_port(self, data: bytes) -> bytes:
        self._held += data
        line, newline, rest = self._held.partition(b"\n")
        if not newline:
            return b""
        self._read = self._from_shell
        self._told.port(int(line.split()[-1]))
        return self._read(rest)

    def _from_shell(self, data: bytes) -> bytes:
        self.shell_bytes += len(data)
        if self._trailer is not None:
            data = self._trailer.feed(data)
        return self._rewritten(self._announcements.receive_data(data))

    def _rewritten(self, events: list[Event]) -> bytes:
        written = []
        while events:
            event, *events = events
            if isinstance(event, Forward):
                written.append(event.data)
            elif isinstance(event, Announced):
                answer = self._told.listen(event.backend)
                events += self._announcements.answer(answer)
        return b"".join(written)

    def _out_ended(self) -> None:
        rest = b""
        if self._trailer is not None:
            left, self.trailing_status = self._trailer.end()
            rest = self._rewritten(self._announcements.receive_data(left))
        rest += self._rewritten(self._announcements.end())
        self._tees[1].write(rest)
        self._stdout.write(rest)

    # Stderr.

    def _from_stderr(self, data: bytes) -> bytes:
        written = self._told.stderr(data)
        self._tees[2].write(written)
        return written

    def _err_ended(self) -> None:
        rest = self._told.stderr_ended()
        self._tees[2].write(rest)
        self._stderr.write(rest)

    # Stdin.

    def _from_client(self, data: bytes) -> bytes:
        self._tees[0].write(data)
        return data if self._bind is None else self._bind.through(data)

    def _in_ended(self) -> None:
        if self._bind is not None:
            self._stdin.write(self._bind.end())
        self._stdin.close()

    # The end.

    def drain(self) -> None:
        """Read what the launcher has written by now."""
        self._out.inlet.drain()
        self._err.inlet.drain()
        if self._trailer is not None:
            self.trailing_status = self._trailer.status

    @property
    def is_flushed(self) -> bool:
        """Whether the client took all there is."""
        return self._stdout.is_empty and self._stderr.is_empty

    def close(self) -> None:
        """Finish the copies."""
        for tee in self._tees:
            tee.close()
