"""Relays under test, and connections of every kind to join with them."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vscadmin.proxy.loop import Loop
from vscadmin.proxy.relay import CHUNK, SPLICE, Relay

RESET = struct.pack("ii", 1, 0)
WAYS = {"splice": SPLICE, "copy": None}


def connected(family: str) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection, each non-blocking."""
    if family == "unix":
        ends = socket.socketpair()
    else:
        ends = _connected(socket.AF_INET6 if family == "tcp6" else socket.AF_INET)
    for end in ends:
        end.setblocking(False)
    return ends


def _connected(family: socket.AddressFamily) -> tuple[socket.socket, socket.socket]:
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    with socket.create_server((host, 0), family=family) as listener:
        dialled = socket.socket(family)
        dialled.connect(listener.getsockname())
        accepted, _ = listener.accept()
    return dialled, accepted


def reset(connection: socket.socket) -> None:
    """Close a TCP connection with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


class Relaying:
    """A relay whose loop turns when a test says so."""

    def __init__(self, way: str, chunk: int = CHUNK) -> None:
        self.loop = Loop()
        self.relay = Relay(self.loop, chunk, WAYS[way])
        self.ended = 0

    def join(
        self, families: tuple[str, str] = ("tcp", "tcp")
    ) -> tuple[socket.socket, socket.socket]:
        """Join two new connections; return their outer ends: the client's, the backend's."""
        client, accepted = connected(families[0])
        dialled, backend = connected(families[1])
        self.relay.join(accepted, dialled, self.end)
        return client, backend

    def end(self) -> None:
        """Count a pair that ended."""
        self.ended += 1

    def turn(self, seconds: float = 0.0) -> None:
        """Serve what is ready now, or within *seconds*."""
        timer = self.loop.later(seconds, lambda: None)
        self.loop.step()
        timer.cancel()

    def until(self, is_so: Callable[[], bool], seconds: float = 10.0) -> None:
        """Turn until something is so."""
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline, "it never came to that"
            self.turn(0.01)

    def receive(self, end: socket.socket, size: int) -> bytes:
        """Turn until *size* bytes came out of *end*, or its stream ended."""
        data = bytearray()
        deadline = time.monotonic() + 10
        while len(data) < size:
            assert time.monotonic() < deadline, f"{len(data)} of {size} bytes came"
            try:
                more = end.recv(size - len(data))
            except BlockingIOError:
                self.turn(0.01)
                continue
            if not more:
                break
            data += more
        return bytes(data)

    def cpu_of_quiet(self, seconds: float = 0.1) -> float:
        """Return the CPU time of *seconds* in which nobody says anything."""
        self.turn(0.01)
        started = time.thread_time()
        self.loop.later(seconds, self.loop.stop)
        self.loop.run()
        return time.thread_time() - started

    def close(self) -> None:
        """Let go of everything."""
        self.relay.close_all()
        self.loop.close()


@contextmanager
def relaying(way: str, chunk: int = CHUNK) -> Iterator[Relaying]:
    """Lend a relay."""
    made = Relaying(way, chunk)
    try:
        yield made
    finally:
        made.close()
