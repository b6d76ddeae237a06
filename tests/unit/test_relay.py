"""Two joined connections behave like one, whichever way the bytes go."""

from __future__ import annotations

import errno
import gc
import os
import resource
import socket
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.relaying import WAYS, Relaying, connected, relaying, reset
from vscadmin.proxy import relay as relay_module
from vscadmin.proxy.loop import Loop
from vscadmin.proxy.relay import Relay

KINDS = [("tcp", "tcp"), ("tcp", "unix"), ("unix", "tcp6"), ("unix", "unix")]
QUIET = 0.01  # CPU seconds: a loop that spins uses ten times as much
TEXT = bytes(range(256)) * 40


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def joined(way: str) -> Iterator[Relaying]:
    with relaying(way) as made:
        yield made


def fill(end: socket.socket, joined: Relaying) -> int:
    """Write into *end* until nothing more goes; return how many bytes went."""
    sent = idle = 0
    while idle < 5:
        try:
            sent += end.send(bytes(1 << 18))
            idle = 0
        except BlockingIOError:
            joined.turn(0.002)
            idle += 1
    return sent


def is_reset(end: socket.socket) -> bool:
    try:
        return end.recv(1 << 16) == b"" and end.send(b"x") < 0
    except BlockingIOError:
        return False
    except (ConnectionResetError, BrokenPipeError):
        return True


@pytest.mark.parametrize("families", KINDS, ids="-".join)
def test_bytes_pass_both_ways(joined: Relaying, families: tuple[str, str]) -> None:
    client, backend = joined.join(families)
    with client, backend:
        for one, other in ((client, backend), (backend, client)):
            one.sendall(TEXT)
            assert joined.receive(other, len(TEXT)) == TEXT
    assert joined.relay.bytes == 2 * len(TEXT)


@pytest.mark.parametrize("families", KINDS, ids="-".join)
def test_an_answer_after_the_clients_half_close_arrives(
    joined: Relaying, families: tuple[str, str]
) -> None:
    client, backend = joined.join(families)
    with client, backend:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert joined.receive(backend, 99) == b"question"
        joined.turn(0.01)
        backend.sendall(TEXT)
        backend.shutdown(socket.SHUT_WR)
        assert joined.receive(client, len(TEXT) + 1) == TEXT
        joined.until(lambda: joined.ended == 1)
    assert joined.relay.open == 0


def test_a_backend_may_half_close_first(joined: Relaying) -> None:
    client, backend = joined.join()
    with client, backend:
        backend.shutdown(socket.SHUT_WR)
        assert joined.receive(client, 1) == b""
        client.sendall(TEXT)
        assert joined.receive(backend, len(TEXT)) == TEXT
        assert joined.ended == 0


def test_a_reset_on_one_side_is_a_reset_on_the_other(joined: Relaying) -> None:
    for which in (0, 1):
        ends = joined.join()
        reset(ends[which])
        with ends[1 - which] as other:
            joined.until(lambda other=other: is_reset(other))  # type: ignore[misc]
    assert joined.ended == 2


def test_a_side_that_reset_before_it_was_joined_is_a_reset_on_the_other(joined: Relaying) -> None:
    """The error is told to the first who reads, and is an orderly end for the second."""
    client, accepted = connected("tcp")
    dialled, backend = connected("tcp")
    reset(client)
    joined.relay.join(accepted, dialled, joined.end)
    with backend:
        joined.until(lambda: joined.ended == 1)
        with pytest.raises(ConnectionResetError):
            backend.recv(1)


def test_a_reset_after_a_half_close_is_a_reset(joined: Relaying) -> None:
    client, backend = joined.join()
    client.shutdown(socket.SHUT_WR)
    assert joined.receive(backend, 1) == b""
    reset(client)
    with backend:
        joined.until(lambda: joined.ended == 1)
        assert is_reset(backend)


def test_what_was_said_before_a_reset_arrives(joined: Relaying) -> None:
    """A server that closes with a request unread resets, right after its whole answer."""
    client, backend = joined.join()
    with client:
        client.sendall(b"unread")
        joined.until(lambda: joined.relay.bytes == len(b"unread"))
        backend.sendall(TEXT)
        backend.close()
        assert joined.receive(client, len(TEXT)) == TEXT
        joined.until(lambda: is_reset(client))


def test_a_reset_ends_what_a_slow_reader_held_up(joined: Relaying) -> None:
    client, backend = joined.join()
    with backend:
        fill(client, joined)
        reset(client)
        joined.until(lambda: joined.ended == 1)


def test_writing_to_a_closed_side_resets_the_writer(joined: Relaying) -> None:
    client, backend = joined.join()
    client.close()
    assert joined.receive(backend, 1) == b""
    with backend:
        backend.sendall(b"to nobody")
        joined.until(lambda: joined.ended == 1)
        joined.until(lambda: is_reset(backend))


@pytest.mark.parametrize("families", KINDS, ids="-".join)
def test_a_slow_reader_holds_the_writer(joined: Relaying, families: tuple[str, str]) -> None:
    """What is under way is in the two sockets and one carrier: 64 MiB would be a queue of ours."""
    client, backend = joined.join(families)
    with client, backend:
        sent = fill(client, joined)
        assert sent < 64 << 20
        assert joined.cpu_of_quiet() < QUIET
        client.shutdown(socket.SHUT_WR)
        assert joined.receive(backend, sent + 1) == bytes(sent)


