"""Greetings prove the key, and frames survive any cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vscadmin.proxy import wire
from vscadmin.proxy.link import Backend, read_backend, tcp, unix
from vscadmin.proxy.wire import Frames, WireError

KEY = bytes(range(32))
FRAMES = st.lists(st.tuples(st.integers(1, 8), st.binary(max_size=300)), max_size=8)


def test_a_greeting_proves_the_key_and_says_for_which_connection() -> None:
    said = wire.greeting(wire.DATA, b"12345678")
    read = wire.read_greeting(KEY, wire.greet(KEY, said))
    assert read is not None
    assert (read.kind, read.ident, read.nonce) == (wire.DATA, b"12345678", said.nonce)


def test_two_greetings_are_never_the_same() -> None:
    assert wire.greet(KEY, wire.greeting(wire.CONTROL)) != wire.greet(
        KEY, wire.greeting(wire.CONTROL)
    )


@given(st.binary(max_size=2 * wire.GREETING_SIZE))
def test_noise_is_no_greeting(noise: bytes) -> None:
    assert wire.read_greeting(KEY, noise) is None


@given(st.integers(0, wire.GREETING_SIZE - 1), st.integers(1, 255))
def test_a_greeting_with_one_byte_changed_is_none(place: int, change: int) -> None:
    data = bytearray(wire.greet(KEY, wire.greeting(wire.CONTROL)))
    data[place] ^= change
    assert wire.read_greeting(KEY, bytes(data)) is None


def test_another_key_proves_nothing() -> None:
    assert wire.read_greeting(bytes(32), wire.greet(KEY, wire.greeting(wire.CONTROL))) is None


def test_a_kind_that_nobody_uses_is_refused_though_it_is_signed() -> None:
    assert wire.read_greeting(KEY, wire.greet(KEY, wire.greeting(b"X"))) is None


def test_an_answer_is_not_the_greeting_sent_back() -> None:
    """Who only echoes what we sent does not know the key."""
    said = wire.greeting(wire.CONTROL)
    assert wire.is_answer(KEY, said, wire.answer(KEY, said))
    assert not wire.is_answer(KEY, said, wire.greet(KEY, said)[-wire.PROOF_SIZE :])
    assert not wire.is_answer(KEY, said, wire.answer(KEY, wire.greeting(wire.CONTROL)))


@given(FRAMES, st.lists(st.integers(1, 40), max_size=60))
def test_frames_survive_any_cut(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = b"".join(wire.frame(kind, payload) for kind, payload in frames)
    reader, read = Frames(), []
    for cut in [*cuts, len(data)]:
        read += list(reader.feed(data[:cut]))
        data = data[cut:]
    assert read == frames


def test_a_frame_longer_than_any_of_ours_is_refused() -> None:
    with pytest.raises(WireError, match="a frame of 1000000 bytes"):
        list(Frames().feed(b"\x01" + (1_000_000).to_bytes(4, "big")))


@given(st.integers(0, 255), st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_an_exit_is_read_as_it_was_written(status: int, out: int, err: int) -> None:
    assert wire.read_exit(wire.exit_payload(status, out, err)) == (status, out, err)


@given(st.binary(max_size=20).filter(lambda data: len(data) != 17))
def test_an_exit_of_the_wrong_size_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError, match="wrong size"):
        wire.read_exit(payload)


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        (tcp("127.0.0.1", 4321), "127.0.0.1:4321"),
        (tcp("::1", 4321), "[::1]:4321"),
        (unix(b"/tmp/code-\xff"), "/tmp/code-\\xff"),
    ],
)
def test_a_backend_is_read_as_it_was_written(backend: Backend, words: str) -> None:
    read = read_backend(bytes(backend))
    assert (read.family, read.address) == (backend.family, backend.address)
    assert str(read) == words


@pytest.mark.parametrize("data", [b"", b"tcp:127.0.0.1", b"tcp:127.0.0.1:x", b"udp:127.0.0.1:9"])
def test_what_is_no_backend_is_refused(data: bytes) -> None:
    with pytest.raises(WireError, match="neither tcp nor unix"):
        read_backend(data)
