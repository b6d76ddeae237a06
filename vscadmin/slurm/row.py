"""One job as a session asks for it: a line of squeue without anything that users write."""

from __future__ import annotations

from vscadmin.slurm.fields import SQUEUE, duration, job_number, moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_FIELDS = ("%i", "%U", "%T", "%S", "%e", "%l", "%P", "%N", "%Q", "%r")
_FORMAT = f"--format={'|'.join(_FIELDS)}"


class Row:
    """What squeue says of one job; times in seconds since the epoch, None where there is none.

    *limit* is the time limit in seconds; *partition* names several, with commas, where the
    job may start in any of them.
    """

    __slots__ = (
        "end", "job_id", "limit", "node", "partition",
        "priority", "reason", "start", "state", "uid",
    )  # fmt: skip

    def __init__(self, line: str) -> None:
        """Read one line; raises ValueError where it is none of ours."""
        fields = line.split("|", len(_FIELDS) - 1)
        if len(fields) != len(_FIELDS):
            raise ValueError(f"{len(fields)} fields in a line of squeue, {len(_FIELDS)} wanted")
        number, self.uid, self.state, start, end, limit, self.partition = fields[:7]
        self.node, priority, self.reason = fields[7:]
        self.job_id = job_number(number)
        self.start, self.end, self.limit = moment(start), moment(end), duration(limit)
        self.priority = moment(priority) or 0


def about(job_id: int) -> list[str]:
    """Return the command that asks for one job, also when it has just ended."""
    return [*SQUEUE, "--states=all", f"--jobs={job_id}", _FORMAT]


def queue(partition: str) -> list[str]:
    """Return the command that asks for all jobs that wait in *partition*."""
    return [*SQUEUE, "--states=PENDING", f"--partition={partition}", _FORMAT]


def rows(output: bytes) -> Iterator[Row]:
    """Yield the jobs that the commands print; what is no job, such as a heading, is left out."""
    for line in output.decode("utf-8", "replace").split("\n"):
        try:
            yield Row(line)
        except ValueError:
            continue
