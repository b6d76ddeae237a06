"""The lab is what it says: real daemons, real networks, and nothing of it outside."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import boot, cgroups, faults, state
from tests.lab import cluster as lab
from tests.lab.cluster import Cluster
from tests.lab.errors import GoneError, LabError
from tests.lab.node import Node
from tests.lab.outside import outside
from tests.lab.topology import NODES
from tests.lab.traces import jobs
from tests.run import eventually

CHECKOUT = Path(__file__).resolve().parents[2]
LAB = (sys.executable, "-m", "tests.lab")
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)"


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

    def test_what_is_the_whole_machines_cannot_be_written(self, cluster: Cluster) -> None:
        for path in ("/proc/sys/vm/swappiness", "/sys/kernel/mm/ksm/run"):
            done = cluster["login1"].run("sh", "-c", f"echo 1 >{path}", check=False)
            assert "Read-only file system" in done.stderr

    def test_commands_and_daemons_are_in_the_nodes_cgroups(self, cluster: Cluster) -> None:
        """Else the end of the admin's session on the machine might end them."""
        listed = cluster["login1"].run("cat", "/proc/self/cgroup", "/proc/1/cgroup").stdout
        assert {line.split(":", 2)[2] for line in listed.splitlines()} == {"/"}
        first = Path(f"/proc/{cluster['login1'].pid}/cgroup").read_text().splitlines()
        of_node = f"/{cgroups.PREFIX}{cluster.name}/login1"
        mounted = {each.controllers for each in cgroups.hierarchies()}
        assert sum(line.endswith(of_node) for line in first) == len(mounted)

    def test_a_pid_that_another_process_has_now_is_not_entered(self, cluster: Cluster) -> None:
        reused = dataclasses.replace(cluster["c1"], pid=os.getpid())
        with pytest.raises(GoneError, match="c1 is gone"):
            reused.run("true")

    def test_users_may_make_pid_namespaces(self, cluster: Cluster) -> None:
        """A first process of a namespace in a node is not the node's."""
        inner = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
        with cluster["login1"].start(*inner, "sh", "-c", "echo; exec sleep 1000") as sleeping:
            assert sleeping.stdout is not None
            sleeping.stdout.readline()
            assert lab.find(cluster.name) == cluster
            sleeping.kill()

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
        """Not strictly so: on a busy machine a query that was late is asked again."""
        reached = [cluster.ssh("alice", "login", "hostname").stdout.strip() for _ in range(10)]
        assert sorted(Counter(reached)) == ["login1", "login2"]
        assert min(Counter(reached).values()) >= 3

    def test_the_laptop_reaches_login_nodes_only(self, cluster: Cluster) -> None:
        assert cluster.laptop.run("python3", "-c", CONNECT, "login1", "22").returncode == 0
        assert cluster["c1"].run("python3", "-c", CONNECT, "10.77.0.2", "6817").returncode == 0
        for node in NODES:
            if node.inside:
                argv = ("python3", "-c", CONNECT, node.inside, "22")
                done = cluster.laptop.run(*argv, check=False)
                assert "Network is unreachable" in done.stderr

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
        script = "setsid sleep 1000 & read -r _"
        argv = cluster.ssh_argv("alice", "login", f"srun -wc1 sh -c '{script}'")
        with subprocess.Popen(argv, stdin=subprocess.PIPE) as job:
            assert job.stdin is not None
            eventually(lambda: cluster["c1"].pids("sleep 1000", user="alice"), bool)
            job.stdin.close()
            assert job.wait(20) == 1
        eventually(lambda: cluster["c1"].pids("sleep 1000", user="alice"), lambda left: not left)

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
        titles = eventually(
            lambda: dict(cluster.logs()),
            lambda logs: "a-line-of-alice" in logs["login1:/var/log/syslog"],
        )
        assert "Accepted publickey for alice" in titles["login1:/var/log/sshd.log"]
        assert "slurmd" in titles["c2:/var/log/slurmd.log"]


