"""The scheduler through squeue, which every Slurm has."""

from __future__ import annotations

import os
import secrets

from vscadmin.slurm.job import Job
from vscadmin.slurm.listing import listing_format, parse_listing
from vscadmin.slurm.scheduler import PATIENCE, SchedulerError, ask


class Squeue:
    """Lists jobs with squeue; *patience* is in seconds."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience

    def jobs(self, uid: int | None = None) -> tuple[Job, ...]:
        """Return the jobs that are not over; see Scheduler."""
        mark = secrets.token_hex(8)
        whose = [] if uid is None else [f"--user={uid}"]
        output = ask(["squeue", "--noheader", "--all", *whose], _environment(mark), self._patience)
        try:
            return tuple(parse_listing(output, mark))
        except ValueError as error:
            raise SchedulerError(str(error)) from error


def _environment(mark: str) -> dict[str, str]:
    """Return our environment without what changes a listing, but with the format of this one.

    Others can see the arguments of a process, and could have the mark in a job's name in time;
    nobody sees its environment. SLURM_TIME_FORMAT %s is seconds since the epoch. Sessions are
    on the local cluster, whatever SLURM_CLUSTERS says.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "SLURM_CLUSTERS" and not name.startswith("SQUEUE_")
    }
    return {**kept, "SQUEUE_FORMAT": listing_format(mark), "SLURM_TIME_FORMAT": "%s"}
