"""The lab's own directories in the machine's cgroups: by them it finds all that it started.

A lab has them in every hierarchy, so that nobody's logout and no limit of a session reaches it.
In version 2 it asks for no controllers: groups without any may hold processes and groups both.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Final, NamedTuple

from tests.lab.errors import StillAliveError
from tests.lab.mounts import Mount, mounted

PREFIX: Final = "vscadmin-lab."
V2: Final = "v2"

# What Slurm's process tracking and constraints use of version 1.
_SLURMS: Final = {"freezer", "cpuset", "memory", "devices", "cpuacct"}
_POLL_SECONDS: Final = 0.005


class Hierarchy(NamedTuple):
    """A mounted hierarchy; *controllers* as its mount option says them, or "v2"."""

    controllers: str
    mount_point: Path


def parse(mounts: list[Mount]) -> list[Hierarchy]:
    """Return the hierarchies among *mounts*, each once, where all of it is mounted."""
    found: dict[str, Hierarchy] = {}
    for mount in mounts:
        if mount.root == "/" and mount.kind in {"cgroup", "cgroup2"}:
            controllers = V2 if mount.kind == "cgroup2" else _controllers(mount)
            found.setdefault(mount.device, Hierarchy(controllers, mount.point))
    return list(found.values())


def hierarchies() -> list[Hierarchy]:
    """Return those of this machine."""
    return parse(mounted())


def for_slurm(found: list[Hierarchy]) -> list[str]:
    """Return the controllers that a node mounts: version 1's if Slurm can use them, else "v2"."""
    all_of_them = [each.controllers for each in found]
    v1 = [each for each in all_of_them if _SLURMS & set(each.split(","))]
    return v1 or [each for each in all_of_them if each == V2]


def make(lab: str, node: str) -> None:
    """Make the directories of *node*."""
    for hierarchy in hierarchies():
        directory = hierarchy.mount_point / (PREFIX + lab) / node
        for each in (directory.parent, directory):
            each.mkdir(exist_ok=True)
            _open_cpuset(each)


def joins(lab: str, node: str) -> list[str]:
    """Return the files through which a process joins *node*."""
    files = (top / node / "cgroup.procs" for top in _tops(lab))
    return [str(file) for file in files if file.exists()]


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
        with contextlib.suppress(OSError):  # a job's own, gone meanwhile
            found.update(map(int, (directory / "cgroup.procs").read_text().split()))
    return found - {0}


def end(lab: str, seconds: float = 60) -> None:
    """Kill every process below the lab's directories, and remove these."""
    deadline = time.monotonic() + seconds
    while directories := _directories(lab):
        left = members(lab)
        if time.monotonic() > deadline:
            what = f"pids {sorted(left)}" if left else f"the cgroup {directories[-1]}"
            raise StillAliveError(f"lab {lab}: {what} would not end")
        # Namespaces first: what waits for one outside then reaps it, and ends by itself.
        for pid in {pid for pid in left if not _is_of_our_namespace(pid)} or left:
            _kill(lab, pid)
        if not left:
            _remove(directories)
        time.sleep(_POLL_SECONDS)


def _remove(directories: list[Path]) -> None:
    """Remove what can be: the kernel may need a moment after the last process."""
    for directory in sorted(directories, reverse=True):
        with contextlib.suppress(OSError):
            directory.rmdir()


def _is_of_our_namespace(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid")
    except OSError:
        return False


def _controllers(mount: Mount) -> str:
    """Return the controllers, or the name, by which the hierarchy can be mounted again."""
    known = Path("/proc/cgroups").read_text()
    names = {line.split()[0] for line in known.splitlines() if not line.startswith("#")}
    return ",".join(each for each in mount.options if each in names or each.startswith("name="))


def _open_cpuset(directory: Path) -> None:
    """Give a new cpuset its parent's processors: an empty one takes no process."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        ours, parents = directory / name, directory.parent / name
        if ours.exists() and parents.exists() and not ours.read_text().strip():
            ours.write_text(parents.read_text())


def _tops(lab: str) -> list[Path]:
    return [each.mount_point / (PREFIX + lab) for each in hierarchies()]


def _directories(lab: str, node: str = "") -> list[Path]:
    return [Path(path) for top in _tops(lab) for path, _, _ in os.walk(top / node)]


def _kill(lab: str, pid: int) -> None:
    """Kill *pid*, if it is still one of the lab's once it is pinned."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        pin = os.pidfd_open(pid)
        try:
            if f"/{PREFIX}{lab}/" in Path(f"/proc/{pid}/cgroup").read_text():
                signal.pidfd_send_signal(pin, signal.SIGKILL)
        finally:
            os.close(pin)
