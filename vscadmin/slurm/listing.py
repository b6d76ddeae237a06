r"""A listing of squeue's, parsed: bytes in, jobs out.

Job names and comments may hold any byte, newlines and whatever separates fields elsewhere. So
the separator is a mark that is new for each listing: nobody can have put it into a name before.
"""

from __future__ import annotations

from collections.abc import Iterator

from vscadmin.slurm.fields import duration, job_number, moment
from vscadmin.slurm.job import Job

# id, user, uid, state, reason, partition, nodes, limit, submit, start, end, name, comment
_FIELDS = ("%i", "%u", "%U", "%T", "%r", "%P", "%N", "%l", "%V", "%S", "%e", "%j", "%k")
_NULL = "(null)"  # what squeue prints where there is no comment


def listing_format(mark: str) -> str:
    """Return the format to give to squeue; *mark* is a word of letters and digits, used once."""
    return f"|{mark}|".join(_FIELDS) + f"|{mark}."


def parse_listing(output: bytes, mark: str) -> Iterator[Job]:
    """Yield the jobs of a listing; raises ValueError where it is not whole."""
    *lines, rest = output.decode("utf-8", "backslashreplace").split(f"|{mark}.\n")
    if rest:
        raise ValueError("squeue printed something else than was asked for")
    for line in lines:
        yield _job(line.split(f"|{mark}|"))


def _job(fields: list[str]) -> Job:
    if len(fields) != len(_FIELDS):
        raise ValueError(f"squeue printed {len(fields)} fields of a job, {len(_FIELDS)} wanted")
    number, user, uid, state, reason, partition, node, limit, *times, name, comment = fields
    submit, start, end = map(moment, times)
    return Job(
        id=job_number(number),
        user=user,
        uid=int(uid),
        name=name,
        comment="" if comment == _NULL else comment,
        state=state,
        reason=reason,
        partition=partition,
        node=node,
        time_limit=duration(limit),
        submit=submit,
        start=start,
        end=end,
    )