class TestTidy:
    def test_what_a_test_leaves_is_gone_with_it(self, cluster: Cluster) -> None:
        cluster.ssh("alice", "login1", "nohup sleep 1000 >/dev/null 2>&1 </dev/null &")
        cluster.ssh("alice", "login1", "sbatch --wrap 'sleep 1000' && touch left /tmp/left")
        cluster.ssh("alice", "login1", "touch /var/tmp/left /dev/shm/left; echo @daily x | crontab")
        cluster.tidy()
        assert not cluster["login1"].pids("sleep 1000")
        listed = cluster["login1"].run(
            *("find", "/home/alice", "/tmp/", "/var/tmp", "/dev/shm", "/var/spool/cron"),
            *("-type", "f", "-not", "-path", "*/.ssh/*"),
        )
        assert listed.stdout == ""

    def test_a_job_that_has_just_begun_is_gone_with_it(self, cluster: Cluster) -> None:
        with faults.closed(cluster):
            cluster.ssh("alice", "login1", "sbatch -o /dev/null --wrap 'sleep 1000'")
        eventually(lambda: jobs(cluster, "alice"), lambda found: "RUNNING" in "".join(found))
        cluster.tidy()
        assert jobs(cluster, "alice") == []

    def test_keys_are_as_they_were(self, cluster: Cluster) -> None:
        break_keys = "cd .ssh; chmod 777 .; rm authorized_keys; ln -s /etc/passwd known_hosts"
        cluster.ssh("bob", "login1", break_keys)
        cluster.laptop.run("sh", "-c", "rm -r ~/.ssh", user="bob")
        cluster.tidy()
        assert cluster.ssh("bob", "login1", "ls -A .ssh").stdout == "authorized_keys\n"

    def test_links_are_removed_and_not_followed(self, cluster: Cluster) -> None:
        for target in ("/etc/lab", "/var/lib"):
            cluster.ssh("alice", "login1", f"ln -s {target} ~/link; ln -s {target} /tmp/link")
            kept = cluster["login1"].run("ls", target).stdout
            cluster.tidy()
            assert cluster["login1"].run("ls", target).stdout == kept
            assert cluster["login1"].run("ls", "-A", "/home/alice").stdout == ".ssh\n"


def nodes_begun(count: int) -> Callable[[str], bool]:
    return lambda name: len(list((state.STATE / name / "nodes").glob("*.log"))) >= count


def is_ready(name: str) -> bool:
    """Tell whether the last node runs its daemons, though nobody has said yet that all is up."""
    (spec,) = (spec for spec in NODES if spec.name == "laptop")
    found = Node.find(name, spec)
    return found is not None and Path(f"/proc/{found.pid}/comm").read_text() == "tini\n"


PHASES: dict[str, Callable[[str], bool]] = {
    "locked": lambda name: (state.STATE / name).exists(),
    "keys": lambda name: (state.STATE / name / "files").exists(),
    "one node": nodes_begun(1),
    "four nodes": nodes_begun(4),
    "all nodes": nodes_begun(8),
    "daemons": is_ready,
}


