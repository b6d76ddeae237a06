"""What this machine lets us see and do, asked of the machine itself."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass

import psutil

_INITIAL_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO, include/linux/proc_ns.h
_UNSYNCHRONISED = 0x40  # STA_UNSYNC, include/uapi/linux/timex.h
_TIMEX_SIZE = 208  # bytes of struct timex on 64-bit Linux; a little more does no harm
_STATUS_AT = 40  # offset of its status field there
_CLOCK_SLACK = 2.0  # seconds between two ways to tell the boot time


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of /proc/self/mountinfo (proc(5))."""

    point: str
    kind: str
    options: frozenset[str]


def parse_mounts(text: str) -> tuple[Mount, ...]:
    """Read /proc/self/mountinfo; lines of another form are left out."""
    found = []
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        head, tail = before.split(" "), after.split(" ")
        if dash and len(head) >= 6 and len(tail) >= 3:
            options = frozenset(f"{head[5]},{tail[2]}".split(","))
            found.append(Mount(head[4], tail[0], options))
    return tuple(found)


def mounts() -> tuple[Mount, ...]:
    """Return the mounts that this process sees."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        return parse_mounts(file.read())


def pidfd_problem() -> str:
    """Say why processes cannot be signalled safely here; "" when pidfds work."""
    if not hasattr(os, "pidfd_open") or not hasattr(signal, "pidfd_send_signal"):
        return "this Python was built without pidfds"
    try:
        pin = os.pidfd_open(os.getpid())
    except OSError as error:
        return f"the kernel refuses pidfd_open: {error.strerror}"
    try:
        signal.pidfd_send_signal(pin, 0)  # 0 checks, and sends nothing
    except OSError as error:
        return f"the kernel refuses pidfd_send_signal: {error.strerror}"
    finally:
        os.close(pin)
    return ""


def hidepid(seen: tuple[Mount, ...]) -> str:
    """Return the hidepid option of /proc, "0" where there is none."""
    for mount in reversed(seen):
        if mount.point == "/proc" and mount.kind == "proc":
            given = [each for each in mount.options if each.startswith("hidepid=")]
            return given[0].removeprefix("hidepid=") if given else "0"
    return "0"


def cgroup_version(seen: tuple[Mount, ...]) -> str:
    """Return "v2", "v1", "v1 and v2" or "none"."""
    kinds = {mount.kind for mount in seen} & {"cgroup", "cgroup2"}
    names = {"cgroup": "v1", "cgroup2": "v2"}
    return " and ".join(sorted(names[kind] for kind in kinds)) or "none"


def pid_namespace() -> tuple[bool, bool]:
    """Say whether /proc is of our own pid namespace, and whether that is the machine's first."""
    ours = os.readlink("/proc/self/ns/pid")
    is_own = os.readlink("/proc/self") == str(os.getpid())
    return is_own, ours == _INITIAL_PID_NAMESPACE


def clock_problem() -> str:
    """Say what is wrong with the clock: ages need it to be right, identities do not."""
    by_uptime = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    if abs(psutil.boot_time() - by_uptime) > _CLOCK_SLACK:
        return "the boot time in /proc/stat and the uptime disagree"
    try:
        import ctypes  # noqa: PLC0415 - a Python may lack it, and all else works without
    except ImportError:
        return "this Python has no ctypes to ask whether the clock is synchronised"
    buffer = ctypes.create_string_buffer(_TIMEX_SIZE * 2)
    if ctypes.CDLL(None, use_errno=True).adjtimex(buffer) < 0:
        return "the kernel does not tell whether the clock is synchronised"
    status = int.from_bytes(buffer.raw[_STATUS_AT : _STATUS_AT + 4], sys.byteorder, signed=True)
    return "the clock is not synchronised (NTP)" if status & _UNSYNCHRONISED else ""
