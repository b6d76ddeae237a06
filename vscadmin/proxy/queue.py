"""What the user hears of the job: from the launcher's own lines, and from asking Slurm.

What they mean is known to the scheduler that is given; here it is only asked.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from vscadmin.proxy.ask import KILLED, NOT_STARTED, Asker
from vscadmin.proxy.journal import Journal
from vscadmin.proxy.loop import Loop, Timer

_PATIENCE = 10.0  # s an answer may take
_AGAIN = 1.0  # s until Slurm may know how a job ended that it did not know of before
_OF_THE_END = (b"salloc: ", b"srun: ", b"slurmstepd")  # what they say when we end them
_WHY = 2.0  # s that the user waits for an answer to it
_QUESTIONS = 2  # how often it is asked
_CANCELLED = 1.5  # s until it is said that Slurm does not answer: before the launcher is killed


class Answer(Protocol):
    """Lines for the user, and in how many seconds to ask again."""

    @property
    def lines(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def ask_again(self) -> float | None: ...  # noqa: D102


class Said(Protocol):
    """The job's number, if a line named it, and whether the user needs to see the line."""

    @property
    def job_id(self) -> int | None: ...  # noqa: D102

    @property
    def pass_on(self) -> bool: ...  # noqa: D102


class Scheduler(Protocol):
    """Knows what its launcher says, what to ask of a job, and how the answers read."""

    def feed(self, line: bytes) -> Said:
        """Read a line that the launcher said."""

    def question(self, job_id: int) -> Sequence[str]:
        """Return the command that asks how the job gets on."""

    def answer(self, output: bytes, status: int, now: float) -> Answer:
        """Read its answer."""

    def started(self, node: str) -> tuple[str, ...]:
        """Learn that the job runs; return what to tell at once."""

    def sooner(self, now: float) -> float:
        """Return in how many seconds a question is allowed that has not its turn."""

    def why(self, job_id: int) -> Sequence[str]:
        """Return the command that asks how the job ended."""

    def ended(self, output: bytes) -> str:
        """Read its answer; "" where it does not tell."""


