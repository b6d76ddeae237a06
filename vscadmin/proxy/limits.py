"""What a session asks of Slurm against the [limits] of the site.

They guide users, who learn of them before they have waited in a queue; what guards the
cluster are Slurm's own limits. What is not asked for is left to Slurm's defaults.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from vscadmin.errors import suggestion
from vscadmin.proxy.slurm_args import Option
from vscadmin.units import DAY, HOUR, MINUTE, format_exact_duration, format_exact_size

Asked = Mapping[str, Option]

_UNLIMITED = float("inf")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Limits(NamedTuple):
    """The most that a session may ask for; None and an empty list limit nothing."""

    time: int | None = None  # seconds
    nodes: int | None = None
    cpus: int | None = None
    gpus: int | None = None
    memory: int | None = None  # bytes, of all nodes together
    partitions: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    qos: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()


class Excess(NamedTuple):
    """An option over a limit, and what is allowed: "at most 8h"."""

    option: Option
    words: str


def excesses(asked: Asked, limits: Limits) -> Iterator[Excess]:
    """Yield every option of *asked* that is over a limit, or cannot be told not to be."""
    checks = (
        _list(asked, "partition", limits.partitions),
        _list(asked, "account", limits.accounts),
        _list(asked, "qos", limits.qos),
        _most(asked, ("time",), _time, limits.time, format_exact_duration),
        _most(asked, ("nodes",), _nodes, limits.nodes, _counted("nodes")),
        _most(asked, _OF_CPUS, _cpus, limits.cpus, _counted("CPUs")),
        _most(asked, _OF_GPUS, _gpus, limits.gpus, _counted("GPUs")),
        _most(asked, _OF_MEMORY, _memory, limits.memory, format_exact_size),
    )
    for check in checks:
        yield from check


def _list(asked: Asked, name: str, allowed: tuple[str, ...]) -> Iterator[Excess]:
    if name not in asked or not allowed:
        return
    for each in asked[name].value.split(","):
        if each not in allowed:
            yield Excess(asked[name], f"{', '.join(allowed)}{suggestion(each, allowed)}")


def _most(
    asked: Asked,
    names: tuple[str, ...],
    measure: Callable[[Asked], float],
    limit: int | None,
    printed: Callable[[int], str],
) -> Iterator[Excess]:
    """Compare what the options *names* come to with *limit*; the first one given is blamed."""
    given = [asked[name] for name in names if name in asked]
    if limit is None or not given:
        return
    try:
        is_over = measure(asked) > limit
    except ValueError:
        is_over = True
    if is_over:
        yield Excess(given[0], f"at most {printed(limit)}")


def _counted(noun: str) -> Callable[[int], str]:
    return lambda number: f"{number} {noun}"


def parse_time(text: str) -> float:
    """Return the seconds of a Slurm time: minutes, M:S, H:M:S, D-H, D-H:M or D-H:M:S.

    Infinite for UNLIMITED and 0, which ask for no limit. Raises ValueError for anything else.
    """
    if text.upper() in ("UNLIMITED", "INFINITE", "-1"):
        return _UNLIMITED
    match = re.fullmatch(r"(?:([0-9]+)-)?([0-9]+)(?::([0-9]+))?(?::([0-9]+))?", text)
    if not match:
        raise ValueError(f'"{text}" is no time of Slurm\'s')
    days, *parts = match.groups()
    numbers = [int(each) for each in parts if each is not None]
    if days is None and len(numbers) < 3:
        numbers.insert(0, 0)  # minutes come first where there are neither days nor hours
    hours, minutes, seconds = (*numbers, 0, 0)[:3]
    return int(days or 0) * DAY + hours * HOUR + minutes * MINUTE + seconds or _UNLIMITED


def parse_memory(text: str) -> float:
    """Return the bytes of a Slurm size: a number and K, M (also without a unit), G or T.

    Infinite for 0, which asks for all of a node. Raises ValueError for anything else.
    """
    match = re.fullmatch(r"([0-9]+)([KMGT]?)B?", text, re.IGNORECASE)
    if not match:
        raise ValueError(f'"{text}" is no size of Slurm\'s')
    return int(match[1]) * _UNITS[match[2].upper() or "M"] or _UNLIMITED


def _time(asked: Asked) -> float:
    return parse_time(asked["time"].value)


def _number(asked: Asked, name: str, default: int = 1) -> int:
    return int(asked[name].value) if name in asked else default


def _nodes(asked: Asked) -> float:
    """Return the most nodes that are asked for: of "1-4" it is 4."""
    if "nodes" not in asked:
        return 1
    return max(int(each) for each in re.split("[-,:]", asked["nodes"].value))


def tasks(asked: Asked) -> float:
    """Return the tasks that are asked for; raises ValueError where that cannot be told."""
    if "ntasks" in asked:
        return _number(asked, "ntasks")
    return _nodes(asked) * _number(asked, "ntasks-per-node")


_OF_CPUS = ("cpus-per-task", "ntasks", "ntasks-per-node", "mincpus")


def _cpus(asked: Asked) -> float:
    return max(
        tasks(asked) * _number(asked, "cpus-per-task"),
        _nodes(asked) * _number(asked, "mincpus"),
    )


_OF_GPUS = ("gpus", "gpus-per-node", "gpus-per-task", "gres")


def _gpus(asked: Asked) -> float:
    nodes = _nodes(asked)
    return max(
        _devices(asked, "gpus"),
        _devices(asked, "gpus-per-node") * nodes,
        _devices(asked, "gpus-per-task") * tasks(asked),
        _devices(asked, "gres", "gpu") * nodes,
    )


def _devices(asked: Asked, name: str, kind: str = "") -> int:
    """Add up a list such as "2", "a100:2,v100:1" or "gres/gpu:a100:2"; a name alone is one."""
    total = 0
    for each in asked[name].value.split(",") if name in asked else ():
        first, *rest = each.removeprefix("gres/").replace("=", ":").split(":")
        if not kind:
            total += int([first, *rest][-1])
        elif first == kind:
            total += int(rest[-1]) if rest and rest[-1].isdecimal() else 1
    return total


_OF_MEMORY = ("mem", "mem-per-cpu", "mem-per-gpu")


def _memory(asked: Asked) -> float:
    shares = {"mem": _nodes, "mem-per-cpu": _cpus, "mem-per-gpu": _gpus}
    return max(
        parse_memory(asked[name].value) * max(1, share(asked))
        for name, share in shares.items()
        if name in asked
    )
