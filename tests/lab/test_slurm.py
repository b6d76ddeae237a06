"""What is asked of a real Slurm, and what its answers tell a user: salloc, squeue, slurmctld."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.cluster import Cluster
from tests.lab.faults import kill
from tests.run import eventually
from vscadmin.slurm.chatter import Chatter
from vscadmin.slurm.progress import Progress, about, ended

WHOLE = ("--nodes=2", "--exclusive", "--partition=devel")
PYTHON = "/opt/vscadmin/bin/python3"
LIST = (
    "import json, dataclasses; from vscadmin.slurm.squeue import Squeue;"
    "print(json.dumps([dataclasses.asdict(job) for job in Squeue().jobs()]))"
)


class Waiter:
    """A user who waits for a job: asks as a session does, only without the pauses."""

    def __init__(self, cluster: Cluster, user: str, job: int) -> None:
        self._node = cluster["login1"]
        self._user = user
        self._job = job
        self._progress = Progress()
        self.said: list[str] = []
        self.patience = 10.0  # s

    def ask(self) -> str:
        """Ask Slurm once; return what is said of it."""
        question = self._progress.question(self._job)
        try:
            asked = self._node.run(*question, user=self._user, check=False, timeout=self.patience)
            output, status = asked.stdout.encode(), asked.returncode
        except subprocess.TimeoutExpired:
            output, status = b"", 137
        answer = self._progress.answer(output, status, time.time())
        self.said += answer.lines
        return " ".join(answer.lines)

    def hears(self, words: str) -> str:
        """Ask until something with these words is said."""
        return eventually(self.ask, lambda line: words in line)

    def why(self, *, revoked: bool = False) -> str:
        """Ask how the job ended."""
        done = self._node.run(*about(self._job), user=self._user, check=False)
        return ended(done.stdout.encode(), revoked=revoked)


def submitted(cluster: Cluster, user: str, *arguments: str, script: str = "sleep 1000") -> int:
    """Submit a batch job, and return its number."""
    wrap = ("sbatch", "--parsable", "--output=/dev/null", *arguments, f"--wrap={script}")
    return int(cluster["login1"].run(*wrap, user=user).stdout)


@contextmanager
def salloc(cluster: Cluster, user: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = ("salloc", *arguments, "srun", "--interactive", "sh", "-c", "echo hello; cat")
    pipes = {"stderr": subprocess.PIPE}
    with cluster["login1"].start(*command, user=user, **pipes) as process:
        yield process
        process.kill()


def scontrol(cluster: Cluster, *words: str) -> None:
    cluster["ctl"].run("scontrol", *words)


class TestWaiting:
    def test_a_user_hears_why_in_which_place_and_where_it_runs(self, cluster: Cluster) -> None:
        blocker = submitted(cluster, "bob", *WHOLE)
        Waiter(cluster, "bob", blocker).hears("runs on c[1-2]")
        ahead = submitted(cluster, "bob", *WHOLE)
        alice = Waiter(cluster, "alice", submitted(cluster, "alice", "--time=60", *WHOLE))
        assert "submitted, queued: " in alice.ask()
        alice.hears("position 2 of 2 in devel")
        cluster["ctl"].run("scancel", str(ahead), str(blocker))
        assert alice.hears("runs on c[1-2]").endswith("(1 h)")

    def test_a_job_that_can_never_start_says_so(self, cluster: Cluster) -> None:
        job = submitted(cluster, "alice", "--time=3-0", "--hold")
        alice = Waiter(cluster, "alice", job)
        alice.hears("held by you")
        cluster["login1"].run("scontrol", "release", str(job), user="alice")
        assert "it will never start: end this session" in alice.hears("(PartitionTimeLimit)")

    def test_a_start_time_is_an_estimate(self, cluster: Cluster) -> None:
        job = submitted(cluster, "alice", "--begin=now+3600")
        said = Waiter(cluster, "alice", job).hears("(BeginTime)")
        assert said.endswith(("in 1 h", "in 59 min"))


class TestRunning:
    def test_a_limit_that_an_admin_changes_is_told(self, cluster: Cluster) -> None:
        job = submitted(cluster, "alice", "--time=60")
        alice = Waiter(cluster, "alice", job)
        alice.hears("runs on c")
        scontrol(cluster, "update", f"jobid={job}", "timelimit=180")
        assert "in 3 h: its time limit was changed" in alice.ask()
        scontrol(cluster, "update", f"jobid={job}", "timelimit=9")
        assert "in 9 min: its time limit was changed" in alice.ask()
        scontrol(cluster, "update", f"jobid={job}", "timelimit=UNLIMITED")
        assert "has no time limit any more" in alice.ask()
        assert alice.ask() == ""

    def test_a_suspended_job_says_so_and_goes_on(self, cluster: Cluster) -> None:
        job = submitted(cluster, "alice", "--time=60")
        alice = Waiter(cluster, "alice", job)
        alice.hears("runs on c")
        scontrol(cluster, "suspend", str(job))
        alice.hears("is suspended by Slurm")
        scontrol(cluster, "resume", str(job))
        alice.hears("runs on c")


class TestTheEnd:
    def test_a_job_that_was_cancelled(self, cluster: Cluster) -> None:
        waits = submitted(cluster, "alice", "--hold")
        runs = submitted(cluster, "alice")
        Waiter(cluster, "alice", runs).hears("runs on c")
        cluster["ctl"].run("scancel", str(waits), str(runs))
        for job in (waits, runs):
            alice = Waiter(cluster, "alice", job)
            assert eventually(alice.why, bool) == f"job {job} was cancelled"

    def test_a_job_that_ends_or_fails_by_itself(self, cluster: Cluster) -> None:
        ends = submitted(cluster, "alice", script="true")
        fails = submitted(cluster, "alice", script="false")
        assert eventually(Waiter(cluster, "alice", ends).why, bool) == f"job {ends} has ended"
        assert eventually(Waiter(cluster, "alice", fails).why, bool) == f"job {fails} failed"

    def test_a_job_whose_node_failed(self, cluster: Cluster) -> None:
        job = submitted(cluster, "alice", "--no-requeue", "--nodelist=c2")
        alice = Waiter(cluster, "alice", job)
        alice.hears("runs on c2")
        scontrol(cluster, "update", "nodename=c2", "state=down", "reason=test")
        try:
            assert eventually(alice.why, bool) == f"job {job} was ended by Slurm: its node failed"
        finally:
            cluster["ctl"].run("scontrol", "update", "nodename=c2", "state=resume", check=False)
            states = ("sinfo", "--noheader", "--nodes=c2", "--format=%T")
            eventually(lambda: cluster["ctl"].run(*states).stdout, lambda said: "idle" in said)


class TestTheLauncher:
    def test_what_salloc_says_is_read(self, cluster: Cluster) -> None:
        chatter = Chatter()
        with salloc(cluster, "alice") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == b"hello\n"
            assert process.stdin is not None
            process.stdin.close()
            passed = [line for line in process.stderr if chatter.feed(line).pass_on]
        assert chatter.job_id is not None
        assert (passed, chatter.revoked) == ([], False)

    def test_a_cancelled_allocation_is_told_of_by_salloc_and_squeue(self, cluster: Cluster) -> None:
        """Right after it the job is COMPLETING, without a reason."""
        chatter = Chatter()
        with salloc(cluster, "alice") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            while chatter.job_id is None:
                chatter.feed(process.stderr.readline())
            alice = Waiter(cluster, "alice", chatter.job_id)
            cluster["ctl"].run("scancel", str(chatter.job_id))
            while not chatter.revoked:
                chatter.feed(process.stderr.readline())
            said = eventually(lambda: alice.why(revoked=True), bool)
            assert "was cancelled" in said

    def test_a_job_that_is_refused_passes_on_why(self, cluster: Cluster) -> None:
        command = ("salloc", "--partition=nowhere", "true")
        done = cluster["login1"].run(*command, user="alice", check=False)
        passed = [
            line for line in done.stderr.splitlines() if Chatter().feed(line.encode()).pass_on
        ]
        assert any("invalid partition" in line for line in passed)


def test_a_controller_that_does_not_answer_is_waited_for(cluster: Cluster) -> None:
    job = submitted(cluster, "alice", "--hold")
    alice = Waiter(cluster, "alice", job)
    held = alice.ask()
    alice.patience = 3.0
    controller = cluster["ctl"].pids("slurmctld -D")
    kill(cluster["ctl"], *controller, signum=signal.SIGSTOP)
    try:
        assert alice.ask() == f"job {job}: Slurm does not answer; waiting"
        assert alice.ask() == ""
    finally:
        kill(cluster["ctl"], *controller, signum=signal.SIGCONT)
    assert alice.hears("held by you") == held.replace("submitted, ", "")


def test_nothing_in_a_jobs_name_makes_a_job_for_root(cluster: Cluster) -> None:
    """They are printed as they are: newlines, control characters, whatever separates fields."""
    evil = "a\n9|root|0|RUNNING|\x1f\x1b[2J%i|%u\n"
    job = submitted(cluster, "alice", "--hold", f"--job-name={evil}", f"--comment={evil}|")
    listed = cluster["login1"].run(PYTHON, "-I", "-c", LIST).stdout
    alices = [each for each in json.loads(listed) if each["uid"] == 20001]
    found = [each for each in alices if each["state"] != "COMPLETING"]  # a test's before this
    assert [(each["id"], each["user"], each["state"]) for each in found] == [
        (job, "alice", "PENDING")
    ]
    assert found[0]["name"] == evil
    assert found[0]["comment"].endswith("|")


@pytest.mark.parametrize("name", ["SQUEUE_STATES=COMPLETED", "SQUEUE_FORMAT2=jobid"])
def test_a_users_own_defaults_change_no_answer(cluster: Cluster, name: str) -> None:
    job = submitted(cluster, "alice", "--hold")
    done = cluster["login1"].run("env", name, *about(job), user="alice")
    assert done.stdout.startswith(f"{job}|20001|PENDING|")
