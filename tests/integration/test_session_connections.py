"""The client's connections to the editor's server: all of the way through proxy and agent."""

from __future__ import annotations

import os
import resource
import select
import socket
import struct
import subprocess
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.integration.proxy import SHELL, Proxy, accept, connect, read_all, server
from tests.run import eventually

MEBIBYTE = 1 << 20
GIBIBYTE = 1 << 30
MANY = 1000
AT_ONCE = 400
RESET = struct.pack("ii", 1, 0)  # SO_LINGER, socket(7): close(2) sends RST

modes = pytest.mark.parametrize("mode", ["relay", "direct"])


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let the test itself hold both ends of many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def short() -> Iterator[Path]:
    """Return a directory of ours in whose name there is room for a socket's."""
    with tempfile.TemporaryDirectory(prefix="vsp-") as name:
        yield Path(name)


def pair(port: int, backend: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Connect a client; return both ends."""
    client = connect(port)
    return client, accept(backend)


@modes
class TestOne:
    def test_a_half_close_of_the_client_leaves_it_the_answer(
        self, tmp_path: Path, mode: str
    ) -> None:
        with Proxy(tmp_path, "--mode", mode) as proxy, server() as backend:
            client, inside = pair(proxy.port_for(backend), backend)
            with client, inside:
                client.sendall(b"question")
                client.shutdown(socket.SHUT_WR)
                assert read_all(inside) == b"question"
                inside.sendall(b"answer")
                inside.shutdown(socket.SHUT_WR)
                assert read_all(client) == b"answer"

    def test_a_half_close_of_the_server_leaves_it_the_question(
        self, tmp_path: Path, mode: str
    ) -> None:
        with Proxy(tmp_path, "--mode", mode) as proxy, server() as backend:
            client, inside = pair(proxy.port_for(backend), backend)
            with client, inside:
                inside.sendall(b"answer first")
                inside.shutdown(socket.SHUT_WR)
                assert read_all(client) == b"answer first"
                client.sendall(b"question")
                client.shutdown(socket.SHUT_WR)
                assert read_all(inside) == b"question"

    def test_a_reset_of_the_client_is_one_for_the_server(self, tmp_path: Path, mode: str) -> None:
        with Proxy(tmp_path, "--mode", mode) as proxy, server() as backend:
            client, inside = pair(proxy.port_for(backend), backend)
            with inside:
                reset(client)
                with pytest.raises(ConnectionResetError):
                    inside.recv(1)

    def test_a_reset_of_the_server_is_one_for_the_client(self, tmp_path: Path, mode: str) -> None:
        with Proxy(tmp_path, "--mode", mode) as proxy, server() as backend:
            client, inside = pair(proxy.port_for(backend), backend)
            with client:
                reset(inside)
                with pytest.raises(ConnectionResetError):
                    client.recv(1)

    def test_who_does_not_read_holds_the_other_up(self, tmp_path: Path, mode: str) -> None:
        with Proxy(tmp_path, "--mode", mode) as proxy, server() as backend:
            client, inside = pair(proxy.port_for(backend), backend)
            with client, inside:
                sent = 0
                while select.select([], [inside], [], 0.5)[1]:
                    sent += inside.send(bytes(MEBIBYTE))
                    assert sent < 50 * MEBIBYTE
                inside.close()
                assert len(read_all(client)) == sent


@modes
class TestMany:
    def test_all_that_come_at_once_are_served_at_once(
        self, tmp_path: Path, mode: str, many_files: None
    ) -> None:
        with ExitStack() as stack:
            proxy = stack.enter_context(Proxy(tmp_path, "--mode", mode))
            backend = stack.enter_context(server())
            port = proxy.port_for(backend)
            began = time.monotonic()
            clients = [stack.enter_context(connect(port)) for _ in range(AT_ONCE)]
            for number, client in enumerate(clients):
                client.sendall(b"%d" % number)
                client.shutdown(socket.SHUT_WR)
            for _ in clients:
                with accept(backend) as inside:
                    inside.sendall(b"you are " + read_all(inside))
            answers = [read_all(client) for client in clients]
            assert answers == [b"you are %d" % number for number in range(AT_ONCE)]
            assert time.monotonic() - began < 5

    def test_a_thousand_are_open_where_a_thousand_files_are_the_limit(
        self, tmp_path: Path, mode: str, many_files: None
    ) -> None:
        """The shell's own limit stays what the site has set."""
        limit = ("prlimit", "--nofile=1024:8192")
        with ExitStack() as stack:
            proxy = stack.enter_context(Proxy(tmp_path, "--mode", mode, before=limit))
            proxy.send("echo limit $(ulimit -Sn) $(ulimit -Hn):\n")
            assert proxy.expect(rb"limit (.*):\n")[1] == b"1024 8192"
            backend = stack.enter_context(server())
            port = proxy.port_for(backend)
            pairs = []
            for _ in range(MANY):
                pairs.append(pair(port, backend))
                for end in pairs[-1]:
                    stack.enter_context(end)
            for number, (client, _) in enumerate(pairs):
                client.sendall(b"%04d" % number)
            assert {inside.recv(4) for _, inside in pairs} == {b"%04d" % n for n in range(MANY)}
            assert proxy.stderr == ""


def test_a_gibibyte_each_way_arrives_as_it_was_sent(tmp_path: Path) -> None:
    with Proxy(tmp_path) as proxy, server() as backend:
        client, inside = pair(proxy.port_for(backend), backend)
        with client, inside:
            sums: dict[str, int] = {}
            ways = (("up", client, inside), ("down", inside, client))
            threads = []
            for name, source, target in ways:
                threads += [
                    threading.Thread(target=pour, args=(source, name, sums)),
                    threading.Thread(target=drink, args=(target, name, sums)),
                ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        assert sums["sent up"] == sums["received up"]
        assert sums["sent down"] == sums["received down"]


def pour(to: socket.socket, name: str, sums: dict[str, int]) -> None:
    """Send a GiB in which no MiB is like another."""
    block, total = os.urandom(MEBIBYTE), 0
    for number in range(GIBIBYTE // MEBIBYTE):
        data = struct.pack("!Q", number) + block[8:]
        to.sendall(data)
        total = zlib.crc32(data, total)
    to.shutdown(socket.SHUT_WR)
    sums[f"sent {name}"] = total


def drink(of: socket.socket, name: str, sums: dict[str, int]) -> None:
    total = size = 0
    while data := of.recv(MEBIBYTE):
        size, total = size + len(data), zlib.crc32(data, total)
    assert size == GIBIBYTE
    sums[f"received {name}"] = total


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


class TestAnnouncements:
    def test_two_servers_have_each_their_port(self, tmp_path: Path) -> None:
        with Proxy(tmp_path) as proxy, server() as one, server() as other:
            ports = {proxy.port_for(one): one, proxy.port_for(other): other}
            assert len(ports) == 2
            for port, backend in ports.items():
                client, inside = pair(port, backend)
                client.close()
                inside.close()

    def test_one_that_is_announced_again_keeps_its_port(self, tmp_path: Path) -> None:
        with Proxy(tmp_path) as proxy, server() as backend:
            assert proxy.port_for(backend) == proxy.port_for(backend)

    def test_a_unix_socket_is_reached_by_one_that_is_the_owners_alone(
        self, tmp_path: Path, short: Path
    ) -> None:
        path = f"{short}/server"
        with Proxy(tmp_path) as proxy, socket.socket(socket.AF_UNIX) as backend:
            backend.settimeout(10)
            backend.bind(path)
            backend.listen()
            near = Path(proxy.announce(path))
            assert str(near) != path
            assert near.parent.stat().st_mode & 0o777 == 0o700
            assert near.stat().st_mode & 0o777 == 0o600
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(10)
                client.connect(str(near))
                with accept(backend) as inside:
                    client.sendall(b"question")
                    client.shutdown(socket.SHUT_WR)
                    assert read_all(inside) == b"question"
                    inside.sendall(b"answer")
                    inside.close()
                    assert read_all(client) == b"answer"
            proxy.run("exit\n")
        assert not near.parent.exists()

    def test_its_socket_is_in_the_users_runtime_directory_if_there_is_one(
        self, tmp_path: Path, short: Path
    ) -> None:
        with Proxy(tmp_path, XDG_RUNTIME_DIR=str(short)) as proxy:
            assert proxy.announce("/tmp/no-server").startswith(f"{short}/")
            proxy.run("exit\n")
        assert list(short.iterdir()) == []

    @pytest.mark.parametrize("line", ["listeningOn====", "listeningOn==0==", "listeningOn==x=="])
    def test_a_line_that_names_no_server_is_not_held_back(self, tmp_path: Path, line: str) -> None:
        with Proxy(tmp_path) as proxy:
            proxy.send(f"echo {line}; cat\n")
            proxy.expect(line.encode() + b"\n")

    def test_a_fixed_port_that_is_taken_ends_the_session_with_the_port_named(
        self, tmp_path: Path
    ) -> None:
        with server() as taken, server() as backend:
            port = str(taken.getsockname()[1])
            with Proxy(tmp_path, "-p", port) as proxy:
                proxy.send(f"echo listeningOn=={backend.getsockname()[1]}==; sleep 1000\n")
                assert proxy.wait() == 69
                assert f"no listener for the editor: 127.0.0.1:{port}: " in proxy.stderr
                proxy.gone(5)
                assert proxy.stdout == b"listeningOn==1==\n"


class TestForwards:
    def test_a_real_ssh_agent_is_reached_from_the_job(self, tmp_path: Path, short: Path) -> None:
        config = f'{SHELL}plugins = ["agent_forwarding"]\n'
        with ssh_agent(short) as path, Proxy(tmp_path, config=config, SSH_AUTH_SOCK=path) as proxy:
            proxy.send("echo $SSH_AUTH_SOCK; ssh-add -l; exit $?\n")
            inside = Path(proxy.expect(rb"^(/.*)\n")[1].decode())
            assert inside != Path(path)
            assert proxy.wait() == 1
            assert proxy.stdout.endswith(b"The agent has no identities.\n")
        assert not inside.parent.exists()

    def test_one_that_went_away_is_said(self, tmp_path: Path, short: Path) -> None:
        config = f'{SHELL}plugins = ["agent_forwarding"]\n'
        with ExitStack() as stack:
            with ssh_agent(short) as path:
                proxy = stack.enter_context(Proxy(tmp_path, config=config, SSH_AUTH_SOCK=path))
                proxy.pids()
            proxy.send("ssh-add -l 2>/dev/null; exit 3\n")
            assert proxy.wait() == 3
            assert proxy.said(f"^vscode-shell-proxy: {path}: ")


@contextmanager
def ssh_agent(place: Path) -> Iterator[str]:
    """Run an ssh agent as that of a login session; yield the path of its socket."""
    path = f"{place}/agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL) as agent:
        try:
            eventually(lambda: os.path.exists(path), bool)
            yield path
        finally:
            agent.terminate()
