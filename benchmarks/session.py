"""What one session costs while nothing goes through it, and how soon its shell answers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import median

from benchmarks.relay_peers import Peer, session_command
from benchmarks.verdict import Target

_ROUNDS = 31  # the median of nine came out between 1.13 and 1.33 of the same thing
_QUIET = 2.0  # s
_MEMORY = 10.0  # MB, of 10^6 bytes
_THREADS = 3
_FIRST_BYTE = 1.2
_BARE = [sys.executable, "-c", "import asyncio, argparse"]
_BASH = ["bash", "-c", "echo here"]


def targets(folder: str, session: Peer) -> Iterator[Target]:
    """Measure an idle *session*, and then how soon others begin; files go to *folder*."""
    pid = session.processes[0].pid
    yield Target("idle session: unique memory of the login process, MB", _unique(pid), _MEMORY)
    threads = len(os.listdir(f"/proc/{pid}/task"))
    yield Target("idle session: threads of the login process", threads, _THREADS)
    before = session.cpu()
    time.sleep(_QUIET)
    spent = 100 * (session.cpu() - before) / _QUIET
    yield Target("idle session: CPU of all its processes, %", spent, 0.05)
    ratios = [_first_byte(folder) / (_whole(_BARE) + _whole(_BASH)) for _ in range(_ROUNDS + 1)]
    name = "first byte of the shell, of asyncio, argparse and bash"
    yield Target(name, median(ratios[1:]), _FIRST_BYTE)


def _unique(pid: int) -> float:
    """Return the memory that no other process shares, in MB: Private_Clean and Private_Dirty."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        rows = [line.split() for line in file if line.startswith("Private_")]
    return sum(int(row[1]) for row in rows) * 1024 / 1e6


def _first_byte(folder: str) -> float:
    """Return the seconds from the start of a session until its shell says something."""
    started = time.monotonic()
    with subprocess.Popen(
        session_command(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "HOME": folder}, bufsize=0,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"echo here\n")
        assert process.stdout.read(1) == b"h"
        spent = time.monotonic() - started
        process.stdin.write(b"exit\n")
    return spent


def _whole(command: list[str]) -> float:
    """Return the seconds that a whole run of a command takes."""
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started
