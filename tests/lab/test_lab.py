"""The lab is what it says: real daemons, real networks, and nothing of it outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.lab import cgroups
from tests.lab import cluster as lab
from tests.lab.cluster import Cluster
from tests.lab.topology import NODES
from tests.run import eventually

LAB = (sys.executable, "-m", "tests.lab")
CHECKOUT = Path(__file__).resolve().parents[2]


def command(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LAB, *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture(scope="module", autouse=True)
def every_minute(running_lab: Cluster) -> None:
    """Let cron begin before the other tests, and not make one wait for the whole minute."""
    for node in running_lab.login_nodes:
        node.write("/etc/cron.d/minute", "* * * * * root hostname >/run/minute\n")


class TestNodes:
    def test_each_has_its_name_and_tini_as_pid_1(self, cluster: Cluster) -> None:
        for name, node in cluster.nodes.items():
            assert node.run("hostname").stdout.strip() == name
            assert node.run("ps", "-o", "args=", "-p", "1").stdout == "tini -- sh /etc/lab/start\n"

    def test_homes_are_shared_by_the_cluster_alone(self, cluster: Cluster) -> None:
        cluster["login1"].write("/home/alice/paper.tex", "x", user="alice")
        assert cluster["c2"].read("/home/alice/paper.tex", user="alice") == "x"
        assert cluster.laptop.run("ls", "/home/alice").stdout == ""

    def test_users_cannot_read_each_others_homes(self, cluster: Cluster) -> None:
        done = cluster["login1"].run("ls", "/home/alice", user="bob", check=False)
        assert "Permission denied" in done.stderr

    def test_settings_are_a_nodes_own(self, cluster: Cluster) -> None:
        cluster["login1"].write("/etc/only-here", "x")
        assert not Path("/etc/only-here").exists()
        assert cluster["login2"].run("test", "-e", "/etc/only-here", check=False).returncode == 1

    def test_nothing_of_the_machines_root_is_seen(self, cluster: Cluster) -> None:
        assert cluster["c1"].run("ls", "-A", "/root", "/var/lib/vscadmin-lab").stdout.split() == [
            "/root:",
            "/var/lib/vscadmin-lab:",
        ]

    def test_a_command_ends_with_the_process_that_started_it(self, cluster: Cluster) -> None:
        command = ("sh", "-c", "echo; exec sleep 1000")
        with cluster["c1"].start(*command, user="alice") as sleeping:
            assert sleeping.stdout is not None
            sleeping.stdout.readline()
            (pid,) = cluster["c1"].pids("sleep 1000", user="alice")
            sleeping.kill()
        eventually(lambda: cluster["c1"].pids("sleep 1000"), lambda left: pid not in left)

    def test_files_keep_their_content_and_rights(self, cluster: Cluster, tmp_path: Path) -> None:
        script = tmp_path / "script"
        script.write_bytes(b"#!/bin/sh\nprintf '\\377'\n")
        script.chmod(0o750)
        cluster.laptop.copy(script, "/home/bob/bin/script", user="bob")
        said = cluster.laptop.run("stat", "-c", "%a %U", "/home/bob/bin/script", user="bob").stdout
        assert said == "750 bob\n"
        ran = cluster.laptop.run("/home/bob/bin/script", user="bob", text=False)
        assert ran.stdout == b"\xff"  # type: ignore[comparison-overlap]


class TestNetwork:
    def test_the_round_robin_name_alternates(self, cluster: Cluster) -> None:
        reached = [cluster.ssh("alice", "login", "hostname").stdout.strip() for _ in range(10)]
        assert Counter(reached) == {"login1": 5, "login2": 5}
        assert all(one != other for one, other in pairwise(reached))

    def test_the_laptop_reaches_login_nodes_only(self, cluster: Cluster) -> None:
        for node in NODES:
            if node.inside and not node.outside:
                done = cluster.laptop.run("ping", "-c1", "-W1", node.inside, check=False)
                assert done.returncode != 0

    def test_login_nodes_have_one_host_key_and_users_keys_work(self, cluster: Cluster) -> None:
        for host in ("login", "login1", "login2.cluster.test"):
            assert cluster.ssh("carol", host, "id", "-un").stdout == "carol\n"

    def test_an_unknown_user_is_refused(self, cluster: Cluster) -> None:
        done = cluster.ssh("alice", "bob@login1", "true", check=False)
        assert (done.returncode, "Permission denied" in done.stderr) == (255, True)

    def test_windows_come_to_the_laptop_from_login_and_compute_nodes(
        self, cluster: Cluster
    ) -> None:
        for before in ([], ["srun", "--x11"]):
            shown = cluster.laptop.run(
                *("env", "DISPLAY=:0", "ssh", "-X", "login1", *before, "xdpyinfo"), user="alice"
            ).stdout
            assert "vendor string:    The X.Org Foundation" in shown


class TestDaemons:
    def test_slurm_runs_on_both_compute_nodes(self, cluster: Cluster) -> None:
        ran = cluster.ssh("alice", "login", "srun", "-N2", "-l", "hostname").stdout
        assert sorted(ran.split()) == ["0:", "1:", "c1", "c2"]

    def test_a_node_is_login_and_compute_at_once(self, cluster: Cluster) -> None:
        ran = cluster.ssh("bob", "login1", "srun", "-pmixed", "cat", "/etc/hostname").stdout
        assert ran == "login2\n"

    def test_a_jobs_end_takes_all_of_its_processes(self, cluster: Cluster) -> None:
        script = "setsid sleep 1000 & echo started"
        cluster.ssh("alice", "login", f"srun -wc1 sh -c '{script}'")
        eventually(lambda: cluster["c1"].pids("sleep 1000"), lambda left: not left)

    def test_an_orphan_left_by_ssh_has_pid_1_as_its_parent(self, cluster: Cluster) -> None:
        cluster.ssh("alice", "login1", "nohup sleep 1000 >/dev/null 2>&1 </dev/null &")
        (pid,) = eventually(lambda: cluster["login1"].pids("sleep 1000", user="alice"), bool)
        parent = cluster["login1"].run("ps", "-o", "ppid=", "-p", str(pid)).stdout
        assert parent.strip() == "1"

    def test_the_project_is_installed_for_everybody(self, cluster: Cluster) -> None:
        for node in ("login1", "login2", "c1", "c2"):
            said = cluster[node].run("vscadmin", "--version", user="carol").stdout
            assert said.startswith("vscadmin, version ")
        assert cluster.ssh("carol", "login", "command -v vscadmin").stdout == (
            "/usr/local/bin/vscadmin\n"
        )

    def test_logs_are_collected(self, cluster: Cluster) -> None:
        cluster.ssh("alice", "login1", "logger", "-t", "lab", "a-line-of-alice")
        titles = dict(cluster.logs())
        assert "a-line-of-alice" in titles["login1:/var/log/syslog"]
        assert "Accepted publickey for alice" in titles["login1:/var/log/sshd.log"]
        assert "slurmd" in titles["c2:/var/log/slurmd.log"]

    def test_cron_runs_what_etc_cron_d_says(self, cluster: Cluster) -> None:
        for node in cluster.login_nodes:
            said = eventually(
                lambda node=node: node.run("cat", "/run/minute", check=False).stdout,  # type: ignore[misc]
                bool,
                seconds=70,
            )
            assert said == f"{node.name}\n"

    def test_what_a_test_leaves_is_gone_with_it(self, cluster: Cluster) -> None:
        cluster.ssh("alice", "login1", "nohup sleep 1000 >/dev/null 2>&1 </dev/null &")
        cluster.ssh("alice", "login1", "sbatch --wrap 'sleep 1000' && touch left /tmp/left")
        cluster.tidy()
        assert not cluster["login1"].pids("sleep 1000")
        assert cluster["login1"].run("ls", "/home/alice", "/tmp/").stdout.split() == [
            "/home/alice:",
            "/tmp/:",
        ]
        eventually(lambda: cluster["ctl"].run("squeue", "-h").stdout, lambda jobs: not jobs)


class TestUpAndDown:
    NAME = f"updown-{os.getpid()}"

    @pytest.fixture(autouse=True)
    def _gone_afterwards(self, running_lab: Cluster) -> Iterator[None]:
        yield
        lab.down(self.NAME)

    def test_nothing_outside_is_touched(self, cluster: Cluster) -> None:
        before = outside()
        assert command("up", self.NAME).returncode == 0
        assert outside() == before
        assert command("down", self.NAME).returncode == 0
        assert outside() == before

    def test_twice_up_is_one_lab_and_twice_down_is_none(self, cluster: Cluster) -> None:
        first, second = lab.up(self.NAME), lab.up(self.NAME)
        assert {n: node.pid for n, node in first.nodes.items()} == {
            n: node.pid for n, node in second.nodes.items()
        }
        assert lab.down(self.NAME)
        assert not lab.down(self.NAME)
        assert left_of(self.NAME) == (set(), False)

    def test_two_labs_stand_side_by_side(self, cluster: Cluster) -> None:
        other = lab.up(self.NAME)
        cluster["login1"].write("/home/alice/mine", "x", user="alice")
        assert other["login1"].run("ls", "/home/alice").stdout == ""
        assert other.ssh("alice", "login", "srun", "hostname").stdout == "c1\n"
        lab.down(self.NAME)
        assert cluster.ssh("alice", "login", "srun", "hostname").stdout == "c1\n"

    @pytest.mark.parametrize("seconds", [0.15, 0.3, 0.45, 0.6, 0.8, 1.1])
    def test_one_killed_half_way_is_cleaned_and_can_be_had_again(
        self, cluster: Cluster, seconds: float
    ) -> None:
        with subprocess.Popen([*LAB, "up", self.NAME], cwd=CHECKOUT) as bringing_up:
            with contextlib.suppress(subprocess.TimeoutExpired):
                bringing_up.wait(seconds)
            bringing_up.kill()
        assert command("down", self.NAME).returncode == 0
        assert left_of(self.NAME) == (set(), False)
        assert command("up", self.NAME).returncode == 0

    def test_a_lab_that_lost_a_node_is_made_anew(self, cluster: Cluster) -> None:
        lost = lab.up(self.NAME)["c1"].pid
        os.kill(lost, signal.SIGKILL)
        eventually(lambda: lab.find(self.NAME), lambda found: found is None)
        assert lab.up(self.NAME)["c1"].pid != lost

    def test_one_that_is_being_made_is_left_alone(self, cluster: Cluster) -> None:
        with lab._locked(self.NAME):
            done = command("down", self.NAME)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"lab: lab {self.NAME} is being brought up or taken down\n"

    def test_a_shell_is_a_users_on_a_node(self, cluster: Cluster) -> None:
        done = command(
            "shell", "bob@login2", cluster.name, "--run", "sh -c 'id -un; hostname; pwd'"
        )
        assert done.stdout.split() == ["bob", "login2", "/home/bob"]


def outside() -> dict[str, object]:
    """Return what a lab could change of this machine: mounts, devices, names in its folders."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    folders = ("/", "/etc", "/home", "/run", "/tmp", "/root", "/opt", "/var", "/var/log", "/dev")
    return {
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "links": [line.split(": ")[1] for line in links.splitlines()],
        "names": {folder: sorted(os.listdir(folder)) for folder in folders},
        "passwd": Path("/etc/passwd").read_bytes(),
        "hostname": os.uname().nodename,
        "processors": Path("/proc/self/cgroup").read_text(),
    }


