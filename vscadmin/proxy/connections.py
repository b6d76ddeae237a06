"""The client's connections to the editor's server: through the agent, or straight to the node."""

from __future__ import annotations

import os
import socket
import time
from functools import partial

from vscadmin.proxy import wire
from vscadmin.proxy.dialback import DialBack
from vscadmin.proxy.journal import Journal
from vscadmin.proxy.link import Backend, Control, dial, reset, unix
from vscadmin.proxy.loop import Loop
from vscadmin.proxy.relay import Relay
from vscadmin.proxy.servers import Servers

_PATIENCE = 15.0  # s for the agent to come: it gives a server 10 s to begin to listen
_SAME_WORDS = 30.0  # s between two complaints of the same words


class Complaints:
    """Tells the user what went wrong with a connection, and the same thing not too often."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._last: dict[str, float] = {}

    def tell(self, words: str) -> None:
        """Say it to the user, or only to the log if that was just said."""
        now = time.monotonic()
        if now - self._last.get(words, -_SAME_WORDS) < _SAME_WORDS:
            self._journal.info(words)
            return
        self._last[words] = now
        self._journal.tell(words)


class ThroughAgent:
    """Relay mode: the agent dials the backend, then dials back to us."""

    def __init__(
        self,
        loop: Loop,
        relay: Relay,
        dialback: DialBack,
        control: Control,
        complaints: Complaints,
    ) -> None:
        self._loop = loop
        self._relay = relay
        self._dialback = dialback
        self._control = control
        self._complaints = complaints
        self._waiting: dict[bytes, socket.socket] = {}

    def open(self, client: socket.socket, backend: Backend) -> None:
        """Connect *client* with *backend*."""
        ident = self._expect(client)
        self._control.send(wire.OPEN, ident + bytes(backend))

    def _expect(self, near: socket.socket) -> bytes:
        ident = os.urandom(wire.IDENT_SIZE)
        self._waiting[ident] = near
        self._dialback.expect(ident, _PATIENCE, partial(self._came, ident))
        return ident

    def _came(self, ident: bytes, far: socket.socket | None) -> None:
        near = self._waiting.pop(ident)
        if far is None:
            reset(near)
            self._complaints.tell("the job did not take a connection within 15 s")
        else:
            self._relay.join(near, far)

    def failed(self, ident: bytes, words: str) -> None:
        """Take back what `open` promised: the agent says why."""
        near = self._waiting.pop(ident, None)
        if near is not None:
            self._dialback.forget(ident)
            reset(near)
            self._complaints.tell(words)

    def forward(self, number: int, path: str) -> None:
        """Connect a process in the job, the agent's *number*, with a socket of this node."""

        def dialled(result: socket.socket | OSError) -> None:
            if isinstance(result, OSError):
                self._complaints.tell(f"{path}: {result.strerror or result}")
                self._control.send(wire.GONE, wire.numbers(number, 0))
            else:
                ident = self._expect(result)
                self._control.send(wire.GO, ident + wire.numbers(number, 0))

        dial(self._loop, unix(os.fsencode(path)), dialled)


class Straight:
    """Direct mode: we dial the compute node, *node*, ourselves."""

    def __init__(self, loop: Loop, relay: Relay, complaints: Complaints, node: str) -> None:
        self._relay = relay
        self._complaints = complaints
        self._servers = Servers(loop, node)

    def open(self, client: socket.socket, backend: Backend) -> None:
        """Connect *client* with *backend*, which may take a moment until it listens."""

        def dialled(result: socket.socket | str) -> None:
            if isinstance(result, str):
                reset(client)
                self._complaints.tell(result)
            else:
                self._relay.join(client, result)

        self._servers.dial(backend, dialled)
