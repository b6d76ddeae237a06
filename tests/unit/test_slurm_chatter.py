"""What salloc and srun say, as Slurm 22.05 was seen to say it."""

from __future__ import annotations

import pytest

from vscadmin.slurm.chatter import Chatter


@pytest.mark.parametrize(
    "line",
    [
        b"salloc: Pending job allocation 12\n",
        b"salloc: job 12 queued and waiting for resources\n",
        b"salloc: job 12 has been allocated resources\r\n",
        b"salloc: Granted job allocation 12",
        b"salloc: Relinquishing job allocation 12\n",
        b"srun: job 12 queued and waiting for resources\n",
        b"srun: job 12 has been allocated resources\n",
    ],
)
def test_the_job_is_named(line: bytes) -> None:
    chatter = Chatter()
    said = chatter.feed(line)
    assert (said.job_id, said.pass_on, chatter.job_id) == (12, False, 12)


def test_the_number_is_news_once_and_stays() -> None:
    """On the same stderr may come a salloc of the user's own."""
    chatter = Chatter()
    assert chatter.feed(b"salloc: Pending job allocation 12\n").job_id == 12
    for line in (b"salloc: Granted job allocation 12\n", b"salloc: Granted job allocation 13\n"):
        said = chatter.feed(line)
        assert (said.job_id, said.pass_on) == (None, False)
    assert chatter.job_id == 12


@pytest.mark.parametrize(
    "line",
    [
        b"salloc: Waiting for resource configuration\n",
        b"salloc: Nodes c[1-2] are ready for job\n",
        b"salloc: Job has been cancelled\n",
        b"srun: forcing job termination\n",
        b"srun: Force Terminated StepId=8.interactive\n",
        b"srun: launch/slurm: _step_signal: Terminating StepId=8.interactive\n",
        b"srun: error: c1: task 0: Exited with exit code 7\n",
        b"srun: Job step aborted: Waiting up to 32 seconds for job step to finish.\n",
    ],
)
def test_what_is_of_no_use_is_kept_back(line: bytes) -> None:
    said = Chatter().feed(line)
    assert (said.job_id, said.pass_on) == (None, False)


def test_a_revoked_allocation_is_noted() -> None:
    chatter = Chatter()
    assert not chatter.feed(b"salloc: Job allocation 8 has been revoked.\n").pass_on
    assert chatter.revoked


def test_what_salloc_gave_back_itself_was_not_taken() -> None:
    """Slurm's word that the job has ended may come before salloc's own end."""
    chatter = Chatter()
    chatter.feed(b"salloc: Relinquishing job allocation 8\n")
    assert not chatter.feed(b"salloc: Job allocation 8 has been revoked.\n").pass_on
    assert not chatter.revoked


@pytest.mark.parametrize(
    "line",
    [
        b"salloc: error: Job submit/allocate failed: Invalid partition name specified\n",
        b"salloc: error: Node failure on c1\n",
        b"salloc: Requested partition configuration not available now\n",
        b"salloc: Job 9 has exceeded its time limit and its allocation has been revoked.\n",
        b"srun: error: c1: task 0: Terminated\n",
        b"slurmstepd-c1: error: *** STEP 9.0 ON c1 CANCELLED AT 2026-11-21T16:01:49 ***\n",
        b"salloc: Granted job allocation 123456789012345678901234567890\n",
        b"salloc: Granted job allocation \xd9\xa3\n",
        b"mysalloc: Granted job allocation 12\n",
        b"salloc: Granted job allocation\n",
        b"salloc: Granted job allocation #\n",
        b"a site's own greeting\n",
        b"\xff\n",
        b"",
    ],
)
def test_everything_else_passes(line: bytes) -> None:
    chatter = Chatter()
    said = chatter.feed(line)
    assert (said.job_id, said.pass_on, chatter.job_id) == (None, True, None)
