"""Which proxy sessions there are: what Slurm knows of them, and what they say of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vscadmin.proxy.status import NAME
from vscadmin.proxy.statuses import Status
from vscadmin.slurm.job import COMPLETING, RUNNING, Job

# The comment that a session gives its job: SESSION HOST:PID.
_COMMENT = re.compile(
    NAME + r" (?P<session>[0-9a-f]{8}) (?P<host>[A-Za-z0-9._-]{1,255}):(?P<pid>[1-9][0-9]{0,9})"
)


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the proxy; None is what is not known.

    *job* is None for a session without one, or whose job Slurm did not tell of; *status* for
    one on another login node, or of another user.
    """

    uid: int
    session: str | None
    login_node: str | None
    pid: int | None
    job: Job | None
    status: Status | None

    @property
    def job_id(self) -> int | None:
        """The number of its job, which it may know where Slurm could not be asked."""
        if self.job is not None:
            return self.job.id
        return (self.status.job or None) if self.status else None

    @property
    def node(self) -> str | None:
        """Where its shell runs: the node or nodes of its job."""
        node = self.job.node if self.job else self.status.node if self.status else ""
        return node or None

    @property
    def state(self) -> str:
        """The state of its job; without one it runs as long as it is there."""
        return self.job.state if self.job else RUNNING

    def idle(self, now: float) -> int | None:
        """Return the seconds since it last moved a byte for a client, or since its start."""
        if self.status is None:
            return None
        return max(0, int(now) - (self.status.last_byte or self.status.started))


def sessions(jobs: Iterable[Job], statuses: Iterable[Status], host: str) -> list[Session]:
    """Join the jobs of sessions with the status files of *host*, by user and age.

    Users write both comments and status files: only those of the same user are joined.
    """
    known = tuple(jobs)
    by_number = {(job.uid, job.id): job for job in known}
    by_session = {(job.uid, tag["session"]): job for job in known if (tag := _tag(job))}
    found = []
    for each in statuses:
        job = by_session.get((each.uid, each.session)) or by_number.get((each.uid, each.job))
        found.append(Session(each.uid, each.session, host, each.pid, job, each))
    told = {(each.uid, each.job_id) for each in found}
    found += _without_status(job for job in known if (job.uid, job.id) not in told)
    return sorted(found, key=lambda each: (each.uid, each.job_id or 0, each.pid or 0))


def _without_status(jobs: Iterable[Job]) -> Iterator[Session]:
    """Yield the sessions of other login nodes, and of users whose files we cannot read.

    A job that is being ended has none any more.
    """
    for job in jobs:
        if job.state == COMPLETING:
            continue
        if tag := _tag(job):
            yield Session(job.uid, tag["session"], tag["host"], int(tag["pid"]), job, None)
        elif job.name == NAME:  # a site's job_submit plugin may have another use for comments
            yield Session(job.uid, None, None, None, job, None)


def _tag(job: Job) -> re.Match[str] | None:
    return _COMMENT.fullmatch(job.comment)
