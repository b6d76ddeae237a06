"""Dialling the editor's servers: those that come late, those that are gone, and black holes."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from vscadmin.proxy import connections, servers
from vscadmin.proxy.link import Backend, tcp
from vscadmin.proxy.loop import Loop
from vscadmin.proxy.servers import Servers

NODE = "c1"


class Dialler:
    """A loop, and what became of what was dialled."""

    def __init__(self, silence: float) -> None:
        self.loop = Loop()
        self.servers = Servers(self.loop, NODE, silence)
        self.results: list[socket.socket | str] = []

    def dial(self, backend: Backend) -> socket.socket | str:
        """Dial and wait for the result."""
        before = len(self.results)
        self.servers.dial(backend, self.results.append)
        self.turn(lambda: len(self.results) > before)
        return self.results[-1]

    def turn(self, is_so: Callable[[], bool], seconds: float = 10.0) -> None:
        """Turn the loop until *is_so*."""
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline, "it never came to that"
            self.loop.later(0.01, lambda: None)
            self.loop.step()


class BlackHole:
    """A listener whose queue is full: the kernel drops every further SYN, as a firewall does."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        self.listener.setblocking(False)
        self.backend = tcp(*self.listener.getsockname())
        self._fill()

    def _fill(self) -> None:
        """Connect until one connection is not answered any more."""
        while True:
            made = self._stack.enter_context(socket.socket())
            made.settimeout(0.3)
            try:
                made.connect(self.listener.getsockname())
            except TimeoutError:
                made.close()
                return

    def take(self) -> socket.socket | None:
        """Accept one connection, if any waits."""
        try:
            made, _ = self.listener.accept()
        except BlockingIOError:
            return None
        return self._stack.enter_context(made)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def dialler(stack: ExitStack) -> Dialler:
    made = Dialler(silence=0.2)
    stack.callback(made.loop.close)
    return made


def test_a_server_that_listens_is_reached(dialler: Dialler, stack: ExitStack) -> None:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    reached = dialler.dial(tcp(*listener.getsockname()))
    assert isinstance(reached, socket.socket)
    stack.enter_context(reached)
    time.sleep(0.3)
    dialler.loop.later(0, lambda: None)
    dialler.loop.step()
    assert dialler.results == [reached], "the patience ended with the success"


def test_a_black_hole_is_told_once_and_its_late_answer_is_hung_up(
    dialler: Dialler, stack: ExitStack
) -> None:
    hole = BlackHole(stack)
    began = time.monotonic()
    words = dialler.dial(hole.backend)
    assert 0.2 <= time.monotonic() - began < 5
    assert words == (
        f"the editor's server on c1 ({hole.backend}) does not answer within 0 s: "
        "is there a firewall in between?"
    )
    _hang_up_too_late(dialler, hole)


def _hang_up_too_late(dialler: Dialler, hole: BlackHole) -> None:
    """Make room in the queue: the kernel sends its SYN again after 1 s."""
    taken: list[socket.socket] = []

    def is_hung_up() -> bool:
        if made := hole.take():
            made.settimeout(5)
            taken.append(made)
        return bool(taken) and _has_ended(taken[-1])

    dialler.turn(is_hung_up)
    assert len(dialler.results) == 1, "it was told already"


def _has_ended(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False


def test_the_agents_patience_ends_before_the_proxys() -> None:
    """The words come from whoever dials; the other side only knows that nobody came."""
    assert servers._NOT_YET < servers._SILENCE < connections._PATIENCE
