"""Numbers for the Prometheus node exporter's textfile collector; never a user's name.

Every series is there in every file, with 0 where there is nothing: one that comes and
goes breaks alerts. What is counted over the kept history falls when the history is pruned,
so these are gauges and not counters.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product as pairs
from typing import TYPE_CHECKING, Any

from vscadmin.cleanup.records import Delivery, Result
from vscadmin.errors import VscadminError
from vscadmin.policy.decide import Plan
from vscadmin.policy.settings import State

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_SCHEMA = "1"  # of names and labels: docs/metrics.md
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class TextfileError(VscadminError):
    """The textfile cannot be written: the run says so, and goes on."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a run tells the monitoring; times are seconds since the epoch, 0 for never.

    *products* are those in scope and *rules* those of the policy: they have series even
    where they have no tree. *trees* and *memory* (bytes) are of this run's scan; *notices*,
    *terminations*, *survivors* (processes) and *regretted* are of the kept history, *history*
    seconds long; regretted is an end whose owner used a new server of that product within
    an hour. *turned_away* counts the runs that found the lock held between the last success
    and this run.
    """

    version: str
    mode: str
    history: int
    last_run: float
    products: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    trees: Mapping[tuple[State, str], int] = field(default_factory=dict)
    memory: Mapping[State, int] = field(default_factory=dict)
    notices: Mapping[tuple[str, Delivery], int] = field(default_factory=dict)
    terminations: Mapping[tuple[str, Result], int] = field(default_factory=dict)
    survivors: int = 0
    regretted: int = 0
    refused: bool = False
    planned_trees: int = 0
    planned_users: int = 0
    turned_away: int = 0
    last_success: float = 0.0
    last_success_seconds: float = 0.0
    store_size: int = 0


def trees_by_state(plan: Plan) -> dict[tuple[State, str], int]:
    """Count a plan's trees by state and product."""
    return dict(Counter((each.verdict.state, each.tree.product) for each in plan))


def memory_by_state(plan: Plan) -> dict[State, int]:
    """Sum up the resident memory of a plan's trees by state, in bytes."""
    found: Counter[State] = Counter()
    for each in plan:
        found[each.verdict.state] += each.tree.rss
    return dict(found)


def write(numbers: Numbers, path: str) -> None:
    """Replace the textfile at *path*, so that whoever reads it sees the old or the new one.

    Raises TextfileError where that is not possible.
    """
    try:
        _replace(path, _text(numbers))
    except OSError as error:
        raise TextfileError(f"{path}: the metrics cannot be written: {error.strerror}") from error


def _text(numbers: Numbers) -> bytes:
    """Return *numbers* in the text format that the collector reads."""
    from prometheus_client import (  # noqa: PLC0415 - 60 ms that only who has a textfile spends
        CollectorRegistry,
        generate_latest,
    )

    class Once:
        def collect(self) -> Iterable[Metric]:
            return _families(numbers)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Once())
    return bytes(generate_latest(registry))


def _families(numbers: Numbers) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily  # noqa: PLC0415

    about = {"version": numbers.version, "schema": _SCHEMA, "mode": numbers.mode}
    yield InfoMetricFamily("vscadmin", "What wrote this file.", about)
    for name, (words, value) in _plain(numbers).items():
        yield GaugeMetricFamily(f"vscadmin_{name}", words, float(value))
    for name, words, labels, samples in _labelled(numbers):
        family = GaugeMetricFamily(f"vscadmin_{name}", words, labels=labels)
        for values, value in samples.items():
            family.add_metric(values, float(value))
        yield family


def _plain(numbers: Numbers) -> dict[str, tuple[str, float]]:
    """Return the metrics without labels: name, help, value."""
    return {
        "history_seconds": ("How far back the store remembers.", numbers.history),
        "survivors_in_history": (
            "Processes that outlived SIGKILL, over the kept history.",
            numbers.survivors,
        ),
        "regretted_in_history": (
            "Ended servers whose owner used a new one within an hour, over the kept history.",
            numbers.regretted,
        ),
        "breaker_refused": (
            "Whether the last run's plan was refused (1) or not (0).",
            numbers.refused,
        ),
        "planned_terminations": (
            "Servers that the last run's plan would end.",
            numbers.planned_trees,
        ),
        "planned_users": (
            "Owners of the servers that the last run's plan would end.",
            numbers.planned_users,
        ),
        "runs_turned_away": (
            "Runs that found another one running, from the last success to this run.",
            numbers.turned_away,
        ),
        "last_run_timestamp_seconds": (
            "When the last run that came to its end began, whatever that was.",
            numbers.last_run,
        ),
        "last_success_timestamp_seconds": (
            "When the last run that did all it had to ended; 0: never.",
            numbers.last_success,
        ),
        "last_success_duration_seconds": (
            "How long that run took.",
            numbers.last_success_seconds,
        ),
        "store_size_bytes": ("Size of the store on disk.", numbers.store_size),
    }


_Samples = Mapping[tuple[str, ...], int]


def _labelled(numbers: Numbers) -> Iterator[tuple[str, str, tuple[str, ...], _Samples]]:
    """Yield the metrics with labels: name, help, labels, values."""
    yield (
        "trees",
        "Servers by their state and product.",
        ("state", "product"),
        _filled(pairs(State, numbers.products), numbers.trees),
    )
    yield (
        "memory_bytes",
        "Resident memory of servers by their state; shared pages count once a process.",
        ("state",),
        _filled(((each,) for each in State), {(key,): n for key, n in numbers.memory.items()}),
    )
    yield (
        "notices_in_history",
        "Servers that notices told of, by rule and result, over the kept history.",
        ("rule", "result"),
        _filled(pairs(numbers.rules, Delivery), numbers.notices),
    )
    yield (
        "terminations_in_history",
        "Attempts to end a server by rule and result, over the kept history.",
        ("rule", "result"),
        _filled(pairs(numbers.rules, Result), numbers.terminations),
    )


def _filled(expected: Iterable[tuple[str, ...]], values: Mapping[Any, int]) -> _Samples:
    """Return *values* with 0 for all that is expected and not there."""
    return {**dict.fromkeys(expected, 0), **values}


def _replace(path: str, text: bytes) -> None:
    """Write a new file beside *path* and rename it there, mode 0644 whatever the umask.

    prometheus_client's own write_to_textfile follows a link where its temporary file goes,
    and the directory is often not root's: the exporter's user could have root write anywhere.
    """
    place = os.open(os.path.dirname(path) or ".", _DIRECTORY)
    name = os.path.basename(path)
    new = f".{name}.new"  # no *.prom: the collector passes over it
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new, dir_fd=place)  # left by a run that was killed; one writes at a time
        try:
            with open(os.open(new, _NEW, 0o600, dir_fd=place), "wb") as file:
                file.write(text)
                os.fchmod(file.fileno(), 0o644)
            os.rename(new, name, src_dir_fd=place, dst_dir_fd=place)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(new, dir_fd=place)
            raise
    finally:
        os.close(place)
