"""The client's listener: for its owner, in any number at once, and with clear words."""

from __future__ import annotations

import os
import resource
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.relaying import reset
from vscadmin.proxy import owner, refusals
from vscadmin.proxy.descriptors import raise_file_limit
from vscadmin.proxy.listener import Listener, ListenError
from vscadmin.proxy.loop import Loop
from vscadmin.proxy.refusals import Refusals

LOOPBACK = ("127.0.0.1", 0)


class Listening:
    """A loop, and what its listeners let in and refused."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.accepted: list[socket.socket] = []
        self.refused: list[str] = []
        self._open: list[Listener] = []

    def at(self, bind: tuple[str, int] | None, backlog: int = 1024) -> Listener:
        made = Listener(self.loop, bind, backlog, self.accepted.append, self.refused.append)
        self._open.append(made)
        return made

    def until(self, is_so: Callable[[], bool], seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline, "it never came to that"
            self.loop.later(0.01, lambda: None)
            self.loop.step()

    def close(self) -> None:
        for listener in self._open:
            listener.close()
        for connection in self.accepted:
            connection.close()
        self.loop.close()


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listening]:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    made = Listening()
    yield made
    made.close()


def test_a_client_of_ours_is_let_in_at_a_free_port(listening: Listening) -> None:
    host, port = _place(listening.at(LOOPBACK))
    assert host == "127.0.0.1"
    with socket.create_connection((host, port)):
        listening.until(lambda: len(listening.accepted) == 1)
    assert not listening.accepted[0].getblocking()
    assert listening.refused == []


def test_loopback_may_be_the_one_of_ipv6(listening: Listening) -> None:
    host, port = _place(listening.at(("::1", 0)))
    with socket.create_connection((host, port)):
        listening.until(lambda: len(listening.accepted) == 1)


def test_four_hundred_clients_at_once_all_get_in(listening: Listening) -> None:
    where = _place(listening.at(LOOPBACK))
    clients = [socket.socket() for _ in range(400)]
    for client in clients:
        client.settimeout(5)
        client.connect(where)
    listening.until(lambda: len(listening.accepted) == 400)
    for client in clients:
        client.close()


def test_a_client_that_is_gone_before_it_is_let_in_harms_nobody(listening: Listening) -> None:
    where = _place(listening.at(LOOPBACK))
    for _ in range(3):
        reset(socket.create_connection(where))
        socket.create_connection(where).close()
    with socket.create_connection(where):
        listening.until(lambda: len(listening.accepted) == 1)
    assert listening.refused == []


def test_a_kernel_that_cannot_be_asked_is_said_once_and_everybody_refused(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EGP has no module, so the kernel answers as it does for TCP without tcp_diag."""
    monkeypatch.setattr(owner, "_PROTOCOL", socket.IPPROTO_EGP)
    where = _place(listening.at(LOOPBACK))
    for _ in range(3):
        with socket.create_connection(where) as client:
            client.sendall(b"hello")
            listening.until(lambda: _is_reset(client))
    words = "this node cannot tell whose a connection is (tcp_diag); all of them are refused"
    assert (listening.accepted, listening.refused) == ([], [words])


def test_without_descriptors_clients_wait_and_the_loop_does_not_spin(listening: Listening) -> None:
    where = _place(listening.at(LOOPBACK))
    with socket.create_connection(where) as client:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))
        try:
            started = time.thread_time()
            listening.loop.later(0.25, listening.loop.stop)
            listening.loop.run()
            assert time.thread_time() - started < 0.05
            assert listening.accepted == []
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        listening.until(lambda: len(listening.accepted) == 1)


def test_a_port_that_is_taken_is_named_with_what_to_do(listening: Listening) -> None:
    _, port = _place(listening.at(LOOPBACK))
    words = f"127.0.0.1:{port}: address already in use; leave -p out to have a free port chosen"
    with pytest.raises(ListenError) as caught:
        listening.at(("127.0.0.1", port))
    assert str(caught.value) == words


def test_a_port_may_be_taken_again_while_old_connections_linger(listening: Listening) -> None:
    free = listening.at(LOOPBACK)
    where = _place(free)
    free.close()
    first = listening.at(where)
    with socket.create_connection(where):
        listening.until(lambda: len(listening.accepted) == 1)
        listening.accepted.pop().close()  # ours closes first: it lingers
    first.close()
    assert _place(listening.at(where)) == where


@pytest.mark.parametrize(
    ("bind", "words"),
    [
        (("192.0.2.1", 0), "192.0.2.1:0: .*; leave -H out to listen on 127.0.0.1"),
        (("::1", 70000), r"\[::1\]:70000: a port is a number from 0 to 65535"),
    ],
)
def test_a_place_that_cannot_be_is_named(
    listening: Listening, bind: tuple[str, int], words: str
) -> None:
    with pytest.raises(ListenError, match=words):
        listening.at(bind)


def test_a_closed_listener_lets_nobody_in(listening: Listening) -> None:
    made = listening.at(LOOPBACK)
    where = _place(made)
    made.close()
    made.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(where)


def test_a_socket_file_is_its_owners_alone_and_goes_with_the_listener(
    listening: Listening,
) -> None:
    made = listening.at(None)
    path = made.address
    assert isinstance(path, bytes)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    folder = os.path.dirname(path)
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert os.path.dirname(folder) == b"/tmp"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        listening.until(lambda: len(listening.accepted) == 1)
    made.close()
    assert not os.path.exists(folder)


def test_a_private_runtime_directory_holds_the_socket_file(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path("/tmp") / f"run-{os.getpid()}"
    place.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    try:
        for mode, expected in ((0o700, place), (0o755, Path("/tmp"))):
            place.chmod(mode)
            made = listening.at(None)
            assert isinstance(made.address, bytes)
            assert Path(os.fsdecode(made.address)).parents[1] == expected
            made.close()
    finally:
        place.rmdir()


def test_a_runtime_directory_with_a_long_name_is_not_used(
    listening: Listening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path of 108 bytes is none for a socket, unix(7)."""
    place = tmp_path / ("x" * 100)
    place.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    path = listening.at(None).address
    assert isinstance(path, bytes)
    assert path.startswith(b"/tmp/")


def test_the_same_refusal_is_said_at_once_and_then_once_a_minute_with_its_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refusals, "_MINUTE", 0.05)
    loop, said = Loop(), list[str]()
    made = Refusals(loop, said.append)
    for line in ("bob", "bob", "carol", "bob"):
        made.add(line)
    assert said == ["bob", "carol"]
    for _ in range(2):
        loop.later(0.06, loop.stop)
        loop.run()
    assert said == ["bob", "carol", "bob, 2 more within a minute"]
    made.add("bob")
    assert said[3:] == ["bob"]
    loop.close()


def test_more_files_may_be_open_and_the_old_limits_are_told() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        assert raise_file_limit() == (256, before[1])
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(before[1], 65536)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _is_reset(client: socket.socket) -> bool:
    try:
        return client.recv(1, socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def _place(listener: Listener) -> tuple[str, int]:
    where = listener.address
    assert isinstance(where, tuple)
    return where
