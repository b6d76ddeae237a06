"""Which ends were regretted: the owner opened the same product again within the hour."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from vscadmin.cleanup.records import Result, Termination
from vscadmin.cleanup.store_read import Opened, Reader

REGRET = 3600.0  # seconds: who comes back later has begun something else
_ENDED = (Result.ENDED, Result.SURVIVORS)


def regretted(store: Reader, terminations: Iterable[Termination]) -> tuple[Termination, ...]:
    """Return those of *terminations* that ended a tree which its owner soon replaced."""
    ended = [each for each in terminations if each.result in _ENDED]
    if not ended:
        return ()
    opened: dict[tuple[str, str], list[Opened]] = defaultdict(list)
    for tree in store.opened(min(map(_at, ended))):
        opened[tree.user, tree.product].append(tree)
    return tuple(
        each
        for each in ended
        if any(_replaces(tree, each) for tree in opened[each.user, each.product])
    )


def _at(termination: Termination) -> float:
    finished = termination.finished_at
    return termination.started_at if finished is None else finished


def _replaces(tree: Opened, ended: Termination) -> bool:
    """Whether *tree* came after the end; what survived it may be the root of a tree since."""
    soon = 0 < tree.first_seen - _at(ended) <= REGRET
    return soon and tree.identity != ended.identity and tree.started_at >= ended.started_at
