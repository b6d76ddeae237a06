"""One pass over /proc, and a second, closer look at the few processes that may matter.

Pass one reads three things of every process; pass two what only candidates need.
A process that vanishes midway is skipped; one that cannot be read is kept as unreadable.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping

from vscadmin.errors import ProcessTableError
from vscadmin.model import Detail, Process, ProcessKey, Snapshot
from vscadmin.procs.catalogue import Catalogue
from vscadmin.procs.sockets import read_net
from vscadmin.procs.stat import CMDLINE_LIMIT, Status, parse_cgroups, parse_process, parse_status
from vscadmin.procs.trees import concerned, executables_in, sightings

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_STAT_LIMIT = 2048  # bytes; 52 numbers and a name of 15 bytes, 64 for kernel threads
_FILE_LIMIT = 1 << 16  # bytes of any other file of /proc/PID
# How a process that ends while it is read shows itself, a stat line cut short included.
_GONE = (FileNotFoundError, ProcessLookupError, ValueError)


def take_snapshot(
    catalogue: Catalogue, recorded: Mapping[ProcessKey, ProcessKey] | None = None
) -> Snapshot:
    """Read the process table, and the details of whatever *catalogue* may know.

    *recorded* maps processes that earlier scans saw as members to their tree's root.
    Raises ProcessTableError where /proc is no process table.
    """
    boot = boot_id()
    processes, unreadable = read_processes()
    ourselves = ourselves_in(processes)
    sighted = sightings(processes.values(), catalogue, ourselves)
    near, maybe = concerned(processes, sighted, recorded or {})
    details = read_details(processes, near)
    links = {pid: _read_link(f"/proc/{pid}/exe") for pid in maybe}
    orphans = {pid: os.fsencode(exe) for pid, exe in links.items() if exe is not None}
    belonging = executables_in(orphans, processes, sighted, details)
    details |= read_details(processes, belonging)
    namespaces = {each.net_ns: pid for pid, each in details.items() if each.net_ns and each.sockets}
    taken_at = time.time()
    return Snapshot(
        boot_id=boot,
        boot_time=_boot_time(taken_at),
        taken_at=taken_at,
        ticks_per_second=_TICKS,
        processes=processes,
        details=details,
        nets={name: read_net(pid, name) for name, pid in namespaces.items()},
        unreadable=tuple(unreadable),
        ourselves=ourselves,
        our_cgroups=parse_cgroups(_read(f"/proc/{os.getpid()}/cgroup") or b""),
    )


def boot_id() -> str:
    """Return the id of this boot; raises ProcessTableError where /proc does not tell."""
    found = _read("/proc/sys/kernel/random/boot_id")
    if not found:
        raise ProcessTableError("/proc: is not a process table (no boot_id in it)")
    return found.decode("ascii", "replace").strip()


def _boot_time(now: float) -> float:
    """Return when the boot was, by the clock as it was set when it showed *now*, just before."""
    return now - time.clock_gettime(time.CLOCK_BOOTTIME)


def read_processes() -> tuple[dict[int, Process], list[int]]:
    """Pass one: every process there is, and the pids that are listed but could not be read.

    Raises ProcessTableError when /proc cannot be listed or lists nobody.
    """
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError as error:
        raise ProcessTableError(f"/proc: cannot be listed: {error.strerror}") from error
    processes: dict[int, Process] = {}
    unreadable: list[int] = []
    for pid in pids:
        try:
            processes[pid] = read_process(pid)
        except _GONE:
            continue
        except OSError:
            unreadable.append(pid)
    if not processes:
        raise ProcessTableError("/proc: lists no process that can be read")
    return processes, unreadable


def read_process(pid: int) -> Process:
    """Read one process; raises OSError or ValueError when it is gone or cannot be read.

    /proc/PID itself belongs to its effective uid, dumpable or not.
    """
    folder = f"/proc/{pid}"
    stat = read_some(f"{folder}/stat", _STAT_LIMIT)
    cmdline = read_some(f"{folder}/cmdline", CMDLINE_LIMIT)
    return parse_process(stat, cmdline, os.stat(folder).st_uid, _PAGE)


def ourselves_in(processes: Mapping[int, Process]) -> frozenset[int]:
    """Return this process and all its ancestors."""
    found: set[int] = set()
    pid = os.getpid()
    while pid in processes and pid not in found:
        found.add(pid)
        pid = processes[pid].ppid
    return frozenset(found)


def read_details(processes: dict[int, Process], pids: Iterable[int]) -> dict[int, Detail]:
    """Pass two: look closely at *pids*, and re-read who they are.

    A process that ended, or whose pid is another's by now, leaves *processes*.
    """
    details = {}
    for pid in pids:
        detail = _read_detail(pid)
        try:
            now = read_process(pid)
        except _GONE:
            del processes[pid]
            continue
        except OSError:
            details[pid] = Detail()
            continue
        if now.key != processes[pid].key:
            del processes[pid]
            continue
        processes[pid] = now
        details[pid] = _of_a_zombie(detail) if now.state == "Z" else detail
    return details


def _read_detail(pid: int) -> Detail:
    folder = f"/proc/{pid}"
    status = _read_status(folder)
    cgroup = _read(f"{folder}/cgroup")
    exe = _read_link(f"{folder}/exe")
    net_ns = _read_link(f"{folder}/ns/net")
    return Detail(
        uids=status.uids if status else None,
        exe=None if exe is None else os.fsencode(exe),
        cgroups=None if cgroup is None else parse_cgroups(cgroup),
        pid_levels=status.pid_levels if status else None,
        net_ns=net_ns,
        sockets=_read_sockets(folder),
    )


def _read_status(folder: str) -> Status | None:
    try:
        return parse_status(read_some(f"{folder}/status", _FILE_LIMIT))
    except (OSError, ValueError):
        return None


def _of_a_zombie(detail: Detail) -> Detail:
    """Return a zombie's detail: it holds nothing any more, so what is missing is empty."""
    return detail._replace(exe=detail.exe or b"", net_ns=detail.net_ns or "", sockets=frozenset())


def _read_sockets(folder: str) -> frozenset[int] | None:
    """Return the inodes of the open sockets below /proc/PID/fd."""
    try:
        place = os.open(f"{folder}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        links = [_read_link(name, place) for name in os.listdir(place)]
    except OSError:
        return None
    finally:
        os.close(place)
    return frozenset([int(link[8:-1]) for link in links if link and link.startswith("socket:[")])


def _read_link(path: str, place: int | None = None) -> str | None:
    """Return what a link points to, *path* below the directory that *place* is open on."""
    try:
        return os.readlink(path, dir_fd=place)
    except OSError:
        return None


def _read(path: str) -> bytes | None:
    try:
        return read_some(path, _FILE_LIMIT)
    except OSError:
        return None


def read_some(path: str, limit: int) -> bytes:
    """Read at most *limit* bytes with plain system calls: a file object would cost twice."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, limit)
    finally:
        os.close(file)
