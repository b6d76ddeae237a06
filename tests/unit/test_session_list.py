"""Which sessions there are, from what Slurm knows and what sessions say of themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.jobs import job
from vscadmin.cli.session_list import Session, sessions
from vscadmin.proxy.statuses import Status
from vscadmin.slurm.job import Job

NOW = 1_795_280_000
JOB = job(submit=NOW - 700, start=NOW - 600, end=NOW + 6600)
STATUS = Status(
    uid=20001,
    session="0123abcd",
    pid=77,
    start_ticks=5,
    started=NOW - 700,
    job=12,
    node="c1",
    last_byte=NOW - 30,
)


def one(jobs: list[Job], statuses: list[Status]) -> Session:
    (found,) = sessions(jobs, statuses, "login1")
    return found


def test_a_session_is_its_job_and_its_status_file() -> None:
    found = one([JOB], [STATUS])
    assert (found.job, found.status, found.pid) == (JOB, STATUS, 77)
    assert (found.job_id, found.node, found.state, found.idle(NOW)) == (12, "c1", "RUNNING", 30)


def test_one_of_another_login_node_has_no_bytes() -> None:
    found = one([replace(JOB, comment="vscode-shell-proxy 0123abcd login2:9")], [])
    assert (found.session, found.login_node, found.pid) == ("0123abcd", "login2", 9)
    assert (found.status, found.idle(NOW)) == (None, None)


def test_one_without_a_job_is_known_by_its_status_file() -> None:
    found = one([], [replace(STATUS, job=0, node="")])
    assert (found.job_id, found.node, found.state) == (None, None, "RUNNING")
    assert found.login_node == "login1"


def test_a_job_that_slurm_did_not_tell_of_keeps_its_number() -> None:
    found = one([], [STATUS])
    assert (found.job, found.job_id, found.node) == (None, 12, "c1")


def test_a_session_in_a_job_of_another_name_is_found_by_its_number() -> None:
    job = replace(JOB, comment="", name="simulation")
    assert one([job, replace(job, id=13)], [STATUS]).job == job


def test_a_job_whose_comment_the_site_uses_is_found_by_its_name() -> None:
    found = one([replace(JOB, comment="project=physics")], [])
    assert (found.session, found.login_node, found.job_id) == (None, None, 12)


def test_other_jobs_are_no_sessions() -> None:
    assert sessions([replace(JOB, name="simulation", comment="")], [], "login1") == []


def test_a_job_that_is_being_ended_has_no_session_any_more() -> None:
    ends = replace(JOB, state="COMPLETING")
    assert sessions([ends], [], "login1") == []
    assert one([ends], [STATUS]).state == "COMPLETING"


def test_two_sessions_may_be_in_one_job() -> None:
    both = [STATUS, replace(STATUS, session="ffffffff", pid=99)]
    found = sessions([JOB], both, "login1")
    assert [(each.session, each.job_id) for each in found] == [("0123abcd", 12), ("ffffffff", 12)]


def test_what_another_user_claims_is_not_joined() -> None:
    """Neither a comment nor a status file names a session or a job of somebody else."""
    liar = replace(STATUS, uid=20002, pid=99)
    found = sessions([JOB], [liar], "login1")
    assert [(each.uid, each.job, each.status) for each in found] == [
        (20001, JOB, None),
        (20002, None, liar),
    ]


@pytest.mark.parametrize(
    "comment",
    [
        "vscode-shell-proxy 0123ABCD login1:77",
        "vscode-shell-proxy 0123abcd login1:0",
        "vscode-shell-proxy 0123abcd login1:77\n",
        "vscode-shell-proxy 0123abcd \x1b[2J:77",
        "vscode-shell-proxy 0123abcd login1:99999999999",
        " vscode-shell-proxy 0123abcd login1:77",
    ],
)
def test_a_comment_that_no_session_writes_is_not_believed(comment: str) -> None:
    assert sessions([replace(JOB, name="x", comment=comment)], [], "login1") == []


def test_a_session_that_never_moved_a_byte_is_idle_since_its_start() -> None:
    assert one([JOB], [replace(STATUS, last_byte=0)]).idle(NOW) == 700
    assert one([JOB], [replace(STATUS, last_byte=NOW + 5)]).idle(NOW) == 0
