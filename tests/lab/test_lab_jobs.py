"""What the cluster has for jobs: cards, an MPI of its own, short partitions, windows, shells."""

from __future__ import annotations

import pytest

from tests.lab.cluster import Cluster
from tests.lab.screen import windows
from tests.lab.topology import USERS, User
from tests.run import eventually


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.name)
def test_everybody_has_a_shell_and_what_a_login_gives(cluster: Cluster, user: User) -> None:
    said = cluster.ssh(user.name, "login", 'echo "$SHELL $XDG_RUNTIME_DIR"; ls -A $XDG_RUNTIME_DIR')
    assert said.stdout == f"{user.shell} /run/user/{user.uid}\n"


def test_cards_are_given_out(cluster: Cluster) -> None:
    command = "srun --gres=gpu:2 printenv CUDA_VISIBLE_DEVICES"
    assert cluster.ssh("alice", "login", command).stdout == "0,1\n"


def test_the_sites_mpi_is_there_unless_another_is_asked_for(cluster: Cluster) -> None:
    for option, lines in (("", 1), ("--mpi=none", 0)):
        said = cluster.ssh("alice", "login", f"srun {option} sh -c 'env | grep -c ^PMI_RANK; true'")
        assert int(said.stdout) == lines


def test_a_partition_for_brief_jobs_runs_no_longer_ones(cluster: Cluster) -> None:
    """They wait for ever, as in any Slurm that has not been told otherwise."""
    cluster.ssh("bob", "login", "sbatch -o /dev/null -p brief -t 2 --wrap true")
    eventually(
        lambda: cluster["ctl"].run("squeue", "-h", "-o", "%T %r").stdout,
        lambda job: job == "PENDING PartitionTimeLimit\n",
    )


def test_a_window_of_a_job_is_on_the_laptops_screen(cluster: Cluster) -> None:
    command = ("ssh", "-X", "login1", "salloc", "--x11", "xclock", "-name", "of-a-job")
    argv = ("env", "DISPLAY=:0", *command)
    with cluster.laptop.start(*argv, user="carol") as clock:
        try:
            eventually(lambda: windows(cluster, "carol"), lambda shown: '"of-a-job"' in shown)
        finally:
            clock.kill()