class TestUpAndDown:
    NAME = f"test-{os.getpid()}-updown"

    @pytest.fixture(autouse=True)
    def _gone_afterwards(self, running_lab: Cluster) -> Iterator[None]:
        yield
        lab.down(self.NAME)

    def test_nothing_outside_is_touched(self, cluster: Cluster) -> None:
        before = outside()
        lab.up(self.NAME)
        assert outside() == before
        lab.down(self.NAME)
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

    @pytest.mark.parametrize("phase", PHASES.values(), ids=PHASES)
    def test_one_killed_half_way_is_cleaned(
        self, cluster: Cluster, phase: Callable[[str], bool]
    ) -> None:
        self.kill_half_way(phase)
        lab.down(self.NAME)
        assert left_of(self.NAME) == (set(), False)

    def test_one_killed_half_way_can_be_had_again(self, cluster: Cluster) -> None:
        self.kill_half_way(nodes_begun(len(NODES)))
        assert lab.up(self.NAME).ssh("alice", "login", "srun", "hostname").stdout == "c1\n"

    def kill_half_way(self, phase: Callable[[str], bool]) -> None:
        with subprocess.Popen([*LAB, "up", self.NAME], cwd=CHECKOUT) as bringing_up:
            while not phase(self.NAME):
                assert bringing_up.poll() is None, "that phase was not seen"
                time.sleep(0.002)
            bringing_up.kill()

    def test_a_lab_that_lost_a_node_is_made_anew(self, cluster: Cluster) -> None:
        lost = lab.up(self.NAME)["c1"].pid
        os.kill(lost, signal.SIGKILL)
        eventually(lambda: lab.find(self.NAME), lambda found: found is None)
        assert lab.up(self.NAME)["c1"].pid != lost

    def test_one_that_does_not_start_says_why_and_leaves_nothing(
        self, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for script in (
            "echo no root >&2",
            'read -r pid _ </proc/self/stat; echo "$pid"; read -r _',
        ):
            (tmp_path / "init.sh").write_text(f"{script}; echo out of luck >&2; exit 1\n")
            monkeypatch.setattr(boot, "INIT", tmp_path / "init.sh")
            with pytest.raises(LabError, match=r"^dns .*out of luck; logs: /") as caught:
                lab.up(self.NAME)
            saved = Path(str(caught.value).rpartition(" ")[2])
            assert "out of luck" in saved.read_text()
            saved.unlink()
            assert left_of(self.NAME) == (set(), False)

    def test_a_system_folder_that_is_a_mount_is_shown(
        self, cluster: Cluster, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("x")
        mount = 'mount --bind "$1" /opt; shift; exec "$@"'
        argv = ["unshare", "--mount", "sh", "-c", mount, "sh", str(tmp_path), *LAB, "up", self.NAME]
        subprocess.run(argv, cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL, timeout=60)
        found = lab.find(self.NAME)
        assert found is not None
        assert found.laptop.read("/opt/file") == "x"
        found.laptop.write("/opt/file", "y")
        assert (tmp_path / "file").read_text() == "x"

    def test_labs_of_test_runs_that_are_gone_are_taken_away(self, cluster: Cluster) -> None:
        with subprocess.Popen(["true"]) as gone:
            pass
        with state.locked(name := f"test-{gone.pid}-x"), state.locked(f"test-{os.getpid()}-y"):
            pass
        lab.down_forgotten()
        assert name not in state.names()
        assert f"test-{os.getpid()}-y" in state.names()
        assert not lab.down(f"test-{os.getpid()}-y")


def left_of(name: str) -> tuple[set[int], bool]:
    """Return the lab's processes, and whether any directory of it is left."""
    return cgroups.members(name), name in state.names()


def test_a_failed_test_shows_the_nodes_logs(tmp_path: Path, running_lab: Cluster) -> None:
    test = tmp_path / "test_fails.py"
    test.write_text(
        "from tests.lab.conftest import cluster, running_lab, pytest_runtest_makereport\n"
        "from tests.run import eventually\n"
        "def test_fails(cluster):\n"
        "    cluster.ssh('alice', 'login1', 'logger', 'said-before-failing')\n"
        "    log = '/var/log/syslog'\n"
        "    eventually(lambda: cluster['login1'].read(log), lambda text: 'said-bef' in text)\n"
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
    """Twenty times less is usual; the machine may be busy."""
    begun = time.monotonic()
    lab.up(name := f"test-{os.getpid()}-timed")
    made = time.monotonic()
    lab.down(name)
    assert (made - begun < 30, time.monotonic() - made < 10) == (True, True)
    assert left_of(name) == (set(), False)


def test_cron_runs_what_etc_cron_d_says(cluster: Cluster) -> None:
    for node in cluster.login_nodes:
        said = eventually(
            lambda node=node: node.run("cat", "/run/minute", check=False).stdout,  # type: ignore[misc]
            bool,
            seconds=70,
        )
        assert said == f"{node.name}\n"
