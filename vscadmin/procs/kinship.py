"""Parents, children and orphans in a process table that was not read in one instant."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from vscadmin.model import Process

# Programs that adopt the orphans below them (PR_SET_CHILD_SUBREAPER, prctl(2)): the flag
# itself cannot be read from outside.
_SUBREAPERS = frozenset(
    {b"tini", b"dumb-init", b"docker-init", b"catatonit", b"conmon", b"s6-svscan", b"runsvdir"}
)


class Kinship:
    """Parents and children of a process table, links re-checked by start order.

    The table is not read in one instant: a parent's pid may have been reused, and a
    parent that started after its child is not its parent.
    """

    def __init__(self, processes: Mapping[int, Process]) -> None:
        self._processes = processes
        self._children: dict[int, list[int]] = {}
        for process in processes.values():
            self._children.setdefault(process.ppid, []).append(process.pid)

    def parent(self, process: Process) -> Process | None:
        """Return the live parent of *process*."""
        parent = self._processes.get(process.ppid)
        if parent is None or parent.start_ticks > process.start_ticks:
            return None
        return parent

    def ancestors(self, process: Process) -> Iterator[Process]:
        """Yield the parent, its parent and so on; bounded, whatever the table says."""
        seen = {process.pid}
        above = self.parent(process)
        while above is not None and above.pid not in seen:
            seen.add(above.pid)
            yield above
            above = self.parent(above)

    def depth(self, process: Process) -> int:
        """Return how many ancestors *process* has."""
        return sum(1 for _ in self.ancestors(process))

    def outermost(self, pids: Collection[int]) -> list[int]:
        """Return those of *pids* that are below no other of them, in order."""
        return [
            pid
            for pid in sorted(pids)
            if not any(above.pid in pids for above in self.ancestors(self._processes[pid]))
        ]

    def family(self, pid: int) -> list[int]:
        """Return *pid* and all its descendants."""
        found, seen = [pid], {pid}
        for each in found:
            for child in self._children.get(each, ()):
                parent = self.parent(self._processes[child])
                if child not in seen and parent is not None:
                    seen.add(child)
                    found.append(child)
        return found

    def is_orphan(self, process: Process) -> bool:
        """Whether the parent is pid 1 or a sub-reaper: evidence, never proof of being unused."""
        if process.ppid == 1:
            return True
        parent = self.parent(process)
        return parent is not None and _is_subreaper(parent.argv)


def parent_words(root: Process, parent: Process | None) -> str:
    """Say what the parent of a tree's root is."""
    if root.ppid == 1:
        return "pid 1"
    if root.ppid == 0:
        return "outside this pid namespace"
    if parent is None:
        return f"pid {root.ppid}, which is gone"
    name = parent.argv[0].rpartition(b"/")[2] if parent.argv else b"?"
    return f"pid {parent.pid} ({name.decode('utf-8', 'backslashreplace')})"


def _is_subreaper(argv: tuple[bytes, ...]) -> bool:
    name = argv[0].rpartition(b"/")[2] if argv else b""
    return (name == b"systemd" and b"--user" in argv) or name in _SUBREAPERS
