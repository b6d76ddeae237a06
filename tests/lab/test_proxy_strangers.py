"""Only the owner of a session gets through it, and nobody else disturbs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.lab.cluster import Cluster
from tests.lab.node import Node
from tests.lab.session import Session
from tests.lab.traces import nothing_left

NO_BACKEND = 69
SERVER = """
exec python3 -c '
import http.server as h
s = h.ThreadingHTTPServer(("127.0.0.1", 0), h.SimpleHTTPRequestHandler)
print(f"listeningOn==127.0.0.1:{s.server_port}==", flush=True)
s.serve_forever()
' 2>/dev/null
"""
LISTENING = rb"listeningOn==127\.0\.0\.1:(\d+)==\n"
CONTENT = bytes(range(256)) * 4096
# Come, say something or nothing, and stay; what is refused is refused.
CROWD = """
import socket, sys
held = []
for number in range(int(sys.argv[3])):
    try:
        held.append(socket.create_connection((sys.argv[1], int(sys.argv[2])), 2))
        held[-1].sendall(b"GET / HTTP/1.0\\r\\n\\r\\n" * (number % 2))
    except OSError:
        pass
print("here", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class Served:
    """A session of alice's on login1 whose job on *node* serves her home.

    *port* is where the proxy listens for her; *home* is where it listens for the job.
    """

    session: Session
    node: str
    port: int
    home: tuple[str, int]

    def is_fine(self) -> bool:
        """Fetch a file of the job as the laptop does, through ssh's dynamic forwarding."""
        socks = f"127.0.0.1:{self.session.socks_port}"
        done = fetch(self.session.cluster.laptop, "alice", self.port, "--socks5", socks)
        return bool(done.stdout == CONTENT)


def fetch(node: Node, user: str, port: int, *options: str) -> Any:
    url = f"http://127.0.0.1:{port}/file"
    argv = ("curl", "-sS", "--max-time", "10", *options, url)
    return node.run(*argv, user=user, check=False, text=False)


@contextmanager
def served(cluster: Cluster, *arguments: str) -> Iterator[Served]:
    cluster["login1"].write("/home/alice/file", CONTENT, user="alice")
    with Session(cluster, "alice", "login1", *arguments) as session:
        place = session.place()
        session.send(SERVER)
        port = int(session.expect(LISTENING)[1])
        yield Served(session, place.node, port, dial_back(cluster["login1"]))


def dial_back(node: Node) -> tuple[str, int]:
    """Return where the only proxy on *node* listens for its job."""
    argv = ("ss", "-Hltn", "src", node.inside, "and", "sport", "!=", ":22")
    listeners = node.run(*argv).stdout.splitlines()
    (where,) = (line.split()[3] for line in listeners)
    host, _, port = where.rpartition(":")
    return host, int(port)


@contextmanager
def crowd(node: Node, user: str, where: tuple[str, int], count: int) -> Iterator[None]:
    """Have *user* hold *count* connections to *where*, half of them after a few odd words."""
    argv = ("python3", "-c", CROWD, where[0], str(where[1]), str(count))
    with node.start(*argv, user=user) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"here\n"
            yield
        finally:
            process.kill()


class TestTheClientsPort:
    def test_another_user_and_root_are_refused_and_logged(self, cluster: Cluster) -> None:
        with served(cluster) as lent:
            for user in ("bob", "root"):
                done = fetch(cluster["login1"], user, lent.port)
                assert (done.returncode != 0, done.stdout) == (True, b""), done.stderr
            assert lent.session.said("a connection of uid 20002 was refused")
            assert fetch(cluster["login1"], "alice", lent.port).stdout == CONTENT
            with crowd(cluster["login1"], "bob", ("127.0.0.1", lent.port), 100):
                assert lent.is_fine()

    def test_it_is_nowhere_but_on_loopback(self, cluster: Cluster) -> None:
        with served(cluster) as lent:
            for host in (cluster["login1"].inside, "login1"):
                argv = ("curl", "-sS", "--max-time", "5", f"http://{host}:{lent.port}/file")
                assert cluster["c2"].run(*argv, check=False).returncode == 7

    def test_the_server_in_the_job_stays_on_its_nodes_loopback(self, cluster: Cluster) -> None:
        with served(cluster) as lent:
            rows = cluster[lent.node].run("ss", "-Hltne").stdout.splitlines()
            hers = [row.split()[3] for row in rows if " uid:20001 " in row]
            assert hers != []
            assert [where for where in hers if not where.startswith("127.0.0.1:")] == []

    def test_a_port_that_is_taken_is_said_and_leaves_no_job(self, cluster: Cluster) -> None:
        with served(cluster, "-p", "4000") as lent:
            assert lent.port == 4000
            with Session(cluster, "alice", "login1", "-p", "4000") as second:
                second.place()
                second.send(SERVER)
                assert second.wait() == NO_BACKEND
                assert "4000" in second.said("already in use|taken", 0)
            assert lent.is_fine()
        nothing_left(cluster, "alice", 5)


class TestTheJobsWayBack:
    def test_a_crowd_of_strangers_disturbs_nobody(self, cluster: Cluster) -> None:
        """From the job's own node and from others; more than the proxy lets wait."""
        with served(cluster) as lent, ExitStack() as stack:
            for node, user in ((lent.node, "bob"), ("login1", "carol"), ("login2", "bob")):
                stack.enter_context(crowd(cluster[node], user, lent.home, 50))
            assert lent.is_fine()
            assert lent.session.stdout.count(b"listeningOn") == 1
        nothing_left(cluster, "alice", 5, files="vscode-shell-proxy*")

    def test_it_listens_on_the_inside_address_alone(self, cluster: Cluster) -> None:
        with served(cluster) as lent:
            assert lent.home[0] == cluster["login1"].inside
            host, port = cluster["login1"].spec.outside, str(lent.home[1])
            argv = ("curl", "-sS", "--max-time", "5", f"http://{host}:{port}/")
            assert cluster.laptop.run(*argv, check=False).returncode == 7
