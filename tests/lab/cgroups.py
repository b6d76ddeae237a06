"""The lab's own directories in the machine's cgroups: by them it finds all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

PREFIX: Final = "vscadmin-lab."

# What Slurm's process tracking and constraints use of version 1.
_WANTED: Final = ("freezer", "cpuset", "memory", "devices", "cpuacct")
_POLL_SECONDS: Final = 0.005


class StillAliveError(Exception):
    """Processes of the lab would not end."""


class Hierarchy(NamedTuple):
    """A mounted hierarchy; *controllers* as its mount option says them, or "v2"."""

    controllers: str
    mount_point: Path


def hierarchies() -> list[Hierarchy]:
    """Return those a lab uses: version 1's where the machine has them, else version 2."""
    v1, v2 = [], []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        mount_point = Path(before.split()[4])
        kind, _, options = after.split(maxsplit=2)
        found = [each for each in options.split(",") if each in _WANTED]
        if kind == "cgroup" and found:
            v1.append(Hierarchy(",".join(each for each in _joined(options)), mount_point))
        elif kind == "cgroup2":
            v2.append(Hierarchy("v2", mount_point))
    return v1 or v2[:1]


def make(lab: str, node: str) -> list[Path]:
    """Make the directories of *node*; return the files through which a process joins them."""
    files = []
    for hierarchy in hierarchies():
        directory = hierarchy.mount_point / (PREFIX + lab) / node
        for each in (directory.parent, directory):
            each.mkdir(exist_ok=True)
            _open_cpuset(each)
        files.append(directory / "cgroup.procs")
    return files


def labs() -> set[str]:
    """Return the names of the labs that have directories here."""
    found: set[str] = set()
    for hierarchy in hierarchies():
        directories = hierarchy.mount_point.glob(PREFIX + "*/")
        found.update(each.name.removeprefix(PREFIX) for each in directories)
    return found


def members(lab: str, node: str = "") -> set[int]:
    """Return the pids below the lab's directories, or below those of one *node*."""
    found: set[int] = set()
    for directory in _directories(lab, node):
        with contextlib.suppress(FileNotFoundError, OSError):  # a job's own, gone meanwhile
            found.update(map(int, (directory / "cgroup.procs").read_text().split()))
    return found - {0}


def end(lab: str, seconds: float = 10) -> None:
    """Kill every process below the lab's directories, and remove these."""
    deadline = time.monotonic() + seconds
    while left := members(lab):
        if time.monotonic() > deadline:
            raise StillAliveError(f"lab {lab}: pids {sorted(left)} would not end")
        # Namespaces first: what waits for one outside then reaps it, and ends by itself.
        for pid in {pid for pid in left if not _is_of_our_namespace(pid)} or left:
            _kill(lab, pid)
        time.sleep(_POLL_SECONDS)
    for directory in sorted(_directories(lab), reverse=True):
        with contextlib.suppress(FileNotFoundError):
            directory.rmdir()


def _is_of_our_namespace(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid")
    except OSError:
        return False


def _joined(options: str) -> Iterator[str]:
    """Yield the controllers among a mount's *options*: those mounted together stay together."""
    known = Path("/proc/cgroups").read_text()
    names = {line.split()[0] for line in known.splitlines() if not line.startswith("#")}
    yield from (each for each in options.split(",") if each in names)


def _open_cpuset(directory: Path) -> None:
    """Give a new cpuset its parent's processors: an empty one takes no process."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        ours, parents = directory / name, directory.parent / name
        if ours.exists() and parents.exists() and not ours.read_text().strip():
            ours.write_text(parents.read_text())


def _directories(lab: str, node: str = "") -> list[Path]:
    tops = (each.mount_point / (PREFIX + lab) / node for each in hierarchies())
    return [Path(path) for top in tops for path, _, _ in os.walk(top)]


def _kill(lab: str, pid: int) -> None:
    """Kill *pid*, if it is still one of the lab's once it is pinned."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        pin = os.pidfd_open(pid)
        try:
            if f"/{PREFIX}{lab}/" in Path(f"/proc/{pid}/cgroup").read_text():
                signal.pidfd_send_signal(pin, signal.SIGKILL)
        finally:
            os.close(pin)
