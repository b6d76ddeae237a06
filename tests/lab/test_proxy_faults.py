"""What takes a minute to be noticed, side by side in a lab of its own: limits, cuts, deaths."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.lab import cluster as lab
from tests.lab import faults
from tests.lab.cluster import Cluster
from tests.lab.session import Place, Session
from tests.lab.traces import jobs, processes
from tests.run import eventually

NO_BACKEND = 69
SHELL_SECONDS = 30.0  # until agent and shell are gone when the login node is out of reach
JOB_SECONDS = 60.0  # until the job is
LIMIT_SECONDS = 110.0  # a limit of 60 s that is looked at every 30 s, and KillWait
NOTICED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Story:
    """How one session ended: seconds until it had no process in the job, and no job.

    *status* and *stderr* are what the client saw.
    """

    shell_gone: float
    job_gone: float
    status: int
    stderr: str


def time_limit(cluster: Cluster) -> Story:
    """Give a job one minute; times are those since its end."""
    with Session(cluster, "alice", "login1", *on("c1", "brief")) as session:
        place = session.place()
        status = session.wait(LIMIT_SECONDS)
        return Story(*watch(session, place, time.monotonic()), status, session.stderr)


def cut_link(cluster: Cluster) -> Story:
    """Cut login and compute node from each other, and neither from the controller."""
    with Session(cluster, "bob", "login1", *on("c2")) as session:
        place = session.place()
        with faults.link_cut(session.login_node, cluster["c2"]):
            gone = watch(session, place, time.monotonic())
            return Story(*gone, session.wait(NOTICED_SECONDS), session.stderr)


def dead_node(cluster: Cluster) -> tuple[Story, Story]:
    """Let a node die that is one session's compute node and another's login node."""
    with (
        Session(cluster, "carol", "login1", *on("login2", "mixed")) as carols,
        Session(cluster, "dave", "login2", *on("c1")) as daves,
    ):
        carols.place()
        place = daves.place()
        died = time.monotonic()
        faults.power_off(cluster["login2"])
        gone = watch(daves, place, died)
        lost_login_node = Story(*gone, 0, daves.stderr)
        status = carols.wait(NOTICED_SECONDS)
        ended = time.monotonic() - died
        job_gone = seconds_until(lambda: is_running(cluster, "carol"), died)
        return Story(ended, job_gone, status, carols.stderr), lost_login_node


def on(node: str, partition: str = "devel") -> tuple[str, ...]:
    return "-S", f"--partition={partition}", "-S", f"--nodelist={node}"


def watch(session: Session, place: Place, since: float) -> tuple[float, float]:
    """Return the seconds from *since* until there is no process in the job, and no job."""
    cluster, user = session.cluster, session.user
    shell = seconds_until(lambda: bool(processes(cluster[place.node], user)), since)
    return shell, seconds_until(lambda: bool(jobs(cluster, user)), since)


def is_running(cluster: Cluster, user: str) -> bool:
    """Tell whether a job runs; that of a dead node is completing until Slurm gives the node up."""
    return any(" RUNNING" in job for job in jobs(cluster, user))


def seconds_until(look: Callable[[], bool], since: float) -> float:
    eventually(look, lambda there: not there, 2 * JOB_SECONDS)
    return time.monotonic() - since


@pytest.fixture(scope="module")
def stories(running_lab: Cluster) -> Iterator[dict[str, Story]]:
    """Tell them all; whether a lab can be had is known by the run's own."""
    try:
        cluster = lab.up(name := f"test-{os.getpid()}-faults")
        with ThreadPoolExecutor() as pool:
            limit, cut, dead = (
                pool.submit(time_limit, cluster),
                pool.submit(cut_link, cluster),
                pool.submit(dead_node, cluster),
            )
            compute, login = dead.result()
            told = {"limit": limit.result(), "cut": cut.result()}
        yield {**told, "compute node": compute, "login node": login}
    finally:
        lab.down(name)


def test_the_time_limit_ends_the_session_and_is_said(stories: dict[str, Story]) -> None:
    story = stories["limit"]
    assert story.status == NO_BACKEND
    assert "its time was over" in story.stderr
    assert story.shell_gone < 10
    assert story.job_gone < 10


def test_a_cut_link_ends_agent_and_shell_and_then_the_job(stories: dict[str, Story]) -> None:
    story = stories["cut"]
    assert story.shell_gone < SHELL_SECONDS
    assert story.job_gone < JOB_SECONDS
    assert story.status == NO_BACKEND
    assert "connection to the job was lost" in story.stderr


def test_a_dead_login_node_ends_agent_shell_and_job(stories: dict[str, Story]) -> None:
    story = stories["login node"]
    assert story.shell_gone < SHELL_SECONDS
    assert story.job_gone < JOB_SECONDS


def test_a_dead_compute_node_ends_the_session_and_is_said(stories: dict[str, Story]) -> None:
    story = stories["compute node"]
    assert story.shell_gone < NOTICED_SECONDS
    assert story.job_gone < JOB_SECONDS
    assert story.status == NO_BACKEND
    assert "connection to the job was lost" in story.stderr
