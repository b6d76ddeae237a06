"""Slurm, as a session sees its own job: what the launcher says, and what squeue answers."""

from __future__ import annotations

from vscadmin.slurm.chatter import Chatter, Said
from vscadmin.slurm.progress import Answer, Progress, about, ended


class Watching:
    """One job, from its submission to its end; pure: the session asks and hands in."""

    def __init__(self) -> None:
        self._chatter = Chatter()
        self._progress = Progress()

    def feed(self, line: bytes) -> Said:
        """Read a line of salloc's or srun's."""
        return self._chatter.feed(line)

    def question(self, job_id: int) -> list[str]:
        """Return the command that asks how the job gets on."""
        return self._progress.question(job_id)

    def answer(self, output: bytes, status: int, now: float) -> Answer:
        """Read its answer."""
        return self._progress.answer(output, status, now)

    def started(self, node: str) -> tuple[str, ...]:
        """Learn from the hello that the job runs; return what to tell at once."""
        return self._progress.started(node)

    def sooner(self, now: float) -> float:
        """Return in how many seconds a question is allowed that has not its turn."""
        return self._progress.sooner(now)

    def why(self, job_id: int) -> list[str]:
        """Return the command that asks how the job ended."""
        return about(job_id)

    def ended(self, output: bytes) -> str:
        """Read its answer; "" where it does not tell."""
        return ended(output, revoked=self._chatter.revoked)
