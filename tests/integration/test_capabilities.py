"""Root with no more power than cron/vscadmin-cleanup.service leaves it sees as much as root."""

from __future__ import annotations

import configparser
import contextlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.conftest import NOBODY
from tests.integration.lookalike import Lookalike
from tests.run import COMMAND, eventually

UNIT = Path(__file__).parents[2] / "cron" / "vscadmin-cleanup.service"

# A client of a server that it starts itself, with the sockets that the server listens on. What
# it needs of Python is loaded while it is root, whose home the interpreter may be in.
CLIENT = """
import os, socket, subprocess, sys
path, launcher, uid, gid = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
os.setgroups([])
os.setresgid(gid, gid, gid)
os.setresuid(uid, uid, uid)
tcp = socket.socket()
tcp.bind(("", 0))
tcp.listen()
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
client = socket.socket(socket.AF_UNIX)
client.connect(path)
accepted, _ = listener.accept()
served = [each.fileno() for each in (tcp, listener, accepted)]
command = ["/bin/sh", launcher, "--start-server", f"--socket-path={path}"]
server = subprocess.Popen(command, pass_fds=served)
for each in (tcp, listener, accepted):
    each.close()
print(server.pid, flush=True)
sys.stdin.readline()
client.close()
print("closed", flush=True)
sys.stdin.read()
"""

SIGNAL = """
import os, signal, sys
signal.pidfd_send_signal(os.pidfd_open(int(sys.argv[1])), 0)  # checks, and sends nothing
"""


def capabilities() -> list[str]:
    parser = configparser.RawConfigParser(strict=False)
    parser.read(UNIT)
    return parser["Service"]["CapabilityBoundingSet"].split()


def limited(names: list[str]) -> list[str]:
    """Return what leaves a command of root's these capabilities alone, as systemd would."""
    kept = "".join(f",+{name.removeprefix('CAP_').lower()}" for name in names)
    return ["setpriv", f"--bounding-set=-all{kept}", "--inh-caps=-all", "--no-new-privs", "--"]


def without(name: str) -> list[str]:
    return limited([each for each in capabilities() if each != name])


class Server:
    """A server of nobody's in a network namespace of its own, with a client outside its tree."""

    def __init__(self, process: subprocess.Popen[str], home: Path) -> None:
        self.process = process
        self.home = home
        self.socket = str(home / "socket")
        self.pid = int(self.answer())

    def answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()

    def close_client(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.answer() == "closed\n"

    def seen(self, *before: str) -> dict[str, Any]:
        """Return what `vscadmin scan` says of it, run as root behind *before*."""
        done = subprocess.run(
            [*before, COMMAND, "scan", "--json"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode in (0, 10), done.stderr
        trees = json.loads(done.stdout)["trees"]
        return next((each for each in trees if each["pid"] == self.pid), {})


@pytest.fixture
def server(root: None) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="vscadmin-") as folder:
        home = Path(folder)
        lookalike = Lookalike(home)
        home.chmod(0o1777)
        who = (str(NOBODY.pw_uid), str(NOBODY.pw_gid))
        python = ("unshare", "--net", sys.executable, "-c", CLIENT)
        with subprocess.Popen(
            [*python, str(home / "socket"), str(lookalike.launcher), *who],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                found = Server(process, home)
                eventually(found.seen, lambda tree: tree.get("processes") == 2)
                yield found
            finally:
                family = psutil.Process(process.pid).children(recursive=True)
                for each in (*family, psutil.Process(process.pid)):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        each.kill()


def lasting(tree: dict[str, Any]) -> dict[str, Any]:
    """Return what two looks at the same tree agree on."""
    return {key: value for key, value in tree.items() if key not in ("cpu_seconds", "rss_bytes")}


def test_another_users_sockets_in_another_network_namespace_are_seen(server: Server) -> None:
    found = server.seen(*limited(capabilities()))
    assert found["uid"] == NOBODY.pw_uid
    assert server.socket in found["listeners"]
    assert [each for each in found["listeners"] if each.startswith("0.0.0.0:")]
    (client,) = found["clients"]
    assert re.fullmatch(rf"socket \d+ is connected to {server.socket}", client)
    assert found["state"] == "connected"


def test_a_client_that_left_is_seen_to_have_left(server: Server) -> None:
    server.close_client()
    found = server.seen(*limited(capabilities()))
    assert (found["clients"], found["state"]) == ([], "grace")


def test_as_much_is_seen_as_by_all_of_root(server: Server) -> None:
    assert lasting(server.seen(*limited(capabilities()))) == lasting(server.seen())


def test_homes_that_are_hidden_change_nothing(server: Server) -> None:
    """ProtectHome: another mount namespace, in which the executable's path leads nowhere."""
    hide = f'mount -t tmpfs -o mode=000 none {server.home} && exec "$@"'
    hidden = ("unshare", "--mount", "sh", "-c", hide, "sh")
    assert lasting(server.seen(*hidden, *limited(capabilities()))) == lasting(server.seen())


class TestEachIsNeeded:
    """Else the unit has too much power, or the tests above cannot fail."""

    def test_to_follow_the_links_of_other_users_processes(self, server: Server) -> None:
        assert "CAP_SYS_PTRACE" in capabilities()
        found = server.seen(*without("CAP_SYS_PTRACE"))
        assert found.get("state", "not seen at all") in ("unknown", "not seen at all")

    def test_to_list_their_open_files(self, server: Server) -> None:
        assert "CAP_DAC_READ_SEARCH" in capabilities()
        found = server.seen(*without("CAP_DAC_READ_SEARCH"))
        assert found["state"] == "unknown"
        assert f"the sockets of pid {server.pid} could not be read" in found["evidence"]

    def test_to_ask_in_their_network_namespace(self, server: Server) -> None:
        """Without, whoever is connected cannot be found, and counts as a client."""
        assert "CAP_SYS_ADMIN" in capabilities()
        (client,) = server.seen(*without("CAP_SYS_ADMIN"))["clients"]
        assert client == f"somebody who cannot be found is connected to {server.socket}"
        server.close_client()
        assert server.seen(*without("CAP_SYS_ADMIN"))["state"] == "connected"

    def test_to_signal_them(self, server: Server) -> None:
        assert "CAP_KILL" in capabilities()
        assert signal_from(limited(capabilities()), server.pid) == 0
        assert signal_from(without("CAP_KILL"), server.pid) != 0

    def test_there_is_no_other(self) -> None:
        assert len(capabilities()) == 4


def signal_from(before: list[str], pid: int) -> int:
    """Return the exit status of a process that may signal *pid* or not."""
    command = [*before, sys.executable, "-c", SIGNAL, str(pid)]
    return subprocess.run(command, check=False, capture_output=True).returncode
