"""Who is asked on this machine: pyslurm where it is installed, squeue where it is not or fails."""

from __future__ import annotations

from importlib.util import find_spec

from vscadmin.slurm.job import Job
from vscadmin.slurm.scheduler import Scheduler, SchedulerError
from vscadmin.slurm.squeue import Squeue


class FirstOf:
    """Asks one scheduler, and another where the first cannot be asked."""

    def __init__(self, first: Scheduler, second: Scheduler) -> None:
        self._first = first
        self._second = second

    def jobs(self, uid: int | None = None) -> tuple[Job, ...]:
        """Return what the first has, else the second; raises the second's SchedulerError."""
        try:
            return self._first.jobs(uid)
        except SchedulerError:
            return self._second.jobs(uid)


def scheduler() -> Scheduler:
    """Return the scheduler of this machine; nothing is imported, and nobody asked."""
    if find_spec("pyslurm") is None:
        return Squeue()
    from vscadmin.slurm.bindings import PySlurm  # noqa: PLC0415 - the extra [slurm]

    return FirstOf(PySlurm(), Squeue())
