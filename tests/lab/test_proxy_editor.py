"""A researcher's editor in a job: real ssh with dynamic forwarding, the real VS Code server."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.cluster import Cluster
from tests.lab.editor import Editor, Window
from tests.lab.remote_ssh.scripts import Layout
from tests.lab.screen import windows
from tests.lab.session import COMMAND, Session
from tests.lab.site import proxy_settings
from tests.lab.traces import nothing_left, processes
from tests.run import eventually

pytestmark = pytest.mark.usefixtures("vscode_server_installed")

CONTENT = b"content \xff\n" * 1000
WANTED = f"read {len(CONTENT)} {hashlib.sha256(CONTENT).hexdigest()}\n".encode()
OURS = "vscode-shell-proxy*"  # the editor's server leaves files of its own
# Whose login shell is what: bash, tcsh, fish.
LAYOUTS = {
    Layout.LEGACY: "alice",
    Layout.EXEC: "dave",
    Layout.LEGACY_SOCKET: "erin",
    Layout.EXEC_SOCKET: "bob",
}


@contextmanager
def editor(cluster: Cluster, user: str, layout: Layout, *arguments: str) -> Iterator[Editor]:
    """Connect through the proxy on login1; the job runs on c1."""
    cluster["login1"].write(f"/home/{user}/file", CONTENT, user=user)
    command = shlex.join([COMMAND, "-S", "--nodelist=c1", *arguments])
    with Editor(cluster, user, "login1", layout, remote_command=command) as connected:
        yield connected


@contextmanager
def reading(connected: Editor) -> Iterator[bytes]:
    """Open a window, and yield what it says of the user's file."""
    with connected.window("--read", f"/home/{connected.user}/file") as window:
        yield said(window)


def said(window: Window) -> bytes:
    assert window.process.stdout is not None
    return window.process.stdout.readline()


def extension_hosts(cluster: Cluster, node: str, user: str) -> int:
    return len(processes(cluster[node], user, "-f", "--", "--type=extensionHost"))


class TestRelay:
    @pytest.mark.parametrize(("layout", "user"), LAYOUTS.items())
    def test_an_editor_works_in_the_job(self, cluster: Cluster, layout: Layout, user: str) -> None:
        """It reads a file, starts an extension host, and opens a second window."""
        with editor(cluster, user, layout) as connected:
            with reading(connected) as first, reading(connected) as second:
                assert (first, second) == (WANTED, WANTED)
                assert extension_hosts(cluster, "c1", user) == 2
                for node in cluster.login_nodes:
                    assert not processes(node, user, "-f", "server-main")
            connected.session.expect_blanks(2)
            is_socket = isinstance(connected.result.endpoint, Path)
            assert is_socket == (layout in (Layout.LEGACY_SOCKET, Layout.EXEC_SOCKET))
        nothing_left(cluster, user, 5, files=OURS)

    def test_a_lost_laptop_takes_the_job_with_it(self, cluster: Cluster) -> None:
        with editor(cluster, "carol", Layout.LEGACY) as connected, connected.window() as window:
            window.kill()
            connected.lose()
            nothing_left(cluster, "carol", 10, files="")

    def test_a_roaming_laptop_comes_back_to_a_job_of_its_own(self, cluster: Cluster) -> None:
        """What it left ends, and does not meet what it starts."""
        with editor(cluster, "carol", Layout.EXEC) as first:
            first.lose()
            with editor(cluster, "carol", Layout.EXEC) as second, reading(second) as read:
                assert read == WANTED
        nothing_left(cluster, "carol", 5, files=OURS)


class TestDirect:
    @pytest.mark.parametrize("layout", [Layout.LEGACY, Layout.EXEC])
    def test_the_server_listens_where_the_login_node_reaches_it(
        self, cluster: Cluster, layout: Layout
    ) -> None:
        with editor(cluster, "bob", layout, "--mode", "direct") as connected:
            with reading(connected) as read:
                assert read == WANTED
            rows = cluster["c1"].run("ss", "-Hltne").stdout.splitlines()
            hosts = {row.split()[3].rpartition(":")[0] for row in rows if " uid:20002 " in row}
            assert hosts == {cluster["c1"].inside}
        nothing_left(cluster, "bob", 5, files=OURS)


class TestX11:
    def test_a_window_of_the_job_is_on_the_laptops_screen(self, cluster: Cluster) -> None:
        with (
            proxy_settings(cluster, 'version = 1\nplugins = ["x11"]\n'),
            Session(cluster, "erin", ssh=("-X",), env={"DISPLAY": ":0"}) as session,
        ):
            place = session.place()
            session.send("xclock -name of-a-session &\n")
            eventually(lambda: windows(cluster, "erin"), lambda tree: '"of-a-session"' in tree)
            assert processes(cluster[place.node], "erin", "-x", "xclock")
            session.send("kill %1; wait; exit 6\n")
            assert session.wait() == 6
        nothing_left(cluster, "erin", 5)

    def test_without_a_display_there_is_a_line_and_a_session(self, cluster: Cluster) -> None:
        with (
            proxy_settings(cluster, 'version = 1\nplugins = ["x11"]\n'),
            Session(cluster, "erin", "login1", "--x11") as session,
        ):
            session.place()
            assert session.said("no X11 windows from this job: DISPLAY is not set", 0)
            session.send('exit "${#DISPLAY}"\n')
            assert session.wait() == 0