@pytest.mark.parametrize("families", KINDS, ids="-".join)
def test_a_closed_writer_and_a_slow_reader_cost_nothing(
    joined: Relaying, families: tuple[str, str]
) -> None:
    """A unix socket whose peer has closed reports a hang-up for as long as it is watched."""
    client, backend = joined.join(families)
    with backend:
        sent = fill(client, joined)
        client.close()
        assert joined.cpu_of_quiet() < QUIET
        assert joined.receive(backend, sent + 1) == bytes(sent)


@pytest.mark.parametrize("families", KINDS, ids="-".join)
@pytest.mark.parametrize("half", [(), (0,), (1,)], ids=["open", "client-ended", "backend-ended"])
def test_a_quiet_pair_costs_nothing(
    joined: Relaying, families: tuple[str, str], half: tuple[int, ...]
) -> None:
    ends = joined.join(families)
    with ends[0], ends[1]:
        for each in half:
            ends[each].sendall(b"last words")
            ends[each].shutdown(socket.SHUT_WR)
            assert joined.receive(ends[1 - each], 99) == b"last words"
        assert joined.cpu_of_quiet() < QUIET
        assert joined.ended == 0


def test_a_closed_unix_socket_ends_the_pair(joined: Relaying) -> None:
    """Nobody can read an answer; TCP cannot know that, a unix socket says so."""
    client, backend = joined.join(("unix", "tcp"))
    with backend:
        client.sendall(TEXT)
        client.close()
        assert joined.receive(backend, len(TEXT) + 1) == TEXT
        joined.until(lambda: joined.ended == 1)


def test_no_event_moves_more_than_a_chunk(way: str) -> None:
    with relaying(way, chunk=4096) as small:
        client, backend = small.join()
        with client, backend:
            client.sendall(bytes(1 << 16))
            seen = [0]
            while seen[-1] < 1 << 16:
                small.turn(0.01)
                seen.append(small.relay.bytes)
    assert max(after - before for before, after in pairwise(seen)) <= 4096


@pytest.mark.parametrize(("talk", "least", "most"), [(60, 1, 1 << 14), (0, 1 << 15, 1 << 16)])
def test_while_one_pair_talks_a_stream_moves_in_small_pieces(
    joined: Relaying, monkeypatch: pytest.MonkeyPatch, talk: float, least: int, most: int
) -> None:
    monkeypatch.setattr(relay_module, "_TALK", talk)
    stream, sink = joined.join()
    talker, listener = joined.join()
    with stream, sink, talker, listener:
        talker.sendall(b"tick")
        joined.receive(listener, 4)
        stream.sendall(bytes(1 << 16))
        before = joined.relay.bytes
        joined.turn(0.01)
        assert least <= joined.relay.bytes - before <= most


def test_bytes_and_their_time_are_counted(joined: Relaying) -> None:
    client, backend = joined.join()
    with client, backend:
        before = joined.relay.last
        joined.turn(0.01)
        assert joined.relay.last == before
        client.sendall(b"12345")
        joined.receive(backend, 5)
        assert (joined.relay.bytes, joined.relay.open) == (5, 1)
        assert before < joined.relay.last <= time.monotonic()


def test_a_pair_that_ended_leaves_no_garbage(joined: Relaying) -> None:
    """Collecting it would stop all others, once for every few hundred connections."""
    gc.collect()
    for _ in range(10):
        client, backend = joined.join()
        client.close()
        backend.close()
    joined.until(lambda: joined.ended == 10)
    assert gc.collect() == 0


def test_close_all_resets_both_sides_and_tells_once(joined: Relaying) -> None:
    client, backend = joined.join()
    with client, backend:
        fill(client, joined)
        joined.relay.close_all()
        joined.relay.close_all()
        assert (joined.ended, joined.relay.open) == (1, 0)
        assert is_reset(client)
        with pytest.raises(ConnectionResetError):
            _hear_out(backend)


def test_a_pair_holds_no_pipe_while_it_is_quiet() -> None:
    with relaying("splice") as joined:
        ends = [joined.join() for _ in range(8)]
        before = len(os.listdir("/proc/self/fd"))
        for client, backend in ends:
            client.sendall(TEXT)
            joined.receive(backend, len(TEXT))
        assert len(os.listdir("/proc/self/fd")) <= before + 4  # two pipes are kept
        for each in (end for pair in ends for end in pair):
            each.close()


@pytest.mark.parametrize("refusal", [errno.EINVAL, errno.ENOSYS, errno.EPERM])
def test_what_cannot_be_spliced_is_copied(refusal: int) -> None:
    def refuse(*_arguments: object) -> int:
        raise OSError(refusal, os.strerror(refusal))

    assert _echo(Relay(Loop(), splice=refuse), TEXT) == TEXT


def test_with_no_descriptor_left_for_a_pipe_bytes_are_copied() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    relay = Relay(Loop())
    client, accepted = connected("tcp")
    dialled, backend = connected("tcp")
    relay.join(accepted, dialled, lambda: None)
    resource.setrlimit(resource.RLIMIT_NOFILE, (backend.fileno() + 1, hard))
    try:
        client.sendall(TEXT)
        relay.loop.step()
        assert relay.bytes == len(TEXT)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        relay.close_all()
        relay.loop.close()
        client.close()
        backend.close()


def _hear_out(end: socket.socket) -> None:
    while end.recv(1 << 20):
        pass


def _echo(relay: Relay, text: bytes) -> bytes:
    client, accepted = connected("tcp")
    dialled, backend = connected("tcp")
    relay.join(accepted, dialled, lambda: None)
    with client, backend:
        client.sendall(text)
        relay.loop.step()
        data = backend.recv(len(text))
        relay.close_all()
        relay.loop.close()
    return data
