"""What became of servers and memory over time, as the stored scans tell it; for charts."""

from __future__ import annotations

from typing import NamedTuple

from vscadmin.cleanup.store_read import Reader


class Size(NamedTuple):
    """One scan in numbers: servers, those of them that were abandoned, resident memory in bytes."""

    at: float
    trees: int
    abandoned: int
    rss: int


_OF_SCANS = (
    "SELECT taken_at, count(tree), coalesce(sum(state = 'abandoned'), 0), coalesce(sum(rss), 0)"
    " FROM scans LEFT JOIN sightings USING (scan) LEFT JOIN judgements USING (judgement)"
    " WHERE scan IN ({}) GROUP BY scan ORDER BY taken_at, scan"
)
_ONE_IN_EVERY = (
    "SELECT max(scan) FROM scans WHERE taken_at >= ? GROUP BY CAST((taken_at - ?) / ? AS INTEGER)"
)
_FIRST_AND_LAST = (
    "SELECT min(scan) FROM scans WHERE taken_at >= ?"
    " UNION SELECT max(scan) FROM scans WHERE taken_at >= ?"
)


class TrendReader(Reader):
    """The store for whoever draws it or sums it up: two more questions."""

    def sizes(self, since: float, every: float) -> tuple[Size, ...]:
        """Return the last scan of each *every* seconds since then, the oldest first.

        Only those scans' sightings are read, so that a month of a busy node takes no longer
        than a day of it.
        """
        return self._sizes(_ONE_IN_EVERY, since, since, every)

    def edges(self, since: float) -> tuple[Size, ...]:
        """Return the first and the last scan since then; one where they are the same."""
        return self._sizes(_FIRST_AND_LAST, since, since)

    def _sizes(self, scans: str, *values: float) -> tuple[Size, ...]:
        return tuple(self._database.read(Size._make, _OF_SCANS.format(scans), *values))
