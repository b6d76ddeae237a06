"""Whatever ends a session ends all of it, and in time: no job, process or listener is left."""

from __future__ import annotations

import signal
from dataclasses import dataclass

import pytest

from tests.lab import faults
from tests.lab.cluster import Cluster
from tests.lab.session import Session
from tests.lab.traces import jobs, nothing_left, processes
from tests.run import eventually

NO_BACKEND = 69
OF_SSH = 255  # what ssh says when it does not hear how the remote command ended
KILLED_SECONDS = 10.0
SIGNALLED_SECONDS = 5.0
HEARD_SECONDS = 40.0  # of slurmctld's being back: Slurm is told again every 16 s
GIVEN_UP_SECONDS = 30.0  # the lab's sshd takes about 10: ClientAlive 2 x 3 s, tcp_retries2

PROXY = ("-f", "vscadmin.cli.shell_proxy")
SALLOC = ("-x", "salloc")


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL what pgrep finds by *what*, on the login node or, with *in_job*, in the job.

    No *what* is the ssh client itself. *status* is the client's then; -9 is our own doing.
    """

    name: str
    what: tuple[str, ...]
    status: int = NO_BACKEND
    in_job: bool = False

    def __call__(self, session: Session, node: str = "") -> None:
        if self.what == EVERYTHING:
            faults.kill_all_of(session.user, session.login_node)
        elif self.what:
            place = session.cluster[node] if self.in_job else session.login_node
            faults.kill(place, *processes(place, session.user, *self.what))
        else:
            session.kill()


EVERYTHING = ("everything",)
ANYTIME = (
    Kill("the ssh client", (), -signal.SIGKILL),
    Kill("its sshd", ("-f", "^sshd: "), OF_SSH),
    Kill("the proxy", PROXY, OF_SSH),
    Kill("salloc", SALLOC),
)
ONCE_IT_RUNS = (
    Kill("both sruns", ("-x", "srun")),
    Kill("the agent", ("-f", "python3 -I -S"), in_job=True),
    Kill("everything of the user on the login node", EVERYTHING, OF_SSH),
)


def by_name(kill: Kill) -> str:
    return kill.name


def await_pending(session: Session) -> None:
    """Wait until the session's job is in the queue, and the proxy knows it."""
    session.said("job [0-9]+ ")
    (job,) = jobs(session.cluster, session.user)
    assert " PENDING" in job


class TestSigkill:
    @pytest.mark.parametrize("kill", ANYTIME + ONCE_IT_RUNS, ids=by_name)
    def test_of_a_running_session(self, cluster: Cluster, kill: Kill) -> None:
        with Session(cluster, "alice") as session:
            place = session.place()
            session.send("setsid sleep 1000 &\n")
            eventually(lambda: processes(cluster[place.node], "alice", "-x", "sleep"), bool)
            kill(session, place.node)
            nothing_left(cluster, "alice", KILLED_SECONDS, files="")
            assert session.wait() == kill.status
            assert kill.status != NO_BACKEND or session.said("^vscode-shell-proxy: ", 0)

    @pytest.mark.parametrize("kill", ANYTIME, ids=by_name)
    def test_of_one_that_waits_in_the_queue(self, cluster: Cluster, kill: Kill) -> None:
        with faults.closed(cluster), Session(cluster, "alice") as session:
            await_pending(session)
            kill(session)
            nothing_left(cluster, "alice", KILLED_SECONDS, files="")
            assert session.wait() == kill.status

    def test_of_everything_while_it_waits(self, cluster: Cluster) -> None:
        """Nobody is left to take the job from the queue: it ends as soon as it starts."""
        with faults.closed(cluster), Session(cluster, "alice") as session:
            await_pending(session)
            faults.kill_all_of("alice", session.login_node)
            assert session.wait() == OF_SSH
        eventually(lambda: jobs(cluster, "alice"), lambda left: " PENDING" not in str(left))
        nothing_left(cluster, "alice", 60, files="")

    def test_of_the_shell_is_its_own_status(self, cluster: Cluster) -> None:
        with Session(cluster, "alice") as session:
            place = session.place()
            faults.kill(cluster[place.node], place.pid)
            assert session.wait() == 128 + signal.SIGKILL
        nothing_left(cluster, "alice", SIGNALLED_SECONDS)


class TestSignals:
    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_the_first_one_ends_a_running_session(
        self, cluster: Cluster, signum: signal.Signals
    ) -> None:
        with Session(cluster, "alice") as session:
            session.place()
            self.signal(session, signum)
            nothing_left(cluster, "alice", SIGNALLED_SECONDS)
            assert session.wait() == 128 + signum

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_the_first_one_ends_a_waiting_session(
        self, cluster: Cluster, signum: signal.Signals
    ) -> None:
        with faults.closed(cluster), Session(cluster, "alice") as session:
            await_pending(session)
            self.signal(session, signum)
            nothing_left(cluster, "alice", SIGNALLED_SECONDS)
            assert session.wait() == 128 + signum

    def signal(self, session: Session, signum: signal.Signals) -> None:
        faults.kill(
            session.login_node, *processes(session.login_node, "alice", *PROXY), signum=signum
        )


class TestEnds:
    def test_a_closed_client_ends_its_job(self, cluster: Cluster) -> None:
        with Session(cluster, "alice") as session:
            session.place()
        nothing_left(cluster, "alice", SIGNALLED_SECONDS)

    def test_a_closed_client_takes_its_job_from_the_queue(self, cluster: Cluster) -> None:
        with faults.closed(cluster):
            with Session(cluster, "alice") as session:
                await_pending(session)
            nothing_left(cluster, "alice", SIGNALLED_SECONDS)

    def test_a_laptop_without_network_is_given_up_by_sshd_and_its_job_ends(
        self, cluster: Cluster
    ) -> None:
        with Session(cluster, "alice") as session:
            session.place()
            with faults.link_cut(cluster.laptop, session.login_node, "outside"):
                nothing_left(cluster, "alice", GIVEN_UP_SECONDS)

    def test_scancel_while_it_waits_is_said(self, cluster: Cluster) -> None:
        with faults.closed(cluster), Session(cluster, "alice") as session:
            await_pending(session)
            cluster["ctl"].run("scancel", "--user=alice")
            assert session.wait() == NO_BACKEND
            assert session.said("vscode-shell-proxy: .*cancel", 0)
        nothing_left(cluster, "alice", SIGNALLED_SECONDS)

    def test_a_controller_that_is_away_hears_of_the_end_later(self, cluster: Cluster) -> None:
        with Session(cluster, "alice") as closed, Session(cluster, "bob") as left:
            closed.place()
            left.place()
            with faults.controller_away(cluster):
                closed.kill()
                left.send("exit 7\n")
                assert left.wait(15) == 7
                assert left.said("Slurm does not answer: job [0-9]+ ends as soon as it does", 0)
            for user in ("alice", "bob"):
                nothing_left(cluster, user, HEARD_SECONDS)
