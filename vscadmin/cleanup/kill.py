"""Signals through pidfds: whoever is signalled is whoever was checked.

A process is pinned first, then asked who it is, then signalled through the pin. One that
takes over the pid before that has another start; one that does later is not what the pin
holds. Names, sessions and pids alone never send anything.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import time
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple, Self

from vscadmin.model import Detail, Place, Process, ProcessKey, Uids
from vscadmin.procs.remains import still_there
from vscadmin.procs.scan import ourselves_in, read_some
from vscadmin.procs.stat import parse_cgroups, parse_process, parse_status, whereabouts

_STAT_LIMIT = 2048  # bytes: 52 numbers and a short name
_STATUS_LIMIT = 1 << 16  # bytes: a user may be in many groups
_DELETED = b" (deleted)"
_FILES = 1 << 16  # open files that we ask for: a pin a process
_SPARE = 128  # of them for everything else
_GONE = (FileNotFoundError, ProcessLookupError, ValueError)


class Outcome(StrEnum):
    """What became of one process; all but DONE were not signalled.

    CHANGED runs another program than it did; FOREIGN is not wholly the owner's; ELSEWHERE
    runs in a job, a container or another pid namespace.
    """

    DONE = "done"
    GONE = "gone"
    CHANGED = "changed"
    FOREIGN = "foreign"
    ELSEWHERE = "elsewhere"
    DENIED = "denied"


class Who(NamedTuple):
    """Who a process is, as it is checked before it is signalled.

    *elsewhere* names the job or container it runs in, "" for this node itself.
    """

    start_ticks: int
    uids: Uids
    exe: bytes
    elsewhere: str = ""

    def is_same(self, other: Who) -> bool:
        """Whether it is the same process, of the same user, in the same program."""
        same = (self.start_ticks, self.uids) == (other.start_ticks, other.uids)
        return same and is_same_executable(self.exe, other.exe)


def is_same_executable(one: bytes, other: bytes) -> bool:
    """Whether two targets of /proc/PID/exe are one file, replaced by an update perhaps.

    The kernel adds " (deleted)" to it then, or NFS renames it to .nfsXXXX in its folder.
    """
    one, other = one.removesuffix(_DELETED), other.removesuffix(_DELETED)
    (folder, _, name), (other_folder, _, other_name) = one.rpartition(b"/"), other.rpartition(b"/")
    is_renamed = name.startswith(b".nfs") or other_name.startswith(b".nfs")
    return one == other or (is_renamed and folder == other_folder)


def who_is(pid: int) -> Who | None:
    """Return who *pid* is now, None for one that is gone or dead.

    Raises PermissionError for one that we may not look at.
    """
    try:
        stat = read_some(f"/proc/{pid}/stat", _STAT_LIMIT)
        status = parse_status(read_some(f"/proc/{pid}/status", _STATUS_LIMIT))
        elsewhere = _elsewhere(pid, status.pid_levels)
        start = parse_process(stat, b"", 0, 0).start_ticks
        return Who(start, status.uids, _executable(pid), elsewhere)
    except _GONE:
        return None


def _elsewhere(pid: int, pid_levels: int | None) -> str:
    cgroups = parse_cgroups(read_some(f"/proc/{pid}/cgroup", _STATUS_LIMIT))
    detail = Detail(cgroups=cgroups, pid_levels=pid_levels)
    where, _ = whereabouts(detail, ())
    if where is Place.HERE:
        return ""
    ours = parse_cgroups(read_some("/proc/self/cgroup", _STATUS_LIMIT))
    return whereabouts(detail, ours)[1]


def _executable(pid: int) -> bytes:
    """Return the executable; a process whose first thread has ended has it in the others."""
    with contextlib.suppress(FileNotFoundError):
        return os.fsencode(os.readlink(f"/proc/{pid}/exe"))
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError):
            return os.fsencode(os.readlink(f"/proc/{pid}/task/{thread}/exe"))
    raise ProcessLookupError(f"pid {pid} is dead")


def read_table() -> dict[int, Process]:
    """Read the process table without command lines: those of a hung process can hang us."""
    table = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            uid = os.stat(f"/proc/{name}").st_uid
            stat = read_some(f"/proc/{name}/stat", _STAT_LIMIT)
            table[int(name)] = parse_process(stat, b"", uid, 0)
        except (*_GONE, PermissionError):
            continue
    return table


def thread_states(pid: int) -> set[str]:
    """Return the states of all threads of *pid*, as /proc names them; none where it is gone.

    A process stands when all of them do, and lives while one is no zombie.
    """
    states = set()
    with contextlib.suppress(*_GONE, PermissionError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(*_GONE):
                stat = read_some(f"/proc/{pid}/task/{thread}/stat", _STAT_LIMIT)
                states.add(parse_process(stat, b"", 0, 0).state)
    return states


def send(key: ProcessKey, expected: Who, signum: signal.Signals) -> Outcome:
    """Signal the process *key* names, and never another that took its pid."""
    try:
        pin = os.pidfd_open(key.pid)
    except ProcessLookupError:
        return Outcome.GONE
    except OSError:
        return Outcome.DENIED
    try:
        outcome = _check(key, expected)
        return _through(pin, signum) if outcome is Outcome.DONE else outcome
    finally:
        os.close(pin)


def _check(key: ProcessKey, expected: Who | None, owner: int | None = None) -> Outcome:
    """Ask a pinned process who it is; DONE when it is *key*, *expected* and wholly *owner*'s.

    With an *owner* it has to run on this node itself, too.
    """
    try:
        who = who_is(key.pid)
    except PermissionError:
        return Outcome.DENIED
    if who is None or who.start_ticks != key.start_ticks:
        return Outcome.GONE
    if owner is not None and set(who.uids) != {owner}:
        return Outcome.FOREIGN
    if owner is not None and who.elsewhere:
        return Outcome.ELSEWHERE
    return Outcome.DONE if expected is None or who.is_same(expected) else Outcome.CHANGED


def _through(pin: int, signum: signal.Signals) -> Outcome:
    try:
        signal.pidfd_send_signal(pin, signum)
    except ProcessLookupError:
        return Outcome.GONE
    except PermissionError:
        return Outcome.DENIED
    return Outcome.DONE


class Members:
    """The processes of one tree: those that are known, and among them those held by a pin.

    *expected* says who the first of them were when the tree was judged; of the others it
    is enough that they descend from a known one. Only what is wholly *owner*'s and runs on
    this node itself is ever pinned, ourselves and our ancestors never are.
    """

    def __init__(
        self,
        owner: int,
        known: Iterable[ProcessKey],
        expected: Mapping[ProcessKey, Who] | None = None,
    ) -> None:
        self._owner = owner
        self.known = dict.fromkeys(known)
        self.refused: dict[ProcessKey, Outcome] = {}
        self._expected = expected or {}
        self._pins: dict[ProcessKey, int] = {}
        self._alive: dict[int, ProcessKey] = {}
        self._poll = select.poll()
        self._limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = 0

    def __enter__(self) -> Self:
        soft, hard = (_FILES if each < 0 else each for each in self._limits)  # RLIM_INFINITY is -1
        most = max(soft, min(_FILES, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, self._limits[1]))
        self._most = most - _SPARE
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._pins.values():
            os.close(file)
        self._pins.clear()
        resource.setrlimit(resource.RLIMIT_NOFILE, self._limits)

    def find(self) -> list[Process]:
        """Return those that are there now, parents first; descendants are known from then on."""
        table = read_table()
        ourselves = {1} | ourselves_in(table)  # and pid 1, whoever that is to us
        found = still_there(table, self.known)
        left = [process for pid, process in found.items() if pid not in ourselves]
        self.known.update(dict.fromkeys(process.key for process in left))
        return left

    def grow(self) -> list[Process]:
        """Find, and pin those that are new."""
        found = self.find()
        for process in found:
            if process.key not in self._pins:
                self.hold(process.key)
        return found

    def hold(self, key: ProcessKey) -> bool:
        """Pin a process, or check again who a pinned one is; False: it must not be signalled."""
        if key in self._pins:
            outcome = self._ask(key)
        elif key in self.refused:
            return False
        else:
            outcome = self._pin(key)
        self.refused.pop(key, None)
        if outcome is not Outcome.DONE:
            self.refused[key] = outcome
        return outcome is Outcome.DONE

    def _pin(self, key: ProcessKey) -> Outcome:
        if len(self._pins) >= self._most:
            return Outcome.DENIED
        try:
            file = os.pidfd_open(key.pid)
        except ProcessLookupError:
            return Outcome.GONE
        except OSError:
            return Outcome.DENIED
        if (outcome := self._ask(key)) is Outcome.DONE:
            self._pins[key] = file
            self._alive[file] = key
            self._poll.register(file, select.POLLIN)
        else:
            os.close(file)
        return outcome

    def _ask(self, key: ProcessKey) -> Outcome:
        return _check(key, self._expected.get(key), self._owner)

    def signal(self, key: ProcessKey, signum: signal.Signals) -> Outcome:
        """Signal a process through its pin."""
        return _through(self._pins[key], signum)

    def release(self, key: ProcessKey) -> None:
        """Let go of a pinned process: it is not the tree's any more."""
        file = self._pins.pop(key)
        if self._alive.pop(file, None):
            self._poll.unregister(file)
        os.close(file)

    def living(self) -> set[ProcessKey]:
        """Return the pinned ones that have not ended; zombies have."""
        self._collect(0)
        return set(self._alive.values())

    def is_pinned(self, key: ProcessKey) -> bool:
        """Whether a process is held, dead or alive."""
        return key in self._pins

    def wait(self, until: float) -> bool:
        """Wait for all pinned ones to end, until a moment of time.monotonic().

        New descendants are looked for meanwhile, first often, then each second: once
        their parents are dead nothing tells that they were the tree's.
        """
        pause = 0.05
        while self._alive and time.monotonic() < until:
            again = min(until, time.monotonic() + pause)
            while self._alive and (left := again - time.monotonic()) > 0:
                self._collect(left)
            self.grow()
            pause = min(1.0, pause * 1.1)
        return not self.living()

    def _collect(self, seconds: float) -> None:
        """Forget the pins of those that have ended, waiting for the first one if none has."""
        for file, _ in self._poll.poll(seconds * 1000):
            self._poll.unregister(file)
            del self._alive[file]
