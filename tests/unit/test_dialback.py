"""The way back from the job: open to whoever proves the key, and to the job's node alone."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest

from vscadmin.proxy import dialback as module
from vscadmin.proxy import wire
from vscadmin.proxy.dialback import DialBack
from vscadmin.proxy.listener import ListenError
from vscadmin.proxy.loop import Loop

KEY = bytes(range(wire.KEY_SIZE))
IDENT = b"ident..1"
HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"


class Home:
    """A dial-back listener on loopback, where every address of 127.0.0.0/8 can dial from."""

    def __init__(self, ports: tuple[int, int] = (0, 0)) -> None:
        self.loop = Loop()
        self.controls: list[socket.socket] = []
        self.used: list[socket.socket | None] = []
        self.strange: list[str] = []
        self.dialback = DialBack(
            self.loop, HERE, ports, KEY,
            authenticated=self.controls.append, strange=self.strange.append,
        )  # fmt: skip

    def expect(self, ident: bytes = IDENT, seconds: float = 10.0) -> None:
        self.dialback.expect(ident, seconds, self.used.append)

    def dial(self, data: bytes, source: str = HERE) -> socket.socket:
        made = socket.create_connection((HERE, self.dialback.port), 5, (source, 0))
        made.sendall(data)
        return made

    def until(self, is_so: Callable[[], bool], seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline, "it never came to that"
            self.turn(0.01)

    def turn(self, seconds: float = 0.0) -> None:
        self.loop.later(seconds, lambda: None)
        self.loop.step()

    def is_closed(self, connection: socket.socket) -> bool:
        connection.setblocking(False)
        try:
            return connection.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.dialback.close()
        for each in (*self.controls, *self.used):
            if each is not None:
                each.close()
        self.loop.close()


@pytest.fixture
def home() -> Iterator[Home]:
    made = Home()
    yield made
    made.close()


def greet(kind: bytes = wire.CONTROL, ident: bytes = bytes(8), key: bytes = KEY) -> bytes:
    return wire.greet(key, wire.greeting(kind, ident))


def test_the_agent_is_let_in_and_answered_with_our_own_proof(home: Home) -> None:
    said = wire.greeting(wire.CONTROL)
    with home.dial(wire.greet(KEY, said)) as agent:
        home.until(lambda: len(home.controls) == 1)
        assert wire.is_answer(KEY, said, agent.recv(wire.PROOF_SIZE))


def test_what_follows_the_greeting_is_left_to_its_user(home: Home) -> None:
    home.expect()
    with home.dial(greet(wire.DATA, IDENT) + b"first words"):
        home.until(lambda: len(home.used) == 1)
        (data,) = home.used
        assert data is not None
        home.until(lambda: data.recv(99, socket.MSG_PEEK) == b"first words")


def test_a_greeting_in_pieces_is_a_greeting(home: Home) -> None:
    greeting = greet()
    with home.dial(greeting[:1]) as agent:
        for at in range(1, len(greeting)):
            agent.sendall(greeting[at : at + 1])
            home.turn()
        home.until(lambda: len(home.controls) == 1)


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.0\r\n\r\n" * 9, greet(key=bytes(32)), bytes(wire.GREETING_SIZE)],
    ids=["http", "another key", "zeros"],
)
def test_who_does_not_prove_the_key_is_reset(home: Home, data: bytes) -> None:
    with home.dial(data) as stranger:
        home.until(lambda: home.is_closed(stranger))
    assert home.strange == [f"a connection from {HERE}, which did not prove the key, was refused"]
    assert home.controls == []


def test_only_one_control_connection_is_ever_let_in(home: Home) -> None:
    with home.dial(greet()), home.dial(greet()) as second:
        home.until(lambda: len(home.controls) == 1)
        home.until(lambda: home.is_closed(second))
    assert len(home.controls) == 1


def test_a_data_connection_is_let_in_once_and_only_if_it_is_expected(home: Home) -> None:
    greeting = greet(wire.DATA, IDENT)
    with home.dial(greeting) as early:
        home.until(lambda: home.is_closed(early))
    home.expect()
    with home.dial(greeting), home.dial(greeting) as replayed:
        home.until(lambda: home.is_closed(replayed))
        assert len(home.used) == 1


def test_one_that_does_not_come_is_told_as_none_once(home: Home) -> None:
    home.expect(seconds=0.01)
    home.until(lambda: home.used == [None])
    with home.dial(greet(wire.DATA, IDENT)) as late:
        home.until(lambda: home.is_closed(late))
    assert home.used == [None]


def test_one_that_is_forgotten_is_not_told_of(home: Home) -> None:
    home.expect(seconds=0.01)
    home.dialback.forget(IDENT)
    home.dialback.forget(IDENT)
    home.loop.later(0.03, home.loop.stop)
    home.loop.run()
    assert home.used == []


def test_after_the_agent_came_only_its_own_address_is_let_in(home: Home) -> None:
    home.expect()
    with home.dial(greet()):
        home.until(lambda: len(home.controls) == 1)
        with home.dial(greet(wire.DATA, IDENT), ELSEWHERE) as stranger:
            home.until(lambda: home.is_closed(stranger))
        assert home.used == []
        assert home.strange == [
            f"a connection from {ELSEWHERE}, which is not the job's node, was refused"
        ]
        with home.dial(greet(wire.DATA, IDENT)):
            home.until(lambda: len(home.used) == 1)


def test_a_crowd_that_says_too_little_does_not_keep_the_agent_out(home: Home) -> None:
    crowd = [home.dial(b"?") for _ in range(100)]
    home.until(lambda: sum(map(home.is_closed, crowd)) >= 100 - module._UNPROVEN)
    with home.dial(greet()):
        home.until(lambda: len(home.controls) == 1)
    home.dialback.close()
    assert all(map(home.is_closed, crowd))
    for each in crowd:
        each.close()


def test_four_hundred_that_dial_before_they_greet_all_get_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An agent far away does: its connections are made a round trip before their greetings."""
    monkeypatch.setattr(module, "_SILENT", 10)  # so a busy machine is no crowd of strangers
    home = Home()
    idents = [number.to_bytes(8, "big") for number in range(400)]
    for ident in idents:
        home.expect(ident)
    dialled = [home.dial(b"") for _ in idents]
    for _ in range(len(idents)):
        home.turn()
    for each, ident in zip(dialled, idents, strict=True):
        each.sendall(greet(wire.DATA, ident))
    home.until(lambda: len(home.used) == 400)
    assert None not in home.used
    for each in dialled:
        each.close()
    home.close()


def test_who_stays_silent_is_given_up(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.05)
    with home.dial(b"half a greet") as stranger:
        home.until(lambda: home.is_closed(stranger), 5)


def test_a_port_of_the_range_is_taken_and_a_full_range_is_named() -> None:
    first = Home()
    port = first.dialback.port
    with pytest.raises(ListenError) as caught:
        Home((port, port))
    words = f"{HERE}: none of the ports {port}-{port} is free (relay_ports)"
    assert str(caught.value) == words
    first.close()
    second = Home((port, port))
    assert second.dialback.port == port
    second.close()


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(ListenError, match=r"192.0.2.1: .* \(relay_address\)"):
        DialBack(Loop(), "192.0.2.1", (0, 0), KEY, authenticated=print, strange=print)
