"""`vscadmin sessions` over real ssh: of jobs on a real Slurm, and of status files on a node."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.cluster import Cluster
from tests.lab.session import Session
from tests.run import eventually

SESSION = "0123abcd"
# What a session does for its status file, told what to write and ended by the end of stdin.
WRITER = """
import json, os, sys
from vscadmin.proxy.status import StatusFile
file = StatusFile(None, sys.argv[1])
print(os.getpid(), file.write(json.loads(sys.argv[2])), flush=True)
sys.stdin.read()
file.remove()
"""


def listed(cluster: Cluster, user: str, host: str, *options: str, code: int = 0) -> list[Any]:
    """Return the sessions that *user* is shown on *host*."""
    done = cluster.ssh(user, host, "vscadmin", "sessions", "--json", *options, check=False)
    assert done.returncode == code, done.stderr
    found: list[Any] = json.loads(done.stdout)["sessions"]
    return found


@contextmanager
def writing(cluster: Cluster, user: str, session: str, **fields: int | str) -> Iterator[int]:
    """Keep a status file on login1 as a session does, and yield the pid that keeps it."""
    python = ("/opt/vscadmin/bin/python3", "-I", "-c", WRITER, session, json.dumps(fields))
    with cluster["login1"].start(*python, user=user) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        pid, has_written = process.stdout.readline().split()
        assert has_written == b"True"
        yield int(pid)
        process.stdin.close()


@pytest.fixture
def job(cluster: Cluster) -> int:
    """Submit a job of alice's that is marked as a session's on login1."""
    comment = f"--comment=vscode-shell-proxy {SESSION} login1:4711"
    sbatch = ("sbatch", "--parsable", "--output=/dev/null", "--time=90", comment)
    number = int(cluster["login1"].run(*sbatch, "--wrap=sleep 1000", user="alice").stdout)
    eventually(
        lambda: listed(cluster, "alice", "login2"),
        lambda found: [each["state"] for each in found] == ["RUNNING"],
    )
    return number


def test_a_session_has_its_job_on_every_login_node_and_its_bytes_on_its_own(
    cluster: Cluster, job: int
) -> None:
    moved = {"bytes": 3 << 20, "connections": 3}
    with writing(cluster, "alice", SESSION, started=1_000_000, job=job, **moved) as pid:
        (here,) = listed(cluster, "alice", "login1")
        (there,) = listed(cluster, "alice", "login2")
        shown = cluster.ssh("alice", "login1", "vscadmin", "sessions").stdout
    same = ("session", "user", "login_node", "job", "state", "node", "partition", "job_ends")
    assert {key: here[key] for key in same} == {key: there[key] for key in same}
    assert (here["session"], here["job"], here["login_node"]) == (SESSION, job, "login1")
    assert (here["pid"], here["bytes"], here["connections"]) == (pid, 3 << 20, 3)
    assert 5300 < here["time_left_seconds"] <= 5400
    assert (there["bytes"], there["idle_seconds"]) == (None, None)
    assert all(word in shown.split() for word in ("alice", SESSION, str(job), here["node"], "3M"))
    assert re.search("1 h (30|29) min", shown)


def test_a_real_session_is_there_as_long_as_it_lives(cluster: Cluster) -> None:
    """With what it carried, which is nothing but for its listener's clients."""
    with Session(cluster, "alice") as session:
        place = session.place()
        (here,) = eventually(
            lambda: listed(cluster, "alice", "login1"),
            lambda found: len(found) == 1 and found[0]["node"] == place.node,
        )
        (there,) = listed(cluster, "root", "login2")
        waited = cluster["login1"].pids("vscode-shell-proxy", str(here["session"]), user="alice")
    assert (here["job"], here["login_node"], here["state"]) == (place.job, "login1", "RUNNING")
    assert (here["connections"], here["bytes"]) == (0, 0)
    assert {each: there[each] for each in ("session", "job", "node", "pid", "login_node")} == {
        each: here[each] for each in ("session", "job", "node", "pid", "login_node")
    }
    assert waited, "salloc bears the session's mark"
    eventually(lambda: listed(cluster, "root", "login1"), lambda found: not found)
    left = cluster["login1"].run("find", "/tmp", "-name", "vscode-shell-proxy*").stdout
    assert left == ""


def test_users_see_their_own_and_root_sees_all(cluster: Cluster, job: int) -> None:
    with writing(cluster, "bob", "ffffffff", started=1_000_000):
        assert [each["job"] for each in listed(cluster, "alice", "login1")] == [job]
        assert [each["session"] for each in listed(cluster, "bob", "login1")] == ["ffffffff"]
        everybody = listed(cluster, "root", "login1")
        assert [(each["user"], each["job"]) for each in everybody] == [
            ("alice", job),
            ("bob", None),
        ]
        (bobs,) = listed(cluster, "root", "login1", "--user", "bob")
        assert (bobs["user"], bobs["session"]) == ("bob", "ffffffff")
        seen_by_bob = listed(cluster, "bob", "login1", "--all")
        assert [(each["job"], each["bytes"]) for each in seen_by_bob] == [(job, None), (None, 0)]


def test_a_session_whose_process_was_killed_is_gone(cluster: Cluster) -> None:
    with writing(cluster, "alice", SESSION, started=1_000_000) as pid:
        assert [each["pid"] for each in listed(cluster, "alice", "login1")] == [pid]
        cluster["login1"].run("kill", "-KILL", str(pid))
        eventually(lambda: listed(cluster, "alice", "login1"), lambda found: not found)


def test_what_users_make_up_is_theirs_alone(cluster: Cluster, job: int) -> None:
    """Bob claims alice's session and job, by a comment and by a status file of his own."""
    claims: dict[str, int | str] = {
        "started": 1_000_000,
        "job": job,
        "node": "c1",
        "bytes": 1 << 62,
    }
    comment = f"--comment=vscode-shell-proxy {SESSION} login1:1"
    sbatch = ("sbatch", "--parsable", "--hold", "--wrap=true", comment)
    his = int(cluster["login1"].run(*sbatch, user="bob").stdout)
    with writing(cluster, "bob", SESSION, **claims):
        found = listed(cluster, "root", "login1")
    assert [(each["user"], each["job"], each["bytes"]) for each in found] == [
        ("alice", job, None),
        ("bob", his, 1 << 62),
    ]


def test_a_directory_that_somebody_made_first_is_neither_written_nor_read(
    cluster: Cluster,
) -> None:
    place = "/tmp/vscode-shell-proxy-20001"
    cluster["login1"].run("mkdir", "--mode=777", place, user="bob")
    code = (*("/opt/vscadmin/bin/python3", "-I", "-c", WRITER), SESSION, '{"started": 1}')
    done = cluster["login1"].run(*code, user="alice")
    assert done.stdout.split()[1] == "False"
    assert cluster["login1"].run("ls", "-A", place).stdout == ""
    assert listed(cluster, "root", "login1") == []


def test_without_squeue_this_nodes_are_shown_and_it_is_said(cluster: Cluster) -> None:
    login = cluster["login1"]
    login.run("mv", "/usr/bin/squeue", "/usr/bin/squeue.away")
    try:
        with writing(cluster, "alice", SESSION, started=1_000_000, job=7, node="c1"):
            done = cluster.ssh("alice", "login1", "vscadmin", "sessions", check=False)
    finally:
        login.run("mv", "/usr/bin/squeue.away", "/usr/bin/squeue")
    assert (done.returncode, SESSION in done.stdout) == (10, True)
    assert done.stderr == (
        "vscadmin: squeue: No such file or directory: only sessions of this node are shown\n"
    )
