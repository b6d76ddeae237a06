"""The data path under load: a process of its own, real traffic, and a user with little left."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context

import pytest

from tests.integration.conftest import NOBODY
from tests.relaying import WAYS, connected, relaying
from vscadmin.proxy.listener import Listener
from vscadmin.proxy.loop import Loop
from vscadmin.proxy.relay import CHUNK, Relay

Ends = tuple[tuple[socket.socket, socket.socket], ...]
GIB = 1 << 30
PIECE = hashlib.shake_128(b"a piece").digest(1 << 20)
MEMORY = 16 << 20  # bytes a relay may grow by, whatever waits in it


@contextmanager
def relay_process(way: str, outer: Ends, inner: Ends) -> Iterator[int]:
    """Join *inner* in a process of its own until all have ended; yield its pid."""
    process = get_context("fork").Process(target=_relay, args=(way, outer, inner), daemon=True)
    process.start()
    _close(inner)
    assert process.pid is not None
    yield process.pid
    process.join(10)
    assert process.exitcode == 0


def _relay(way: str, outer: Ends, inner: Ends) -> None:
    _close(outer)
    loop = Loop()
    relay = Relay(loop, CHUNK, WAYS[way])

    def ended() -> None:
        if not relay.open:
            loop.stop()

    for one, other in inner:
        relay.join(one, other, ended)
    loop.run()


def _close(ends: Ends) -> None:
    for one, other in ends:
        one.close()
        other.close()


def joined(families: tuple[str, str]) -> Ends:
    """Return the outer ends, blocking, and the inner ones."""
    client, accepted = connected(families[0])
    dialled, backend = connected(families[1])
    client.settimeout(60)
    backend.settimeout(60)
    return (client, backend), (accepted, dialled)


def say(end: socket.socket, size: int, digests: dict[str, str], name: str) -> None:
    digest = hashlib.sha256()
    for number in range(size // len(PIECE)):
        piece = number.to_bytes(8, "big") + PIECE[8:]
        digest.update(piece)
        end.sendall(piece)
    end.shutdown(socket.SHUT_WR)
    digests[name] = digest.hexdigest()


def hear(end: socket.socket, digests: dict[str, str], name: str) -> None:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(1 << 20))
    while count := end.recv_into(buffer):
        digest.update(buffer[:count])
    digests[name] = digest.hexdigest()


def at_once(*calls: tuple[Callable[..., None], tuple[object, ...]]) -> None:
    threads = [threading.Thread(target=call, args=arguments) for call, arguments in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("families", [("tcp", "tcp"), ("tcp", "unix")], ids="-".join)
def test_a_gigabyte_each_way_arrives_as_it_was(way: str, families: tuple[str, str]) -> None:
    outer, inner = joined(families)
    client, backend = outer
    said: dict[str, str] = {}
    heard: dict[str, str] = {}
    with client, backend, relay_process(way, (outer,), (inner,)):
        at_once(
            (say, (client, GIB, said, "up")),
            (say, (backend, GIB, said, "down")),
            (hear, (backend, heard, "up")),
            (hear, (client, heard, "down")),
        )
    assert heard == said
    assert set(said) == {"up", "down"}


@pytest.mark.parametrize("way", WAYS)
def test_a_thousand_connections_are_open_at_once_and_each_carries_its_own(way: str) -> None:
    with relaying(way) as relays:
        before = len(os.listdir("/proc/self/fd"))
        ends = [relays.join() for _ in range(1000)]
        for number, (client, _) in enumerate(ends):
            client.sendall(b"%d" % number)
        for number, (client, backend) in enumerate(ends):
            assert relays.receive(backend, len(str(number))) == b"%d" % number
            backend.sendall(b"%d!" % number)
            assert relays.receive(client, len(str(number)) + 1) == b"%d!" % number
        assert relays.relay.open == 1000
        assert len(os.listdir("/proc/self/fd")) <= before + 4000 + 4
        assert relays.cpu_of_quiet() < 0.01
        for end in (end for pair in ends for end in pair):
            end.close()
        relays.until(lambda: relays.ended == 1000)


@pytest.mark.parametrize("way", WAYS)
def test_readers_that_never_read_cost_no_memory(way: str) -> None:
    outer, inner = zip(*(joined(("tcp", "tcp")) for _ in range(40)), strict=True)
    with relay_process(way, outer, inner) as pid:
        before = _unique_memory(pid)
        for client, _ in outer:
            client.settimeout(0.05)
            with pytest.raises(TimeoutError):
                client.sendall(bytes(64 << 20))
        grown = _unique_memory(pid) - before
        _close(outer)
    assert grown < MEMORY


def _unique_memory(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        rows = [line.split() for line in file if line.startswith("Private_")]
    return sum(int(row[1]) for row in rows) * 1024


def as_nobody(task: Callable[[], None]) -> None:
    """Do *task* in a process of another user; fail as it does."""
    process = get_context("fork").Process(target=_become_nobody, args=(task,))
    process.start()
    process.join(60)
    assert process.exitcode == 0


def _become_nobody(task: Callable[[], None]) -> None:
    os.setgroups([])
    os.setresgid(*[NOBODY.pw_gid] * 3)
    os.setresuid(*[NOBODY.pw_uid] * 3)
    task()


def _relay_beside_many_pipes() -> None:
    """Hold pipes until new ones are shrunk, pipe(7), and relay with what is left."""
    held = [os.pipe() for _ in range(1100)]
    assert fcntl.fcntl(held[-1][0], fcntl.F_GETPIPE_SZ) <= 8192
    with relaying("splice") as relays:
        client, backend = relays.join()
        client.sendall(PIECE[: 1 << 18])
        assert relays.receive(backend, 1 << 18) == PIECE[: 1 << 18]


@pytest.mark.usefixtures("root")
def test_a_user_with_a_thousand_pipes_is_served_with_small_ones() -> None:
    as_nobody(_relay_beside_many_pipes)


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_another_user_is_refused_and_named_and_the_owner_is_not_disturbed(host: str) -> None:
    loop, accepted, refused = Loop(), list[socket.socket](), list[str]()
    listener = Listener(loop, (host, 0), 1024, accepted.append, refused.append)
    where = listener.address
    assert isinstance(where, tuple)
    stranger = get_context("fork").Process(target=_become_nobody, args=(lambda: _dial(where),))
    stranger.start()

    def look() -> None:
        if stranger.exitcode is None:
            loop.later(0.02, look)
        else:
            loop.stop()

    with socket.create_connection(where):
        look()
        loop.run()
        assert stranger.exitcode == 0
        assert refused == [f"a connection of uid {NOBODY.pw_uid} was refused"]
        assert len(accepted) == 1
    listener.close()
    accepted[0].close()
    loop.close()


def _dial(where: tuple[str, int]) -> None:
    """Be reset, three times; importing nothing, for a stranger may not read our Python."""
    for _ in range(3):
        with socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET) as connection:
            connection.connect(where)
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
