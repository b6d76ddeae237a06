"""The tools that break the cluster break just what they say, and it is whole again afterwards."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab import cluster as lab
from tests.lab import faults
from tests.lab.cluster import Cluster
from tests.lab.errors import GoneError
from tests.lab.node import Node
from tests.lab.traces import nothing_left, traces
from tests.run import eventually

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1).close()"
LISTEN = ("socat", "-u", "TCP-LISTEN:4000", "-")
RETRY = "retry=50,interval=0.1"


@contextmanager
def started(node: Node, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run *command* on *node* until the block ends."""
    with node.start(*command) as process:
        try:
            yield process
        finally:
            process.kill()


def reaches(cluster: Cluster, source: str, target: str) -> bool:
    """Tell whether *source* reaches slurmd or, on the controller, slurmctld of *target*."""
    port = "6817" if target == "ctl" else "6818"
    argv = ("python3", "-c", CONNECT, cluster[target].inside, port)
    return cluster[source].run(*argv, check=False).returncode == 0


def test_a_cut_link_is_cut_both_ways_and_only_that(cluster: Cluster) -> None:
    with faults.link_cut(cluster["login2"], cluster["c1"]):
        assert not reaches(cluster, "login2", "c1")
        assert not reaches(cluster, "c1", "login2")
        for source, target in (
            ("login2", "c2"),
            ("login2", "ctl"),
            ("c1", "ctl"),
            ("login1", "c1"),
        ):
            assert reaches(cluster, source, target), (source, target)
    assert reaches(cluster, "login2", "c1")
    assert reaches(cluster, "c1", "login2")


def test_a_cut_link_says_nothing_to_who_uses_it(cluster: Cluster) -> None:
    """No error, no end of file: what was connected waits, and goes on when the link is back."""
    sending = ("socat", "-u", "-", f"TCP:c1:4000,{RETRY}")
    with started(cluster["c1"], *LISTEN) as server, started(cluster["login1"], *sending) as client:
        assert client.stdin is not None
        client.stdin.write(b"before\n")
        client.stdin.flush()
        assert server.stdout is not None
        assert server.stdout.readline() == b"before\n"
        with faults.link_cut(cluster["login1"], cluster["c1"]):
            client.stdin.write(b"after\n")
            client.stdin.flush()
            time.sleep(0.5)
            assert (client.poll(), server.poll()) == (None, None)
        assert server.stdout.readline() == b"after\n"
        client.stdin.close()
        assert (client.wait(10), server.wait(10)) == (0, 0)


def test_a_closed_partition_keeps_jobs_waiting_until_it_opens(cluster: Cluster) -> None:
    with faults.closed(cluster):
        cluster.ssh("alice", "login1", "sbatch -o /dev/null --wrap 'sleep 1000'")
        (line,) = eventually(lambda: traces(cluster, "alice"), lambda found: len(found) == 1)
        assert " PENDING" in line
    eventually(lambda: traces(cluster, "alice")[0], lambda line: " RUNNING c1" in line)


def test_all_of_a_user_ends_at_once_and_nothing_of_others(cluster: Cluster) -> None:
    for user in ("alice", "bob"):
        for _ in range(3):
            cluster.ssh(user, "login1", "nohup setsid sleep 1000 >/dev/null 2>&1 </dev/null &")
    # What sshd has for a connection may end a little after it.
    eventually(lambda: [len(traces(cluster, user)) for user in ("alice", "bob")], [3, 3].__eq__)
    faults.kill_all_of("alice", cluster["login1"])
    nothing_left(cluster, "alice", 2)
    assert len(traces(cluster, "bob")) == 3


def test_traces_are_jobs_processes_listeners_and_files(cluster: Cluster) -> None:
    cluster.ssh("carol", "login1", "touch /tmp/x; mkdir $XDG_RUNTIME_DIR/y")
    cluster.ssh("carol", "login2", "nohup socat TCP-LISTEN:4001 - >/dev/null 2>&1 </dev/null &")
    eventually(lambda: "listener" in "".join(traces(cluster, "carol")), bool)
    cluster.ssh("carol", "login1", "sbatch -p brief -o /dev/null --wrap 'sleep 1000'")
    kinds = {line.split()[0 if line.startswith("job") else 1] for line in traces(cluster, "carol")}
    assert kinds == {"job", "process", "listener", "/tmp/x", "/run/user/20003/y"}
    with pytest.raises(AssertionError, match=r"left after 0\.1 s"):
        nothing_left(cluster, "carol", 0.1)
    cluster.tidy()
    nothing_left(cluster, "carol", 5)


def test_a_task_prolog_speaks_before_the_task(cluster: Cluster) -> None:
    with faults.task_prolog(cluster["c1"], "echo print from the site"):
        said = cluster.ssh("alice", "login1", "srun -w c1 echo task").stdout
        assert said == "from the site\ntask\n"
    assert cluster.ssh("alice", "login1", "srun -w c1 echo task").stdout == "task\n"


def test_a_node_without_power_says_no_goodbye() -> None:
    """Who is connected to it hears nothing; the lab is this test's own."""
    sending = f"(echo hello; exec sleep 1000) | socat -u - TCP:login1:4000,{RETRY}"
    try:
        cluster = lab.up(name := f"test-{os.getpid()}-power")
        with (
            started(cluster["login1"], *LISTEN) as server,
            started(cluster["c2"], "sh", "-c", sending),
        ):
            assert server.stdout is not None
            assert server.stdout.readline() == b"hello\n"
            faults.power_off(cluster["c2"])
            with pytest.raises(GoneError, match="c2 is gone"):
                cluster["c2"].run("true")
            time.sleep(0.5)
            assert server.poll() is None
    finally:
        lab.down(name)
