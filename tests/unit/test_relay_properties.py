"""Whatever two sides do to a joined connection, they see what one connection would show them."""

from __future__ import annotations

import socket
import time
from hashlib import shake_128

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.relaying import WAYS, Relaying, relaying, reset

_SAID = [shake_128(name).digest(1 << 21) for name in (b"client", b"backend")]
_SIZES = st.one_of(st.integers(1, 100), st.integers(1, 1 << 20))
_SIDES = st.integers(0, 1)
_ACTIONS = st.one_of(
    st.tuples(st.just("send"), _SIDES, _SIZES),
    st.tuples(st.just("read"), _SIDES, _SIZES),
    st.tuples(st.just("turn"), _SIDES, st.integers(1, 5)),
    st.tuples(st.just("shut"), _SIDES, st.just(0)),
)
_FAMILIES = st.sampled_from([("tcp", "tcp"), ("tcp", "unix"), ("unix", "tcp")])


class Side:
    """One outer end: what it has said and heard."""

    def __init__(self, name: int, end: socket.socket) -> None:
        self.end = end
        self.text = _SAID[name]
        self.said = 0
        self.heard = b""
        self.has_shut = self.saw_end = self.saw_reset = False

    def send(self, size: int) -> None:
        if self.has_shut:
            return
        try:
            self.said += self.end.send(self.text[self.said : self.said + size])
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            self.saw_reset = True

    def read(self, size: int) -> None:
        try:
            data = self.end.recv(size)
        except BlockingIOError:
            return
        except ConnectionResetError:
            self.saw_reset = True
            return
        self.heard += data
        self.saw_end |= not data

    def shut(self) -> None:
        if not self.has_shut:
            self.has_shut = True
            self.end.shutdown(socket.SHUT_WR)


def _play(joined: Relaying, sides: list[Side], story: list[tuple[str, int, int]]) -> None:
    for action, name, size in story:
        if action == "turn":
            for _ in range(size):
                joined.turn()
        elif action == "shut":
            sides[name].shut()
        else:
            getattr(sides[name], action)(size)


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=60)
@given(_FAMILIES, st.sampled_from([512, 1 << 19]), st.lists(_ACTIONS, max_size=25))
def test_what_is_said_arrives_whole_in_order_and_with_its_end(
    way: str, families: tuple[str, str], chunk: int, story: list[tuple[str, int, int]]
) -> None:
    with relaying(way, chunk) as joined:
        sides = [Side(name, end) for name, end in enumerate(joined.join(families))]
        _play(joined, sides, story)
        for side in sides:
            side.shut()
        deadline = time.monotonic() + 20
        while not (sides[0].saw_end and sides[1].saw_end):
            assert time.monotonic() < deadline
            joined.turn()
            for side in sides:
                side.read(1 << 20)
        joined.until(lambda: joined.ended == 1)
        for side, other in (sides, sides[::-1]):
            assert not side.saw_reset
            assert side.heard == other.text[: other.said]
            side.end.close()


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=60)
@given(_SIDES, st.sampled_from([512, 1 << 19]), st.lists(_ACTIONS, max_size=25))
def test_after_a_reset_the_other_side_heard_a_beginning_and_is_reset(
    way: str, killer: int, chunk: int, story: list[tuple[str, int, int]]
) -> None:
    with relaying(way, chunk) as joined:
        sides = [Side(name, end) for name, end in enumerate(joined.join())]
        _play(joined, sides, story)
        reset(sides[killer].end)
        other = sides[1 - killer]
        deadline = time.monotonic() + 20
        while not (other.saw_reset or (other.has_shut and other.saw_end)):
            assert time.monotonic() < deadline
            joined.turn()
            other.read(1 << 20)
            if other.saw_end:
                other.send(1)
        joined.until(lambda: joined.ended == 1)
        assert sides[killer].text.startswith(other.heard)
        other.end.close()
