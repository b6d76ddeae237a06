"""The benchmark itself, as pid 1 of a namespace that holds nobody else."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import NoReturn

from benchmarks import history
from benchmarks.crowd import Crowd
from benchmarks.programs import TREE_SIZE, TREES
from benchmarks.stopwatch import Laps, race, run
from benchmarks.verdict import CLEANUP, OURS, PGREP, PS, PSUTIL, SIZES, judgement, table

DEADLINE = 900  # seconds
_ROUNDS = 7
_BIN = os.path.dirname(sys.executable)
_COMMANDS = {
    OURS: [os.path.join(_BIN, "vscadmin"), "scan", "--json"],
    PS: ["ps", "-eo", "pid,ppid,uid,lstart,args"],
    PGREP: ["pgrep", "-f", "vscode-server"],
    PSUTIL: [sys.executable, "-I", os.path.join(os.path.dirname(__file__), "psutil_sweep.py")],
}


def main(folder: str) -> int:
    """Build the crowd below *folder*, measure, print; return 1 if a target is missed."""
    if os.getpid() != 1:
        print("benchmarks.inside: start `python -m benchmarks` instead", file=sys.stderr)
        return 2
    signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(DEADLINE)
    print(f"Medians of {_ROUNDS} rounds in turns; psutil: pid, ppid, uids, create_time, cmdline.")
    crowd = Crowd(folder)
    crowd.add_servers()
    results: dict[int, dict[str, Laps]] = {}
    for size in SIZES:
        crowd.grow(size)
        _check(os.path.join(folder, "scan.json"), size)
        commands = dict(_COMMANDS)
        if size == SIZES[0]:
            commands[CLEANUP] = _cleanup(folder)
        results[size] = race(commands, _ROUNDS)
        print(f"\n{table(size, results[size])}", flush=True)
    words, met = judgement(results)
    print(f"\n{words}")
    return 0 if met else 1


def _cleanup(folder: str) -> list[str]:
    """Return the command of a whole run, whose store has a year of history."""
    policy, store = history.write_policy(folder)
    command = [_COMMANDS[OURS][0], "cleanup", "--policy", policy]
    run(command)
    history.age(store)
    print(f"\nStore with a year of history: {os.path.getsize(store) >> 20} MiB.")
    return command


def _too_late(_signal: int, _frame: object) -> NoReturn:
    raise TimeoutError(f"not done after {DEADLINE} s")


def _check(output: str, size: int) -> None:
    """Make sure that a scan sees what was built: a quick one that misses trees is no scan."""
    run(_COMMANDS[OURS], output)
    with open(output, encoding="ascii") as file:
        seen = json.load(file)
    sizes = [tree["processes"] for tree in seen["trees"]]
    if sizes != [TREE_SIZE] * TREES:
        raise AssertionError(f"{TREES} trees of {TREE_SIZE} were built, scan reports {sizes}")
    if not size <= seen["processes_seen"] <= size + 2:  # and the scan itself, and its launcher
        raise AssertionError(f"{size} processes were built, scan saw {seen['processes_seen']}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
