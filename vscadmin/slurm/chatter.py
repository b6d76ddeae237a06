"""The lines that salloc and srun say on stderr: what they tell, and which of them people need.

The texts are those of Slurm 22.05 (src/salloc/salloc.c, src/srun), the same for many years.
Whatever is not known passes.
"""

from __future__ import annotations

_GIVEN_BACK = b"Relinquishing job allocation #"
_NAME_THE_JOB = frozenset(
    {
        b"Pending job allocation #",
        b"Granted job allocation #",
        _GIVEN_BACK,
        b"job # queued and waiting for resources",
        b"job # has been allocated resources",
    }
)
_REVOKED = b"Job allocation # has been revoked."
_OF_NO_USE = frozenset(
    {
        _REVOKED,
        b"Waiting for resource configuration",
        b"Job has been cancelled",
        b"forcing job termination",
        b"Job step aborted: Waiting up to # seconds for job step to finish.",
    }
)
_LONGEST_NUMBER = 10  # digits: job ids have 32 bits


class Said:
    """What one line means: the number of the job, if it is news, and whether people need it."""

    __slots__ = ("job_id", "pass_on")

    def __init__(self, job_id: int | None, pass_on: bool) -> None:
        self.job_id = job_id
        self.pass_on = pass_on


class Chatter:
    """Reads what one launcher says, line by line.

    The first number that is named is the job's, whatever is said later: on the same stderr
    may come lines of the user's own programs.
    """

    __slots__ = ("_given_back", "job_id", "revoked")

    def __init__(self) -> None:
        self.job_id: int | None = None
        self._given_back = False
        self.revoked = False  # Slurm has taken the allocation back; we did not give it

    def feed(self, line: bytes) -> Said:
        """Take one line, with or without its end; pass on what says more than we say ourselves."""
        program, _, text = line.rstrip().partition(b": ")
        if program not in (b"salloc", b"srun"):
            return Said(None, pass_on=True)
        words = text.split(b" ")
        numbers = [int(each) for each in words if _is_number(each)]
        pattern = b" ".join(b"#" if _is_number(each) else each for each in words)
        self._given_back |= pattern == _GIVEN_BACK  # then it may be called revoked as well
        self.revoked |= pattern == _REVOKED and not self._given_back
        if numbers and pattern in _NAME_THE_JOB:
            return Said(self._first(numbers[0]), pass_on=False)
        return Said(None, pass_on=not _is_of_no_use(pattern))

    def _first(self, job_id: int) -> int | None:
        """Return the number once: when it was not known before."""
        if self.job_id is not None:
            return None
        self.job_id = job_id
        return job_id


def _is_number(word: bytes) -> bool:
    return word.isdigit() and len(word) <= _LONGEST_NUMBER


def _is_of_no_use(pattern: bytes) -> bool:
    is_about_nodes = pattern.startswith(b"Nodes ") and pattern.endswith(
        (b" are ready for job", b" are still not ready")
    )
    is_a_status = pattern.startswith(b"error: ") and b": Exited with exit code " in pattern
    is_ending = pattern.startswith(b"Force Terminated ")
    is_of_a_step = b": Terminating StepId=" in pattern  # KillOnBadExit
    return pattern in _OF_NO_USE or is_about_nodes or is_a_status or is_ending or is_of_a_step
