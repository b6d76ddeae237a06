"""The scheduler through pyslurm, Slurm's library, in a process that lives for one answer."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from vscadmin.slurm.job import COMPLETING, Job
from vscadmin.slurm.scheduler import PATIENCE, SchedulerError, ask
from vscadmin.slurm.wording import is_over

_LOAD = (sys.executable, "-I", "-m", "vscadmin.slurm.load_jobs")


class PySlurm:
    """Lists jobs with pyslurm; *command* prints them, *patience* is in seconds."""

    def __init__(self, patience: float = PATIENCE, command: Sequence[str] = _LOAD) -> None:
        self._patience = patience
        self._command = command

    def jobs(self, uid: int | None = None) -> tuple[Job, ...]:
        """Return the jobs that are not over; see Scheduler."""
        output = ask(self._command, os.environ, self._patience)
        try:
            found = tuple(_jobs(json.loads(output)))
        except (ValueError, TypeError) as error:
            raise SchedulerError(f"pyslurm: {error}") from error
        return tuple(job for job in found if uid in (None, job.uid))


def _jobs(rows: list[list[Any]]) -> Iterator[Job]:
    """Yield the jobs of *rows* that are not over: the library lists ended ones for minutes."""
    for row in rows:
        number, user, uid, name, comment, state, reason, partition, node, limit, *times = row
        submit, start, end = (each if isinstance(each, int) else None for each in times)
        if is_over(state) and state != COMPLETING:
            continue
        yield Job(
            id=number,
            user=user or str(uid),
            uid=uid,
            name=name or "",
            comment=comment or "",
            state=state,
            reason=reason or "",
            partition=partition or "",
            node=node or "",
            time_limit=limit * 60 if isinstance(limit, int) else None,  # minutes, "UNLIMITED"
            submit=submit,
            start=start,
            end=end,
        )
