"""Only the owner gets through, and nobody else disturbs a session."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.integration.conftest import NOBODY
from tests.integration.proxy import LOCALHOST, Proxy, accept, connect, read_all, server
from vscadmin.proxy import wire

CROWD = 50
# Says something, and prints what it gets.
DIAL = 'exec 3<>"/dev/tcp/127.0.0.1/$1" && echo question >&3 && cat <&3'
AS_NOBODY = ("setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups")


def as_nobody(port: int) -> bytes:
    """Dial *port* as another user of this machine; return what came back."""
    argv = [*AS_NOBODY, "bash", "-c", DIAL, "bash", str(port)]
    return subprocess.run(argv, capture_output=True, timeout=10, check=False).stdout


def works(port: int, backend: socket.socket) -> bool:
    with connect(port) as client:
        client.sendall(b"owner's")
        with accept(backend) as inside:
            return inside.recv(100) == b"owner's"


def dial_back(proxy: Proxy) -> int:
    """Return the port on which the proxy listens for its job, before it listens for its client."""
    listening = psutil.Process(proxy.process.pid).net_connections("tcp")
    (port,) = (each.laddr.port for each in listening if each.status == psutil.CONN_LISTEN)
    return int(port)


@contextmanager
def crowd(port: int, said: bytes) -> Iterator[list[socket.socket]]:
    """Come as many, say something or nothing, and stay."""
    with ExitStack() as stack:
        held = [stack.enter_context(connect(port)) for _ in range(CROWD)]
        for each in held:
            each.sendall(said)
        yield held


@pytest.mark.usefixtures("root")
class TestTheClientsPort:
    @pytest.mark.parametrize("mode", ["relay", "direct"])
    def test_another_user_is_refused_and_named_and_the_owner_undisturbed(
        self, tmp_path: Path, mode: str
    ) -> None:
        with Proxy(tmp_path, "--mode", mode) as proxy, server() as backend:
            port = proxy.port_for(backend)
            with connect(port) as client, accept(backend) as inside:
                assert as_nobody(port) == b""
                proxy.said(f"a connection of uid {NOBODY.pw_uid} was refused")
                inside.sendall(b"still here")
                assert client.recv(100) == b"still here"
            backend.setblocking(False)
            with pytest.raises(BlockingIOError):
                backend.accept()

    def test_many_of_them_are_one_line(self, tmp_path: Path) -> None:
        with Proxy(tmp_path) as proxy, server() as backend:
            port = proxy.port_for(backend)
            loop = f"for n in $(seq {CROWD}); do ({DIAL}) 2>/dev/null; done"
            argv = [*AS_NOBODY, "bash", "-c", loop, "bash", str(port)]
            assert subprocess.run(argv, capture_output=True, timeout=20, check=False).stdout == b""
            assert works(port, backend)
            assert proxy.said("refused")
            assert proxy.stderr.count("refused") == 1


class TestTheWayBack:
    @pytest.mark.parametrize(
        "said",
        [b"", b"GET / HTTP/1.0\r\n\r\n", os.urandom(wire.GREETING_SIZE), b"VSP1" + bytes(3)],
        ids=["silent", "http", "noise", "half a greeting"],
    )
    def test_who_does_not_know_the_key_is_refused_and_disturbs_nobody(
        self, tmp_path: Path, said: bytes
    ) -> None:
        with Proxy(tmp_path, "-v") as proxy, server() as backend:
            proxy.pids()
            home = dial_back(proxy)
            port = proxy.port_for(backend)
            with crowd(home, said) as strangers:
                for _ in range(20):
                    assert works(port, backend)
                strangers[0].settimeout(10)
                assert ended(strangers[0])
            assert proxy.said("key, was refused")
            assert proxy.run("exit 7\n") == 7

    def test_it_listens_at_the_address_that_the_step_was_given_alone(self, tmp_path: Path) -> None:
        with Proxy(tmp_path) as proxy:
            proxy.pids()
            listening = psutil.Process(proxy.process.pid).net_connections("tcp")
            assert {each.laddr.ip for each in listening} == {LOCALHOST}


def ended(connection: socket.socket) -> bool:
    try:
        return read_all(connection) == b""
    except ConnectionResetError:
        return True
