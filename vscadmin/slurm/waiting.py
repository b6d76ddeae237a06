"""A job in the queue: what is news for the user who waits for it, and how often to ask."""

from __future__ import annotations

from vscadmin.slurm import wording
from vscadmin.slurm.reasons import IN_LINE, explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from vscadmin.slurm.row import Row

_SAY_EVERY = 60  # seconds from one line about the same to the next
_SHIFT = 300  # seconds by which the estimated start must move to be news
_ASK, _ASK_QUEUE = (15, 60), (60, 600)  # seconds: at first, and after a long wait


class Waiting:
    """One wait in the queue, from when it was first seen."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.must_repeat = False  # say again what holds
        self._reason: str | None = None
        self._place = ""
        self._start: int | None = None
        self._said_at = since
        self._queue_seen_at = since - _ASK_QUEUE[0]

    def tell(self, row: Row, queue: Sequence[Row] | None, now: float) -> tuple[str, ...]:
        """Return what is news; *queue* is who waits in the partition, None where not asked for."""
        place = self._place
        if queue is not None:
            place, self._queue_seen_at = _place(row, queue), now
        if not self._is_news(row, place, now):
            return ()
        verb = "submitted, queued" if self._reason is None else "queued"
        parts = [explain(row.reason), place and f"position {place} in {row.partition}"]
        if row.start is not None:
            parts.append(wording.estimate(row.start, now))
        self._reason, self._place, self._start, self._said_at = row.reason, place, row.start, now
        self.must_repeat = False
        return (f"job {row.job_id} {verb}: {'; '.join(filter(None, parts))}",)

    def _is_news(self, row: Row, place: str, now: float) -> bool:
        """Tell at once what is new in kind, and at most once a minute what has only changed."""
        if self._reason is None or self.must_repeat or (place and not self._place):
            return True
        if row.start is not None and self._start is None:
            return True
        reason_changed = row.reason != self._reason
        if reason_changed and row.reason not in IN_LINE:
            return True
        moved = row.start is not None and abs(row.start - (self._start or 0)) >= _SHIFT
        changed = reason_changed or place != self._place or moved
        return changed and now - self._said_at >= _SAY_EVERY

    def ask_again(self, now: float) -> float:
        """Return the seconds to the next question: the longer it took, the longer it may take."""
        return _between(_ASK, (now - self.since) / 8)

    def asks_queue(self, row: Row, now: float) -> bool:
        """Tell whether the next question is for the whole queue: only where a place says much."""
        waited = now - self.since
        due = self._queue_seen_at + _between(_ASK_QUEUE, waited / 8) - self.ask_again(now)
        return row.reason in IN_LINE and now >= due


def _between(limits: tuple[int, int], seconds: float) -> float:
    return min(max(limits[0], seconds), limits[1])


def _place(row: Row, queue: Sequence[Row]) -> str:
    """Return "3 of 12", counting those that wait for nothing but their turn; "" if not known.

    Where a site hides the jobs of others (PrivateData=jobs), there would be nobody before us.
    """
    if row.reason not in IN_LINE or all(each.uid == row.uid for each in queue):
        return ""
    rivals = [each for each in queue if each.reason in IN_LINE and each.job_id != row.job_id]
    ours = (-row.priority, row.job_id)
    ahead = sum((-each.priority, each.job_id) < ours for each in rivals)
    return f"{ahead + 1} of {len(rivals) + 1}"
