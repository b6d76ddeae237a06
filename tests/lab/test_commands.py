"""What somebody types to have a lab, by hand and by make; each failure is one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import cluster as lab
from tests.lab import state
from tests.lab.cluster import Cluster
from tests.run import eventually

CHECKOUT = Path(__file__).resolve().parents[2]
LAB = (sys.executable, "-m", "tests.lab")
MAIL = """
import smtplib
with smtplib.SMTP("ctl") as server:
    server.sendmail("ops@cluster.test", "alice@cluster.test", "Subject: a mail to read\\n\\n")
"""
BY_HAND = f"test-{os.getpid()}-hand"


def run(*argv: str, cwd: Path = CHECKOUT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


def refused(*arguments: str, before: tuple[str, ...] = ()) -> str:
    """Return the one line that a command fails with."""
    done = run(*before, *LAB, *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    return done.stderr


@pytest.fixture
def by_hand(running_lab: Cluster) -> Iterator[str]:
    yield BY_HAND
    lab.down(BY_HAND)


class TestOnANode:
    def test_a_shell_is_a_users_on_a_node(self, cluster: Cluster) -> None:
        script = "id -un; hostname | cat; pwd; echo $TERM"
        shell = (*LAB, "shell", "bob@login2", cluster.name, "--run", script)
        done = run("env", "TERM=screen-256color", *shell)
        assert done.stdout.split() == ["bob", "login2", "/home/bob", "screen-256color"]

    @pytest.mark.usefixtures("vscode_server_installed")
    def test_two_servers_are_left_behind_at_once(self, cluster: Cluster) -> None:
        where = ("alice@login1", "bob@login")
        both = [(*LAB, "leave", each, cluster.name) for each in where]
        pipes = {"cwd": CHECKOUT, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        leaving = [subprocess.Popen(argv, text=True, **pipes) for argv in both]  # type: ignore[call-overload]
        said_by = [process.communicate(timeout=120)[0] for process in leaving]
        for user, said in zip(("alice", "bob"), said_by, strict=True):
            assert said.startswith(f"{user} has left a VS Code server on login")
            assert any(node.pids("server-main.js", user=user) for node in cluster.login_nodes)

    def test_root_of_a_login_node_has_a_way_to_both(self, cluster: Cluster) -> None:
        """As sites have it whose admins ask the whole fleet; users have none by it."""
        for place in ("login1", "login2"):
            asked = ("shell", f"root@{place}", cluster.name, "--run")
            done = run(*LAB, *asked, "vscadmin fleet report -w login[1-2]")
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.startswith("0 servers of 0 users on 2 of 2 nodes")
            read = cluster[place].run("cat", "/root/.ssh/id_ed25519", user="alice", check=False)
            assert "Permission denied" in read.stderr

    def test_the_tour_says_how_to_read_the_mail(self, cluster: Cluster) -> None:
        cluster["login1"].run("python3", "-c", MAIL)
        tour = run(*LAB, "up", cluster.name).stdout
        (line,) = (line for line in tour.splitlines() if "/var/mail" in line)
        assert "Subject: a mail to read" in run("sh", "-c", line).stdout

    def test_nodes_that_cannot_be_gone_to(self, cluster: Cluster) -> None:
        assert "there is no alice@login " in refused("shell", "alice@login", cluster.name)
        assert "nodes are login, login1, login2" in refused("leave", "alice@c1", cluster.name)
        assert "there is no eve@c1 " in refused("shell", "eve@c1", cluster.name)

    @pytest.mark.usefixtures("vscode_server_installed")
    def test_a_window_that_does_not_open(self, cluster: Cluster) -> None:
        """Nor does a link in a home lead what is laid out there to elsewhere."""
        cluster["login1"].run("ln", "-s", "/etc", "/home/bob/.vscode-server", user="bob")
        assert "Permission denied" in refused("leave", "bob@login1", cluster.name)


class TestByHand:
    def test_status_tells_what_there_is_and_what_is_left(self, cluster: Cluster) -> None:
        with state.locked(f"{BY_HAND}-empty"):
            pass
        said = run(*LAB, "status").stdout
        assert {f"{cluster.name}: up", f"{BY_HAND}-empty: incomplete"} <= set(said.splitlines())
        assert run(*LAB, "down", f"{BY_HAND}-empty").returncode == 0
        assert BY_HAND not in run(*LAB, "status").stdout

    def test_one_that_lost_a_node_can_be_gone_to_where_it_lives(self, by_hand: str) -> None:
        lab.up(by_hand)
        done = run(*LAB, "power-off", "login2", by_hand)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"{by_hand}: incomplete, without login2" in run(*LAB, "status").stdout.splitlines()
        gone = refused("shell", "root@login2", by_hand)
        assert gone == f"lab: login2 of {by_hand} is down: make lab makes the lab anew\n"
        done = run(*LAB, "shell", "bob@login1", by_hand, "--run", "id -un; hostname")
        assert done.stdout.split() == ["bob", "login1"]
        assert lab.find(by_hand) is None  # so that `up` makes it anew

    @pytest.mark.usefixtures("vscode_server_installed")
    def test_make_brings_one_up_and_takes_it_down(self, by_hand: str) -> None:
        done = run("make", "-o", "setup-test", "lab", f"LAB={by_hand}")
        assert "A tour:" in done.stdout, done.stderr
        assert lab.find(by_hand) is not None
        done = run("make", "lab-down", f"LAB={by_hand}")
        assert f"lab {by_hand} gone in" in done.stdout
        assert by_hand not in state.names()

    def test_one_is_taken_down_without_the_projects_dependencies(self, by_hand: str) -> None:
        lab.up(by_hand)
        done = run("/usr/bin/python3", "-S", "-m", "tests.lab", "down", by_hand)
        assert (done.returncode, done.stderr) == (0, "")
        assert by_hand not in state.names()

    def test_one_that_is_being_made_is_left_alone(self, by_hand: str) -> None:
        with state.locked(by_hand):
            assert refused("down", by_hand) == (
                f"lab: lab {by_hand} is being brought up or taken down\n"
            )


AS_NOBODY = ("setpriv", "--reuid=65534", "--clear-groups") if os.geteuid() == 0 else ()


class TestWhereItCannotBe:
    def test_not_root(self) -> None:
        for verb in ("up", "down", "status"):
            done = run(*AS_NOBODY, "/usr/bin/python3", "-m", "tests.lab", verb)
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr == "lab: the lab needs root: it makes namespaces and networks\n"

    def test_make_is_not_root(self) -> None:
        done = run(*AS_NOBODY, "make", "-o", "setup-test", "lab")
        assert done.stderr.startswith("lab: the lab needs root")

    def test_a_package_is_missing(self, root: None) -> None:
        hide = 'mount --bind /dev/null /usr/bin/tini && exec "$@"'
        without = ("unshare", "--mount", "sh", "-c", hide, "sh")
        assert refused("up", before=without) == (
            "lab: the lab needs packages: apt-get install tini\n"
        )

    def test_a_bad_name(self, root: None) -> None:
        assert refused("up", "../x") == "lab: a lab's name is made of a-z, 0-9 and -, not '../x'\n"


def test_clean_leaves_what_a_lab_runs(tmp_path: Path) -> None:
    shutil.copy(CHECKOUT / "Makefile", tmp_path)
    (software := tmp_path / "labs" / "demo" / "software").parent.mkdir(parents=True)
    (tmp_path / ".cache").mkdir()
    for other, is_left in ((tmp_path, True), (Path("/elsewhere"), False)):
        software.write_text(f"{other}/.cache/lab/opt-1")
        done = run("make", "clean", f"LABS={tmp_path}/labs", cwd=tmp_path)
        assert (done.returncode != 0) is is_left
        assert (tmp_path / ".cache").exists() is is_left


def test_a_dead_window_is_not_waited_for_for_ever(cluster: Cluster) -> None:
    from tests.lab.editor import Window  # noqa: PLC0415
    from tests.lab.errors import EditorError  # noqa: PLC0415

    silent = cluster.laptop.start("sh", "-c", "echo hello; exec sleep 1000", user="alice")
    with silent, pytest.raises(EditorError, match="hello"):
        Window.opened(silent, seconds=5)
    eventually(lambda: cluster.laptop.pids("sleep 1000"), lambda left: not left)
