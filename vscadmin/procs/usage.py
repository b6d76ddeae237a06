"""What trees use now, by psutil: CPU over a short interval, memory without sharing, terminals."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import psutil

from vscadmin.model import Process, ProcessKey, Tree
from vscadmin.procs.scan import read_process

INTERVAL = 0.5  # seconds between the two looks at CPU times


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU in percent of one core; *unique* is memory that ending the tree gives back, bytes.

    *unique* is None where not every member's could be read; *terminals* are device names.
    """

    cpu_percent: float
    unique: int | None = None
    terminals: tuple[str, ...] = ()


def measure(
    trees: Iterable[Tree], *, closely: bool = False, interval: float = INTERVAL
) -> dict[ProcessKey, Usage]:
    """Return what each tree uses, by its root's key; waits *interval* seconds if there are any.

    *closely* reads memory maps too, which costs milliseconds a process.
    """
    watched = {tree.key: list(_handles(tree.members)) for tree in trees}
    before = {key: sum(map(_cpu_seconds, handles)) for key, handles in watched.items()}
    if not watched:
        return {}
    started = time.monotonic()
    time.sleep(interval)
    span = time.monotonic() - started
    return {
        key: Usage(
            max(0.0, sum(map(_cpu_seconds, handles)) - before[key]) / span * 100,
            _unique(handles) if closely else None,
            tuple(sorted(set(_terminals(handles)))) if closely else (),
        )
        for key, handles in watched.items()
    }


def _handles(members: Iterable[Process]) -> Iterator[psutil.Process]:
    """Yield psutil's handles of those that still live; each then knows its own start itself."""
    for member in members:
        try:
            handle = psutil.Process(member.pid)
            if read_process(member.pid).key == member.key:
                yield handle
        except (psutil.Error, OSError, ValueError):
            continue


def _cpu_seconds(handle: psutil.Process) -> float:
    try:
        times = handle.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _unique(handles: Iterable[psutil.Process]) -> int | None:
    total = 0
    for handle in handles:
        try:
            total += handle.memory_full_info().uss
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        except psutil.Error:
            return None
    return total


def _terminals(handles: Iterable[psutil.Process]) -> Iterator[str]:
    for handle in handles:
        try:
            terminal = handle.terminal()
        except psutil.Error:
            continue
        if terminal:
            yield terminal
