"""The files of /proc/PID, parsed: bytes in, facts out (proc(5); kernel fs/proc/array.c)."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

from vscadmin.model import Detail, Place, Process, Uids

CMDLINE_LIMIT = 4096  # bytes read of a command line: enough for every server, bounded for others


def parse_process(stat: bytes, cmdline: bytes, uid: int, page_size: int) -> Process:
    """Read a Process from /proc/PID/stat and cmdline; *page_size* is in bytes.

    The name in parentheses is the process's own choice and may hold spaces, newlines
    and ")": fields are counted from the last ")". Raises ValueError when *stat* is cut.
    """
    fields = stat[stat.rfind(b")") + 1 :].split(None, 22)
    if len(fields) < 22:
        raise ValueError(f"{len(fields)} fields after the name in a stat line, 22 wanted")
    # fields[0] is field 3 of proc(5): state
    state, ppid, pgid, sid, tty, _, _, _, _, _, _, user, system, *_, start, _, rss = fields[:22]
    return Process(
        int(stat[: stat.index(b" ")]),
        int(start),
        int(ppid),
        int(pgid),
        int(sid),
        int(tty),
        state.decode("ascii", "replace"),
        int(user) + int(system),
        int(rss) * page_size,
        uid,
        parse_cmdline(cmdline[:CMDLINE_LIMIT]),
    )


def parse_cmdline(data: bytes) -> tuple[bytes, ...]:
    """Split /proc/PID/cmdline at its NULs; empty for kernel threads and zombies."""
    if not data:
        return ()
    return tuple(data.removesuffix(b"\0").split(b"\0"))


class Status(NamedTuple):
    """What is taken from /proc/PID/status; *pid_levels* is None before Linux 4.1."""

    uids: Uids
    pid_levels: int | None


def parse_status(data: bytes) -> Status:
    """Read the four uids and the depth of pid namespaces.

    The kernel escapes newlines in the Name line, so a line's start is the kernel's.
    Raises ValueError when there is no Uid line.
    """
    if (at := data.find(b"\nUid:")) < 0:
        raise ValueError("no Uid line in a status file")
    uids = Uids(*map(int, data[at + 5 : data.find(b"\n", at + 5)].split()))
    if (at := data.find(b"\nNSpid:", at)) < 0:
        return Status(uids, None)
    return Status(uids, len(data[at + 7 : data.find(b"\n", at + 7)].split()))


@lru_cache(maxsize=1024)
def parse_cgroups(data: bytes) -> tuple[str, ...]:
    """Return the cgroup paths of /proc/PID/cgroup, v1 and v2 alike (cgroups(7))."""
    lines = data.decode("utf-8", "backslashreplace").split("\n")
    paths = (line.split(":", 2)[2] for line in lines if line.count(":") >= 2)
    return tuple(dict.fromkeys(paths))


@lru_cache(maxsize=1024)
def place(cgroups: tuple[str, ...], ours: tuple[str, ...]) -> tuple[Place, str]:
    """Say where cgroup paths put a process, and in words which job or container.

    A container that we are in ourselves is our own node, not a container.
    """
    for path in cgroups:
        if job := _slurm_job(path.split("/")):
            return Place.JOB, f"Slurm job {job}"
    own = {_container(path) for path in ours}
    for path in cgroups:
        if (container := _container(path)) and container not in own:
            return Place.CONTAINER, f"container {container}"
    return Place.HERE, ""


def whereabouts(detail: Detail, ours: tuple[str, ...]) -> tuple[Place, str]:
    """Say where a process runs, by its cgroups and its pid namespace, as place() does."""
    where, words = place(detail.cgroups or (), ours)
    if where is Place.HERE and (detail.pid_levels or 1) > 1:
        return Place.CONTAINER, "another pid namespace"
    return where, words


def _slurm_job(components: list[str]) -> str:
    """Return the job id below Slurm's own cgroup, or "".

    That is /slurm*/uid_U/job_N with v1 and *slurmstepd.scope/job_N with v2.
    A user can make cgroups below his own, so "job_N" alone says nothing.
    """
    for index, name in enumerate(components):
        above, top = components[max(0, index - 1)], components[max(0, index - 2)]
        if not (name.startswith("job_") and name[4:].isdigit()):
            continue
        if above == "slurmstepd.scope" or above.endswith("_slurmstepd.scope"):
            return name[4:]
        if above.startswith("uid_") and (top == "slurm" or top.startswith("slurm_")):
            return name[4:]
    return ""


_CONTAINERS = (  # a path component, as systemd and cgroupfs drivers of the runtimes name it
    "docker-*.scope",
    "libpod-*.scope",
    "crio-*.scope",
    "cri-containerd-*.scope",
    "apptainer-*.scope",
    "machine-*.scope",
    "kubepods*",
    "lxc.payload*",
)
_CONTAINER_PARENTS = ("docker", "libpod", "libpod_parent", "lxc", "kubepods", "podman")


def _container(path: str) -> str:
    """Return the component of *path* that names a container, or ""."""
    above = ""
    for name in path.split("/"):
        if any(fnmatchcase(name, pattern) for pattern in _CONTAINERS):
            return name
        if above in _CONTAINER_PARENTS and name:
            return name
        above = name
    return ""