class Queue:
    """The job in the user's eyes; *scheduler* is None for a shell on this machine."""

    def __init__(
        self,
        loop: Loop,
        asker: Asker,
        journal: Journal,
        scheduler: Scheduler | None,
    ) -> None:
        self._loop = loop
        self._asker = asker
        self._journal = journal
        self._scheduler = scheduler
        self._line = b""
        self._job: int | None = None
        self._is_over = False
        self._is_asking = False
        self._is_the_shells = False
        self._is_late = False  # Slurm, with the job's end
        self._status: int | None = None
        self._next: Timer | None = None
        self.job_known: Callable[[int], None] = lambda _job: None
        """Called once, as soon as the job's number is known."""

    def read_stderr(self, data: bytes) -> bytes:
        """Take what the launcher or the shell wrote; return what the user is to see.

        Only what may still become a line of the launcher's is held.
        """
        if self._scheduler is None:
            return data
        if self._is_the_shells:
            return self.end_stderr() + self._without_news_of_the_job(data)
        *lines, rest = (self._line + data).split(b"\n")
        shown = [line + b"\n" for line in lines if self._is_for_the_user(line)]
        self._line = rest if _may_be_launchers(rest) else b""
        return b"".join([*shown, rest[len(self._line) :]])

    def _without_news_of_the_job(self, data: bytes) -> bytes:
        """While the shell runs, only whole lines that name our own job are the launcher's."""
        names_it = re.compile(rb"(?:allocation |job |StepId=)%d\b" % (self._job or 0)).search
        if not names_it(data):
            return data
        *lines, rest = data.split(b"\n")
        shown = [
            line + b"\n" for line in lines if not names_it(line) or self._is_for_the_user(line)
        ]
        return b"".join([*shown, rest])

    def _is_for_the_user(self, line: bytes) -> bool:
        if self._scheduler is None:
            return True
        said = self._scheduler.feed(line)
        if said.job_id is not None:
            self._learn(said.job_id)
        if self._is_over:
            return said.pass_on and not line.startswith(_OF_THE_END)
        return said.pass_on or not self._is_about_us(line)

    def _is_about_us(self, line: bytes) -> bool:
        """Tell our own launcher's lines from those of the shell's last commands."""
        if self._status is None:
            return True
        allocation, step = b"ob allocation %d" % (self._job or 0), b"StepId=%d." % (self._job or 0)
        ours = (allocation, allocation + b" has been revoked", b"exit code %d" % self._status)
        return step in line or line.rstrip(b".").endswith(ours)

    def end_stderr(self) -> bytes:
        """Return what was held: nothing more comes that could make a line of it."""
        rest, self._line = self._line, b""
        return rest

    def shell_ended(self, status: int) -> None:
        """Hear the launcher again: while the shell ran, stderr was the user's."""
        self._is_the_shells = False
        self._status = status

    def runs(self, job: int | None, node: str) -> None:
        """Note that the job runs: the hello says so before Slurm was asked."""
        self._journal.info(f"job {job or '-'} runs on {node}")
        self._is_the_shells = True
        if self._scheduler is None or job is None:
            return
        self._learn(job)
        for line in self._scheduler.started(node):
            self._journal.tell(line)
        if self._next is not None and not self._is_asking:
            self._next.cancel()
            self._next = self._loop.later(self._scheduler.sooner(time.time()), self._ask)

    def _learn(self, job: int) -> None:
        if self._job is None:
            self._job = job
            self.job_known(job)
            self._ask()

    def _ask(self) -> None:
        if self._scheduler is None or self._job is None or self._is_over or self._is_asking:
            return
        self._is_asking = True
        question = self._scheduler.question(self._job)
        self._asker.ask(question, _PATIENCE, self._answered)

    def _answered(self, output: bytes, status: int) -> None:
        self._is_asking = False
        if self._scheduler is None or self._is_over:
            return
        answer = self._scheduler.answer(output, status, time.time())
        for line in answer.lines:
            self._journal.tell(line)
        if answer.ask_again is not None:
            self._next = self._loop.later(answer.ask_again, self._ask)

    def end(self) -> None:
        """Say nothing more of the job: the session ends it."""
        self._is_over = True
        self._is_the_shells = False

    @property
    def has_job(self) -> bool:
        """Whether there is a job, or was one."""
        return self._job is not None

    def say_why(self, what: str, said: Callable[[], None]) -> None:
        """Say that the session ends and, if Slurm knows, why; *said* is called then."""
        self._is_over = True
        if self._scheduler is None or self._job is None:
            self._journal.fail(what)
            said()
        else:
            self._ask_why(self._scheduler, what, said, _QUESTIONS)

    def _ask_why(
        self, scheduler: Scheduler, what: str, said: Callable[[], None], questions: int
    ) -> None:
        """Ask up to so many times: Slurm may not know it yet."""

        def answered(output: bytes, status: int) -> None:
            reason = scheduler.ended(output) if status == 0 else ""
            if reason or status == KILLED or questions == 1:
                self._journal.fail(f"{what}: {reason}" if reason else what)
                said()
            else:
                self._loop.later(_AGAIN, again)

        def again() -> None:
            self._ask_why(scheduler, what, said, questions - 1)

        self._asker.ask(scheduler.why(self._job or 0), _WHY, answered)

    def cancel(self) -> None:
        """Have Slurm end the job; where it does not answer, the guardian goes on asking."""
        self._is_over = True
        if self._scheduler is not None and self._job is not None:
            self._asker.ask(["scancel", "--quiet", str(self._job)], _CANCELLED, self._cancelled)

    def _cancelled(self, _output: bytes, status: int) -> None:
        if status not in (0, NOT_STARTED) and not self._is_late:
            self._is_late = True
            self._journal.tell(f"Slurm does not answer: job {self._job} ends as soon as it does")


def _may_be_launchers(piece: bytes) -> bool:
    return any(
        piece.startswith(name) or name.startswith(piece) for name in (b"salloc: ", b"srun: ")
    )
