"""What was wanted, and whether the numbers of this run keep it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from benchmarks.stopwatch import Laps

OURS, PS, PGREP, PSUTIL = "vscadmin scan --json", "ps -eo …", "pgrep -f", "psutil.process_iter"
CLEANUP = "vscadmin cleanup"
SIZES = (10_000, 20_000)
_OF_PS = {10_000: 0.8, 20_000: 0.7}
_OF_PSUTIL = 0.35
_CLEANUP_OF_SCAN = 2.0
_GROWTH = 2.2
_MEMORY = 60.0  # MB, of 10^6 bytes

Results = Mapping[int, Mapping[str, Laps]]


class Target(NamedTuple):
    """A number that has a limit; the limit is the least it may be, or else the most."""

    name: str
    value: float
    limit: float
    is_least: bool = False

    @property
    def met(self) -> bool:
        """Whether it is within the limit."""
        return self.value >= self.limit if self.is_least else self.value <= self.limit

    def __str__(self) -> str:
        sign = "≥" if self.is_least else "≤"
        verdict = "met" if self.met else "MISSED"
        return f"{self.name:<58}{self.value:9.3f}  {sign} {self.limit:<7.3f}{verdict}"


def targets(results: Results) -> Iterator[Target]:
    """Yield every target with its value."""
    for size, laps in results.items():
        ours = laps[OURS]
        for other, limit in ((PS, _OF_PS[size]), (PSUTIL, _OF_PSUTIL)):
            theirs = laps[other]
            yield Target(f"{size:,}: wall, of {other}", ours.wall / theirs.wall, limit)
            yield Target(f"{size:,}: CPU, of {other}", ours.cpu / theirs.cpu, limit)
        yield Target(f"{size:,}: peak memory, MB", ours.peak / 1e6, _MEMORY)
    whole, bare = results[SIZES[0]][CLEANUP], results[SIZES[0]][OURS]
    yield Target(f"{CLEANUP}: wall, of scan", whole.wall / bare.wall, _CLEANUP_OF_SCAN)
    yield Target(f"{CLEANUP}: CPU, of scan", whole.cpu / bare.cpu, _CLEANUP_OF_SCAN)
    small, large = (results[size][OURS] for size in SIZES)
    span = f"{SIZES[0]:,} to {SIZES[1]:,}"
    yield Target(f"{span}: wall grows by", large.wall / small.wall, _GROWTH)
    yield Target(f"{span}: CPU grows by", large.cpu / small.cpu, _GROWTH)


def table(size: int, laps: Mapping[str, Laps]) -> str:
    """Return the measurements at one size, in seconds and MB."""
    ours = laps[OURS]
    head = f"{f'{size:,} processes':<24}{'wall':>8}{'least':>8}{'CPU':>8}{'least':>8}{'MB':>7}"
    lines = [f"{head}{'ours/wall':>11}{'ours/CPU':>10}"]
    lines += [
        f"{name:<24}{each.wall:8.3f}{each.least_wall:8.3f}{each.cpu:8.3f}{each.least_cpu:8.3f}"
        f"{each.peak / 1e6:7.1f}{ours.wall / each.wall:11.2f}{ours.cpu / each.cpu:10.2f}"
        for name, each in laps.items()
    ]
    return "\n".join(lines)


def judgement(results: Results) -> tuple[str, bool]:
    """Return every target in words, and whether all are met."""
    return judged(targets(results))


def judged(wanted: Iterable[Target]) -> tuple[str, bool]:
    """Return targets in words, and whether all are met."""
    wanted = list(wanted)
    lines = [f"{'target':<40}{'is':>8}{'limit':>8}"]
    lines += [
        f"{each.name:<40}{each.value:8.2f}{each.limit:8.2f}  {'met' if each.met else 'MISSED'}"
        for each in wanted
    ]
    return "\n".join(lines), all(each.met for each in wanted)
