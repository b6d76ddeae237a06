"""Where the agent comes back to: a listener that knows nobody who does not prove the key."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator

from vscadmin.proxy import wire
from vscadmin.proxy.acceptor import Acceptor
from vscadmin.proxy.link import reset
from vscadmin.proxy.listener import ListenError, listen
from vscadmin.proxy.loop import READ, Loop, Timer
from vscadmin.proxy.refusals import Refusals

_UNPROVEN = 16  # connections at once that have not proven the key
_SECONDS = 5.0  # s each of them has
_SILENT = 1  # s the kernel keeps a connection that says nothing to itself, tcp(7): those that
# come with a greeting are proven at once, and never crowd each other out
_BACKLOG = 1024


class DialBack:
    """Listens for the agent at *address*, at any of *ports* (first and last; 0, 0 is any).

    *authenticated* gets the one control connection; every later one of the session has to come
    from where that came, for an identifier that is expected. *strange* gets a line for the log
    about those who are refused. Raises ListenError.
    """

    def __init__(
        self,
        loop: Loop,
        address: str,
        ports: tuple[int, int],
        key: bytes,
        *,
        authenticated: Callable[[socket.socket], None],
        strange: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._key = key
        self._authenticated = authenticated
        self._refusals = Refusals(loop, strange)
        self._agent = ""
        self._unproven: dict[int, _Newcomer] = {}
        self._expected: dict[bytes, tuple[Timer, Callable[[socket.socket | None], None]]] = {}
        listening = _listen(address, ports)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _SILENT)
        self.port: int = listening.getsockname()[1]
        self._acceptor = Acceptor(loop, listening, self._accepted)

    def expect(
        self, ident: bytes, seconds: float, use: Callable[[socket.socket | None], None]
    ) -> None:
        """Hand the connection that names *ident* to *use*, once; None if it does not come."""

        def late() -> None:
            del self._expected[ident]
            use(None)

        self._expected[ident] = (self._loop.later(seconds, late), use)

    def forget(self, ident: bytes) -> None:
        """Expect that one no longer; its *use* is not called."""
        expected = self._expected.pop(ident, None)
        if expected is not None:
            expected[0].cancel()

    def _accepted(self, connection: socket.socket) -> None:
        if self._agent and _host(connection) != self._agent:
            self._refuse(connection, "which is not the job's node")
            return
        if len(self._unproven) >= _UNPROVEN:
            next(iter(self._unproven.values())).give_up()
        newcomer = _Newcomer(self._loop, connection, self._heard)
        self._unproven[connection.fileno()] = newcomer
        newcomer.read()

    def _heard(self, newcomer: _Newcomer, data: bytes) -> None:
        """Judge a whole greeting, or what there was of one."""
        connection = newcomer.connection
        del self._unproven[connection.fileno()]
        said = wire.read_greeting(self._key, data)
        if said is None:
            self._refuse(connection, "which did not prove the key")
            return
        if said.kind == wire.CONTROL and not self._agent:
            self._agent = _host(connection)
            if _answer(connection, wire.answer(self._key, said)):
                self._authenticated(connection)
                return
        elif said.kind == wire.DATA and said.ident in self._expected:
            timer, use = self._expected.pop(said.ident)
            timer.cancel()
            if _answer(connection, wire.answer(self._key, said)):
                use(connection)
                return
            use(None)
        reset(connection)

    def _refuse(self, connection: socket.socket, who: str) -> None:
        self._refusals.add(f"a connection from {_host(connection)}, {who}, was refused")
        reset(connection)

    def close(self) -> None:
        """Take nobody any more; what was handed on stays."""
        self._acceptor.close()
        for newcomer in self._unproven.values():
            newcomer.leave()
            reset(newcomer.connection)
        self._unproven.clear()
        for ident in list(self._expected):
            self.forget(ident)


class _Newcomer:
    """A connection that has yet to say its greeting."""

    def __init__(
        self,
        loop: Loop,
        connection: socket.socket,
        heard: Callable[[_Newcomer, bytes], None],
    ) -> None:
        self._loop = loop
        self.connection = connection
        self._heard = heard
        self._data = b""
        self._timer = loop.later(_SECONDS, self.give_up)
        self._is_watched = False

    def read(self, _events: int = READ) -> None:
        """Read what is there, and not a byte of what comes after the greeting."""
        try:
            more = self.connection.recv(wire.GREETING_SIZE - len(self._data))
        except BlockingIOError:
            if not self._is_watched:
                self._is_watched = True
                self._loop.watch(self.connection.fileno(), READ, self.read)
            return
        except OSError:
            more = b""
        self._data += more
        if not more or len(self._data) == wire.GREETING_SIZE:
            self._end(self._data)
        elif not self._is_watched:
            self.read()

    def give_up(self) -> None:
        """Judge it by what it has said so far, which is not enough."""
        self._end(b"")

    def leave(self) -> None:
        """Listen to it no more, and leave it open."""
        self._timer.cancel()
        if self._is_watched:
            self._loop.forget(self.connection.fileno())

    def _end(self, data: bytes) -> None:
        self.leave()
        self._heard(self, data)


def _listen(address: str, ports: tuple[int, int]) -> socket.socket:
    first, last = ports
    for port in _mixed(first, last):
        try:
            return listen(address, port, _BACKLOG)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ListenError(f"{address}: {error.strerror} (relay_address)") from error
    raise ListenError(f"{address}: none of the ports {first}-{last} is free (relay_ports)")


def _mixed(first: int, last: int) -> Iterator[int]:
    """Yield every port once, from anywhere on: sessions that start together do not collide."""
    count = last - first + 1
    start = int.from_bytes(os.urandom(4), "big")
    for number in range(start, start + count):
        yield first + number % count


def _answer(connection: socket.socket, proof: bytes) -> bool:
    try:
        connection.send(proof)  # a new connection has room for 32 bytes
    except OSError:
        return False
    return True


def _host(connection: socket.socket) -> str:
    try:
        return str(connection.getpeername()[0])
    except OSError:
        return "somewhere that is gone"
