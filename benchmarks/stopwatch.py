"""Wall time, CPU time and peak memory of whole commands, interpreter start included."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple


class Lap(NamedTuple):
    """One run of a command: seconds, seconds of user and system time, bytes resident."""

    wall: float
    cpu: float
    peak: int


@dataclass(frozen=True, slots=True)
class Laps:
    """All runs of a command. Medians are compared; the least tells how noisy the machine was."""

    laps: tuple[Lap, ...]

    @property
    def wall(self) -> float:
        """The median."""
        return median(lap.wall for lap in self.laps)

    @property
    def cpu(self) -> float:
        """The median."""
        return median(lap.cpu for lap in self.laps)

    @property
    def least_wall(self) -> float:
        """The quickest run's."""
        return min(lap.wall for lap in self.laps)

    @property
    def least_cpu(self) -> float:
        """The least of all runs."""
        return min(lap.cpu for lap in self.laps)

    @property
    def peak(self) -> int:
        """The most memory of all runs."""
        return max(lap.peak for lap in self.laps)


def race(commands: Mapping[str, list[str]], rounds: int) -> dict[str, Laps]:
    """Run every command once a round, in turns, after a round that does not count."""
    for command in commands.values():
        run(command)
    laps: dict[str, list[Lap]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            laps[name].append(run(command))
    return {name: Laps(tuple(each)) for name, each in laps.items()}


def run(command: list[str], output: str = os.devnull) -> Lap:
    """Run a command to its end; raises RuntimeError where it fails.

    Its children count too. Peak memory cannot be less than that of this small process,
    which the kernel hands on through exec.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = (
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, output, flags, 0o600),
    )
    started = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
    _, status, used = os.wait4(pid, 0)
    wall = time.monotonic() - started
    if status != 0:
        raise RuntimeError(f"{' '.join(command)}: exit {os.waitstatus_to_exitcode(status)}")
    return Lap(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
