"""What the user of a session is told while the job waits and runs. Knows no clock, asks nobody.

The session runs the commands and keeps the time: `question` says what to run, `answer` takes
what came of it, and says what to tell and when to ask again. slurmctld is asked at most every
15 s a session, and more seldom the longer nothing changes: it serves a whole site, and the
launcher hears of the start by itself.
"""

from __future__ import annotations

from vscadmin.slurm import wording
from vscadmin.slurm.row import about, queue, rows
from vscadmin.slurm.running import Running
from vscadmin.slurm.waiting import Waiting

__all__ = ["SOONEST", "Answer", "Progress", "about", "ended"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vscadmin.slurm.row import Row

SOONEST = 15  # seconds from one question to the next
_BETWEEN = 60  # seconds, while the job is in a state that is neither waiting nor running
_LONGEST_SILENCE = 120  # seconds from one question to the next while Slurm does not answer


class Answer:
    """What to tell the user, a line each, and in how many seconds to ask again; None: never."""

    __slots__ = ("ask_again", "lines")

    def __init__(self, lines: tuple[str, ...], ask_again: float | None) -> None:
        self.lines = lines
        self.ask_again = ask_again


class Progress:
    """Follows one job and says what is news: nothing twice, and nothing that has not changed."""

    def __init__(self) -> None:
        self._job_id = 0
        self._row: Row | None = None
        self._state = ""  # the last one that the user was told of
        self._waiting: Waiting | None = None
        self._running: Running | None = None
        self._asks_queue = False
        self._node_is_told = False  # the job itself has said where it runs, squeue not yet
        self._failures = 0
        self._answered_at: float | None = None

    def question(self, job_id: int) -> list[str]:
        """Return the command to run now: squeue, for this job or for the queue that it is in."""
        self._job_id = job_id
        if self._asks_queue and self._row is not None:
            return queue(self._row.partition)
        return about(job_id)

    def answer(self, output: bytes, status: int, now: float) -> Answer:
        """Take what the command printed and its exit status, at *now* (seconds since the epoch).

        A command that was ended because it took too long has any status but 0.
        """
        self._answered_at = now
        if status != 0:
            return self._unanswered()
        self._failures = 0
        jobs = list(rows(output))
        is_whole = self._asks_queue and output.endswith(b"\n")  # a long answer may have been cut
        others, self._asks_queue = (jobs if is_whole else None), False
        self._row = next((each for each in jobs if each.job_id == self._job_id), None)
        if self._row is None:  # it has left the queue: ask for the job itself
            return Answer((), SOONEST)
        return self._told(self._row, others, now)

    def started(self, node: str) -> tuple[str, ...]:
        """Take from the job itself that it runs; return what a user who waits is to hear at once.

        Until when is told with the next answer, which may be asked for `sooner`.
        """
        if self._state in ("", "RUNNING") or self._node_is_told:
            return ()
        self._node_is_told = True
        return (f"job {self._job_id} runs on {node}",)

    def sooner(self, now: float) -> float:
        """Return in how many seconds to ask where there is news, such as the start of the job."""
        if self._answered_at is None:
            return 0.0
        return min(SOONEST, max(0.0, self._answered_at + SOONEST - now))  # the clock may be set

    def _told(self, job: Row, others: list[Row] | None, now: float) -> Answer:
        entered, self._state = self._state != job.state, job.state
        if job.state == "PENDING":
            if entered or self._waiting is None:
                self._waiting = Waiting(now)
            lines = self._waiting.tell(job, others, now)
            self._asks_queue = self._waiting.asks_queue(job, now)
            return Answer(lines, self._waiting.ask_again(now))
        if job.state == "RUNNING":
            if entered or self._running is None:
                self._running = Running(node_is_told=self._node_is_told)
                self._node_is_told = False
            return Answer(self._running.tell(job, now), self._running.ask_again(now))
        if wording.is_over(job.state):
            return Answer((), None)  # the launcher ends too; `ended` says why
        is_news = entered and not self._node_is_told
        lines = (f"job {job.job_id} {wording.state(job.state, job.node)}",) if is_news else ()
        return Answer(lines, _BETWEEN)

    def _unanswered(self) -> Answer:
        """Say once that nothing is known; a job that runs is not held up by that."""
        self._failures += 1
        lines = (f"job {self._job_id}: Slurm does not answer; waiting",)
        is_news = self._failures == 1 and self._state != "RUNNING"
        if self._waiting is not None:
            self._waiting.must_repeat = True
        wait = min(SOONEST * 2 ** min(self._failures, 8), _LONGEST_SILENCE)
        return Answer(lines if is_news else (), wait)


def ended(output: bytes, *, revoked: bool = False) -> str:
    """Say how the job ended that `about` asked for; "" where squeue does not tell, or not yet.

    *revoked* is `Chatter.revoked`: a job whose processes are being ended has no other mark.
    """
    for job in rows(output):
        words = wording.end(job.state, job.reason, job.limit, revoked=revoked)
        return words and f"job {job.job_id} {words}"
    return ""
