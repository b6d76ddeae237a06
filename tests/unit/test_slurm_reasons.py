"""Every reason for which Slurm lets a job wait, in words."""

from __future__ import annotations

import pytest

from vscadmin.slurm.reasons import explain


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("None", "waiting for the scheduler to look at it"),
        ("Priority", "waiting for its turn (Priority)"),
        ("Dependency", "waiting for another job that it depends on (Dependency)"),
        ("BeginTime", "waiting for the start time that was asked for (BeginTime)"),
        ("QOSMaxJobsPerUserLimit", "you use as much (jobs) as your QOS allows one user"),
        ("AssocGrpCpuLimit", "your account uses as much (CPUs) as it may"),
        ("AssocGrpCPUMinutesLimit", "your account has used up its budget of time (CPUs)"),
        ("AssocGrpCPURunMinutesLimit", "running jobs have reserved all the time (CPUs)"),
        ("AssocGrpGRES", "your account uses as much (GPUs or other GRES) as it may"),
        ("MaxGRESPerAccount", "your account uses as much (GPUs or other GRES) as it may"),
        ("QOSMaxWallDurationPerJobLimit", "it asks for more (time) than your QOS allows one job"),
        ("QOSMinCpuNotSatisfied", "it asks for less (CPUs) than your QOS demands"),
        ("AssocMaxSubmitJobLimit", "your account uses as much (submitted jobs) as it may"),
    ],
)
def test_a_reason_in_words(reason: str, words: str) -> None:
    assert explain(reason).startswith(words)


@pytest.mark.parametrize(
    "reason",
    [
        "PartitionTimeLimit",
        "PartitionNodeLimit",
        "PartitionConfig",
        "BadConstraints",
        "DependencyNeverSatisfied",
        "QOSMaxWallDurationPerJobLimit",
        "AssocMaxCpuMinutesPerJobLimit",
        "QOSMaxMemoryPerNode",
        "QOSMinGRES",
        "DeadLine",
        "ReservationDeleted",
    ],
)
def test_what_never_starts_is_said_so(reason: str) -> None:
    assert "it will never start" in explain(reason)


@pytest.mark.parametrize(
    "reason",
    [
        "ReqNodeNotAvail, UnavailableNodes:c[1-2]",
        "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority",
    ],
)
def test_nodes_that_are_not_available_have_two_names(reason: str) -> None:
    assert "not available: down, drained or reserved" in explain(reason)


def test_the_name_that_slurm_has_for_it_is_told_with_it() -> None:
    assert explain("Licenses").endswith("(Licenses)")
    assert explain("ReqNodeNotAvail, UnavailableNodes:c1").endswith(
        "(ReqNodeNotAvail, UnavailableNodes:c1)"
    )


@pytest.mark.parametrize("reason", ["NewInSlurm99", "Maximal", "QOSGrpSomething", "Assoc"])
def test_a_reason_that_is_new_to_us_is_told_as_slurm_says_it(reason: str) -> None:
    assert explain(reason) == f"Slurm says {reason}"


def test_no_reason_reaches_the_terminal_as_a_command_to_it() -> None:
    said = explain("admin\x1b[2J\u202e says " + "x" * 5000)
    assert said.isprintable()
    assert len(said) < 300