def left_of(name: str) -> tuple[set[int], bool]:
    """Return the lab's processes, and whether any directory of it is left."""
    return cgroups.members(name), name in cgroups.labs() or (lab.STATE / name).exists()


class TestWhereItCannotBe:
    def test_not_root(self) -> None:
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "/usr/bin/python3", "-m", "tests.lab", "up"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "lab: the lab needs root: it makes namespaces and networks\n"

    def test_a_package_is_missing(self) -> None:
        hide = 'mount --bind /dev/null /usr/bin/tini && exec "$@"'
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", hide, "sh", *LAB, "up"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "lab: the lab needs packages: apt-get install tini\n"

    def test_a_bad_name(self) -> None:
        done = command("up", "../x")
        assert done.stderr == "lab: a lab's name is made of a-z, 0-9 and -, not '../x'\n"


def test_a_failed_test_shows_the_nodes_logs(tmp_path: Path, running_lab: Cluster) -> None:
    test = tmp_path / "test_fails.py"
    test.write_text(
        "from tests.lab.conftest import cluster, running_lab, pytest_runtest_makereport\n"
        "def test_fails(cluster):\n"
        "    cluster.ssh('alice', 'login1', 'logger', 'said-before-failing')\n"
        "    assert False\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.lab.conftest", str(test)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout
    assert "log of login1:/var/log/syslog" in done.stdout
    assert "said-before-failing" in done.stdout


def test_times(running_lab: Cluster) -> None:
    """The bars are ten and five seconds; printed, as the machine may be busy."""
    begun = time.monotonic()
    lab.up(name := f"timed-{os.getpid()}")
    made = time.monotonic()
    lab.down(name)
    now = time.monotonic()
    print(f"up in {made - begun:.1f} s, down in {now - made:.1f} s")
    assert left_of(name) == (set(), False)
