"""Quiet hours: weekly windows, in the node's local time, in which nothing is terminated."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WINDOW = re.compile(r"(?:([A-Z][a-z]{2})(?:-([A-Z][a-z]{2}))? )?(\d\d):(\d\d)-(\d\d):(\d\d)")
_WEEK = 7 * 24 * 60  # minutes


@dataclass(frozen=True, slots=True)
class QuietHours:
    """One window: *days* are those it starts on, Monday 0; *start* and *end* minutes of the day.

    An end at or before its start is the next day's.
    """

    days: frozenset[int]
    start: int
    end: int
    text: str

    def ends(self, at: datetime) -> datetime | None:
        """Return when the window that *at* lies in ends, None when it lies in none."""
        length = timedelta(minutes=(self.end - self.start) % (24 * 60) or 24 * 60)
        for back in (0, 1):
            day = at - timedelta(days=back)
            start = day.replace(
                hour=self.start // 60, minute=self.start % 60, second=0, microsecond=0
            )
            if start.weekday() in self.days and start <= at < start + length:
                return start + length
        return None


def parse_quiet_hours(text: str) -> QuietHours:
    """Read "Mon-Fri 08:00-18:00", "Sat 00:00-24:00" or "22:00-06:00" (every day).

    Raises ValueError for anything else.
    """
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise ValueError(_wanted(text))
    first, last = match[1] or "Mon", match[2] or match[1] or "Sun"
    if first not in _DAYS or last not in _DAYS:
        raise ValueError(_wanted(text))
    start, end = (int(match[at]) * 60 + int(match[at + 1]) for at in (3, 5))
    if start >= 24 * 60 or end > 24 * 60 or int(match[4]) > 59 or int(match[6]) > 59:
        raise ValueError(_wanted(text))
    begin, length = _DAYS.index(first), (_DAYS.index(last) - _DAYS.index(first)) % 7 + 1
    days = frozenset((begin + day) % 7 for day in range(length))
    return QuietHours(days, start, end, text)


def _wanted(text: str) -> str:
    return f'"{text}" is no window of time; write it as "Mon-Fri 08:00-18:00"'


def is_quiet(at: float, windows: Iterable[QuietHours]) -> bool:
    """Tell whether a moment lies in one of *windows*."""
    moment = datetime.fromtimestamp(at)
    return any(window.ends(moment) is not None for window in windows)


def first_allowed(at: float, windows: Iterable[QuietHours]) -> float:
    """Return the first moment from *at* on that lies in none of *windows*.

    Where they cover the whole week that is a week later: it never comes.
    """
    moment = begun = datetime.fromtimestamp(at)
    limit = moment + timedelta(minutes=_WEEK)
    waiting = True
    while waiting and moment < limit:
        waiting = False
        for window in windows:
            if (end := window.ends(moment)) is not None:
                moment, waiting = end, True
    # A datetime has microseconds only: a moment that has passed must not become a later one.
    return at if moment == begun else max(at, moment.timestamp())
