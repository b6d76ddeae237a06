"""A job that runs: where, until when, and the warnings before its time is over."""

from __future__ import annotations

from vscadmin.slurm import wording

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vscadmin.slurm.row import Row

_WARNINGS = (1800, 600, 120)  # seconds left
_CHANGED = 60  # seconds by which the end must move to be another limit
_SOONEST, _SLOWEST = 15, 600  # seconds; an admin may change the limit at any time


class Running:
    """One run of a job."""

    def __init__(self, *, node_is_told: bool = False) -> None:
        self._node_is_told = node_is_told
        self._is_told = False
        self._end: int | None = None
        self._warnings: tuple[int, ...] = ()  # those still to come

    def tell(self, row: Row, now: float) -> tuple[str, ...]:
        """Return what is news."""
        if not self._is_told:
            self._is_told = True
            node = "" if self._node_is_told else row.node
            return self._say(row, now, wording.running(node, row.end, now))
        if _has_moved(self._end, row.end):
            return self._say(row, now, wording.limit_changed(row.end, now))
        if row.end is not None and any(row.end - now <= each for each in self._warnings):
            return self._say(row, now, wording.time_left(row.end, now))
        return ()

    def _say(self, row: Row, now: float, words: str) -> tuple[str, ...]:
        """Note the end that was told; warnings it makes needless are not given any more."""
        self._end = row.end
        left = _SLOWEST if row.end is None else row.end - now
        self._warnings = tuple(each for each in _WARNINGS if row.end is not None and each < left)
        return (f"job {row.job_id} {words}",)

    def ask_again(self, now: float) -> float:
        """Return the seconds to the next question: in time for the next warning."""
        if self._end is None:
            return _SLOWEST
        left = self._end - now
        to_warning = left - self._warnings[0] if self._warnings else left + _SOONEST
        return min(max(_SOONEST, to_warning), _SLOWEST)


def _has_moved(told: int | None, end: int | None) -> bool:
    if told is None or end is None:
        return told is not end
    return abs(end - told) > _CHANGED
