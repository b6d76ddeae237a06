"""What is known of a job of Slurm's, whoever told it."""

from __future__ import annotations

from dataclasses import dataclass

PENDING, RUNNING, COMPLETING = "PENDING", "RUNNING", "COMPLETING"


@dataclass(frozen=True, slots=True)
class Job:
    """One job that waits, runs or is just ending.

    Times are seconds since the epoch, *time_limit* is in seconds; None: there is none, or not
    yet. *start* and *end* of a job that waits are Slurm's estimate. *name* and *comment* are
    what a user wrote: anything at all.
    """

    id: int
    user: str
    uid: int
    name: str
    comment: str
    state: str
    reason: str
    partition: str
    node: str
    time_limit: int | None
    submit: int | None
    start: int | None
    end: int | None

    def time_left(self, now: float) -> int | None:
        """Return the seconds until Slurm ends a job that runs; None: it waits, or has no limit."""
        if self.state == PENDING or self.end is None:
            return None
        return max(0, self.end - int(now))
