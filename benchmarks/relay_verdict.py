"""What was wanted of the relay, and whether the numbers of this run keep it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from benchmarks.relay_peers import ASYNCIO, HAPROXY, OURS, SOCAT, WHOLE
from benchmarks.verdict import Target


class Numbers(NamedTuple):
    """What one relay can do."""

    cpu: float  # s per GiB
    throughput: float  # Gbit/s
    p50: float  # s, round trip of 64 bytes beside a stream
    p99: float
    one: float  # connections/s, one at a time
    many: float  # 16 at a time


_LESS_IS_BETTER = ("cpu", "p50", "p99")
Results = Mapping[str, Numbers]


def best(measured: Mapping[str, Sequence[float]]) -> Numbers:
    """Return the best of each number: what else the machine does only ever makes it worse."""
    return Numbers(**{
        field: (min if field in _LESS_IS_BETTER else max)(values)
        for field, values in measured.items()
    })  # fmt: skip


def ratio(results: Results, field: str, ours: str, *theirs: str) -> float:
    """Return ours to theirs, or to the better of several."""
    mine, *others = (getattr(results[name], field) for name in (ours, *theirs))
    return float(mine / (min if field in _LESS_IS_BETTER else max)(others))


def targets(results: Results) -> Iterator[Target]:
    """Yield every target with its value."""
    yield Target("CPU per GiB, of asyncio", ratio(results, "cpu", OURS, ASYNCIO), 1 / 4)
    yield Target("CPU per GiB, of haproxy", ratio(results, "cpu", OURS, HAPROXY), 0.8)
    value = ratio(results, "throughput", OURS, ASYNCIO)
    yield Target("throughput, of asyncio", value, 3.0, is_least=True)
    value = ratio(results, "throughput", OURS, HAPROXY, SOCAT)
    yield Target("throughput, of the better of haproxy and socat", value, 1.0, is_least=True)
    value = ratio(results, "p50", OURS, ASYNCIO)
    yield Target("64-byte round trip beside a stream, p50, of asyncio", value, 1 / 20)
    value = ratio(results, "p99", OURS, ASYNCIO)
    yield Target("64-byte round trip beside a stream, p99, of asyncio", value, 1 / 3)
    for field, words in (("one", "one at a time"), ("many", "16 at a time")):
        value = ratio(results, field, OURS, ASYNCIO)
        yield Target(f"connections/s, {words}, of asyncio", value, 2.0, is_least=True)
    value = ratio(results, "cpu", WHOLE, ASYNCIO)
    yield Target("relay mode, both processes: CPU per GiB, of asyncio", value, 1 / 2)
    for field, words in (("one", "one at a time"), ("many", "16 at a time")):
        value = ratio(results, field, WHOLE, ASYNCIO)
        name = f"relay mode: connections/s, {words}, of asyncio"
        yield Target(name, value, 0.5, is_least=True)


def table(results: Results) -> str:
    """Return the numbers of every relay."""
    head = f"{'':<34}{'Gbit/s':>8}{'CPU-s/GiB':>11}{'p50 µs':>9}{'p99 µs':>9}"
    lines = [f"{head}{'conn/s':>9}{'16 at once':>12}"]
    for name, each in results.items():
        lines.append(
            f"{name:<34}{each.throughput:8.1f}{each.cpu:11.2f}{each.p50 * 1e6:9.0f}"
            f"{each.p99 * 1e6:9.0f}{each.one:9.0f}{each.many:12.0f}"
        )
    return "\n".join(lines)
