"""From processes to trees: which process is the root of a server, and what belongs to it.

Members are descendants through live parents. A process that was adopted by pid 1 belongs
only if its executable, argv[0] or script lies in the server's folder, or an earlier scan
saw it as a descendant, and never one in a job or container that the server is not in.
Session and process group are shared with the user's own jobs, so they only settle to which
of several servers in one folder such a process belongs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from vscadmin.escape import command_line
from vscadmin.model import Client, Detail, Place, Process, ProcessKey, Snapshot, Tree
from vscadmin.procs.catalogue import Catalogue, Match, Role, exe_agrees, lies_in
from vscadmin.procs.clients import Party, Sockets, connections, stated
from vscadmin.procs.kinship import Kinship, parent_words
from vscadmin.procs.stat import whereabouts

_LONGEST_GRACE = 9  # digits of seconds in argv; more is nonsense


@dataclass(frozen=True, slots=True)
class Forest:
    """The trees of a snapshot, and why processes that looked like servers are none."""

    trees: tuple[Tree, ...]
    rejected: Mapping[int, str] = field(default_factory=dict)


def sightings(
    processes: Iterable[Process], catalogue: Catalogue, ourselves: frozenset[int]
) -> dict[int, Match]:
    """Return the processes whose argv looks like a server's; never ourselves or an ancestor."""
    return {
        process.pid: match
        for process in processes
        if (match := catalogue.match(process.argv)) is not None and process.pid not in ourselves
    }


def concerned(
    processes: Mapping[int, Process],
    sighted: Mapping[int, Match],
    recorded: Mapping[ProcessKey, ProcessKey],
) -> tuple[set[int], set[int]]:
    """Say what pass two must read: all of the first pids, and the executable of the second.

    The first are the sightings, their descendants and what an earlier scan recorded; the
    second the other orphans of the same owners, which may belong by their executable.
    """
    kin = Kinship(processes)
    folders = {match.folder for match in sighted.values() if match.folder}
    owners = {processes[pid].uid for pid in sighted}
    near = {member for pid in sighted for member in kin.family(pid)}
    maybe: set[int] = set()
    for process in processes.values() if sighted else ():
        if process.uid not in owners or process.pid in near or not kin.is_orphan(process):
            continue
        if process.key in recorded or lies_in(process.argv, None, folders):
            near.update(kin.family(process.pid))
        else:
            maybe.add(process.pid)
    return near, maybe - near


def executables_in(
    exes: Mapping[int, bytes],
    processes: Mapping[int, Process],
    sighted: Mapping[int, Match],
    details: Mapping[int, Detail],
) -> set[int]:
    """Return those of *exes* that lie in the folder of a sighted server, with descendants."""
    folders = set(_folders(sighted, sighted, details))
    found = [pid for pid, exe in exes.items() if lies_in(processes[pid].argv, exe, folders)]
    if not found:
        return set()
    kin = Kinship(processes)
    return {member for pid in found for member in kin.family(pid)}


def _folders(
    pids: Iterable[int], matches: Mapping[int, Match], details: Mapping[int, Detail]
) -> Iterator[bytes]:
    """Yield the folders of the servers among *pids*, as argv and as the kernel spell them.

    A folder of one component is shared by all servers of a user and proves nothing.
    """
    for pid in pids:
        match = matches.get(pid)
        if match is None or len(match.pattern.folder) < 2:
            continue
        yield match.folder
        exe = details.get(pid, Detail()).exe
        if exe and any(rule.startswith("folder/") for rule in match.pattern.exe):
            yield exe.removesuffix(b" (deleted)").rpartition(b"/")[0]


@dataclass(slots=True)
class _Sapling:
    """A tree in the making."""

    root: Process
    match: Match
    leftover: bool
    pids: list[int]
    folders: set[bytes]
    adopted: set[int] = field(default_factory=set)


def _join(home: _Sapling, family: list[int], grown: list[_Sapling]) -> None:
    """Move *family* into *home*, and the trees of *grown* that grow out of it."""
    inner = [each for each in grown if each is not home and each.root.pid in family]
    for each in inner:
        grown.remove(each)
        home.folders |= each.folders
    others = {pid for each in grown if each is not home for pid in each.pids}
    joining = {*family, *(pid for each in inner for pid in each.pids)} - others
    home.adopted |= joining.difference(home.pids)
    home.pids = list({*home.pids, *joining} - others)


class _Forester:
    """Finds the trees of one snapshot."""

    def __init__(
        self,
        snapshot: Snapshot,
        catalogue: Catalogue,
        recorded: Mapping[ProcessKey, ProcessKey],
    ) -> None:
        self.snapshot = snapshot
        self.catalogue = catalogue
        self.recorded = recorded
        self.processes = snapshot.processes
        self.kin = Kinship(snapshot.processes)
        self.nets = {name: Sockets(table) for name, table in snapshot.nets.items()}
        self.rejected: dict[int, str] = {}
        self.matches: dict[int, Match] = {}
        known = (self.processes[pid] for pid in snapshot.details if pid in self.processes)
        for pid, match in sightings(known, catalogue, snapshot.ourselves).items():
            if reason := self._doubt(self.processes[pid], match):
                self.rejected[pid] = reason
            else:
                self.matches[pid] = match

    def _doubt(self, process: Process, match: Match) -> str:
        """Say why a process that looks like *match* is none; "" if it may be one."""
        exe = self._detail(process.pid).exe
        looks = f"looks like {match.family.title} ({match.pattern.name}), but"
        if exe is not None and not exe_agrees(match, exe):
            wanted = " or ".join(match.pattern.exe)
            return f"{looks} its executable is {exe.decode('utf-8', 'replace')}, not {wanted}"
        if match.layout.orphans_only and not self.kin.is_orphan(process):
            return f"{looks} its parent is still there"
        return ""

    def _detail(self, pid: int) -> Detail:
        return self.snapshot.details.get(pid, Detail())

    def saplings(self) -> list[_Sapling]:
        """Return the servers' trees first, then what outlived its server.

        That may have started another server since, which is part of its tree, as it would be
        with the first one still there: no process is in two trees.
        """
        grown = [self._plant(pid, leftover=False) for pid in self._roots()]
        taken = {pid for sapling in grown for pid in sapling.pids}
        for stray in self._strays(taken):
            if stray.pid in taken:
                continue
            family = self._family(stray.pid)
            home = self._home(stray, family, grown)
            if home is None and stray.pid in self.matches:
                home = self._plant(stray.pid, leftover=True)
                grown.append(home)
            if home is not None:
                _join(home, family, grown)
                taken.update(family)
        return grown

    def _roots(self) -> list[int]:
        """Return the servers that are not below another server."""
        servers = {pid for pid, match in self.matches.items() if match.pattern.role is Role.ROOT}
        return self.kin.outermost(servers)

    def _plant(self, pid: int, *, leftover: bool) -> _Sapling:
        pids = self._family(pid)
        folders = set(_folders(pids, self.matches, self.snapshot.details))
        return _Sapling(self.processes[pid], self.matches[pid], leftover, pids, folders)

    def _family(self, pid: int) -> list[int]:
        return [each for each in self.kin.family(pid) if each not in self.snapshot.ourselves]

    def _strays(self, taken: set[int]) -> list[Process]:
        """Return the orphans that pass two read and no tree has yet, the outermost first."""
        free = self.processes.keys() & self.snapshot.details.keys() - taken
        strays = [self.processes[pid] for pid in free if self.kin.is_orphan(self.processes[pid])]
        return sorted(strays, key=lambda each: (each.start_ticks, self.kin.depth(each), each.pid))

    def _home(self, stray: Process, family: list[int], grown: list[_Sapling]) -> _Sapling | None:
        """Return the tree that an adopted process belongs to, None when that is not certain.

        A server that *family*, the stray's, has started is not the one that the stray has
        lost: it is home only where there is no other.
        """
        if stray.pid in self.snapshot.ourselves:
            return None
        root = self.recorded.get(stray.key)
        exe = self._detail(stray.pid).exe
        known = [sapling for sapling in grown if root is not None and sapling.root.key == root]
        near = known or [
            sapling
            for sapling in grown
            if sapling.root.uid == stray.uid and lies_in(stray.argv, exe, sapling.folders)
        ]
        near = self._in_reach(stray, near)
        near = [sapling for sapling in near if sapling.root.pid not in family] or near
        if len(near) > 1:
            near = [
                sapling
                for sapling in near
                if any(self.processes[pid].sid == stray.sid for pid in sapling.pids)
            ]
        return near[0] if len(near) == 1 else None

    def _in_reach(self, stray: Process, near: list[_Sapling]) -> list[_Sapling]:
        """Return the trees that run where an adopted process does: a job's is not the node's.

        One of the node itself may have come from any: it is left to a tree elsewhere, which
        is never acted on, rather than be one of its own.
        """
        where = self._place(stray.pid)
        same = [sapling for sapling in near if self._place(sapling.root.pid) == where]
        return near if not same and where[0] is Place.HERE else same

    def companions(self, saplings: list[_Sapling], uid: int) -> frozenset[int]:
        """Return the sockets of the helpers that serve the servers of *uid*."""
        return frozenset(
            inode
            for sapling in saplings
            if sapling.match.layout.companion and sapling.root.uid == uid
            for pid in sapling.pids
            for inode in self._detail(pid).sockets or ()
        )

    def tree(self, sapling: _Sapling, saplings: list[_Sapling]) -> Tree:
        """Look closely at one tree: who is connected, where it runs, what could not be read."""
        root, family, layout = sapling.root, sapling.match.family, sapling.match.layout
        members = sorted(
            (self.processes[pid] for pid in sapling.pids),
            key=lambda each: (each.pid != root.pid, *_by_age(each)),
        )
        parent = self.kin.parent(root)
        where, where_words = self._place(root.pid)
        return Tree(
            root=root,
            members=tuple(members),
            product=family.name,
            title=family.title,
            layout=f"{layout.name}, server gone" if sapling.leftover else layout.name,
            verified=family.verified,
            report_only=family.report_only,
            started_at=self.snapshot.started_at(root),
            orphan=self.kin.is_orphan(root),
            parent=parent_words(root, parent),
            connections=connections(
                self._party(sapling, saplings),
                self.snapshot.details,
                self.nets,
                {each.pid: each.argv for each in members},
            ),
            uids=self._detail(root.pid).uids,
            place=where,
            place_words=where_words,
            unreadable=tuple(self._unreadable(root)),
            foreign=tuple(each for each in members if self._is_foreign(each, root.uid)),
            elsewhere=tuple(self._elsewhere(members, where_words)),
            agents=self._agents(members),
            servers=sum(1 for pid in sapling.pids if self._listens(pid)),
            grace=self._grace(sapling, members),
            host_started_at=self._host_started_at(members),
        )

    def _party(self, sapling: _Sapling, saplings: list[_Sapling]) -> Party:
        is_helper = sapling.match.layout.companion
        tunnels = frozenset(pid for pid in sapling.pids if self._is_tunnel(pid))
        return Party(
            members=frozenset(sapling.pids),
            servers={pid: self.matches[pid] for pid in sapling.pids if self._listens(pid)},
            launchers=tunnels,
            client=Client.LAUNCHER if tunnels else sapling.match.layout.client,
            companions=frozenset() if is_helper else self.companions(saplings, sapling.root.uid),
            loose=self._loose(sapling),
        )

    def _is_tunnel(self, pid: int) -> bool:
        """Whether *pid* carries clients to the servers below it, as `code tunnel` does."""
        match = self.matches.get(pid)
        if match is None or match.pattern.role is not Role.ROOT:
            return False
        return match.layout.client is Client.LAUNCHER and not self._listens(pid)

    def _loose(self, sapling: _Sapling) -> frozenset[int]:
        """Return the members any connection of which counts: nobody known listens for them.

        All of them where the server is gone, or where none is recognised: its node may be
        a wrapper or a link that the catalogue does not know. Else those that were adopted:
        they may still hold a client of a server that is gone.
        """
        is_tunnel = sapling.match.layout.client is Client.LAUNCHER
        known = any(self._listens(pid) for pid in sapling.pids)
        doubted = any(pid in self.rejected for pid in sapling.pids)
        if sapling.leftover or not (is_tunnel or (known and not doubted)):
            return frozenset(sapling.pids)
        return frozenset(sapling.adopted)

    def _listens(self, pid: int) -> bool:
        return pid in self.matches and self.matches[pid].pattern.listens is not None

    def _place(self, pid: int) -> tuple[Place, str]:
        return whereabouts(self._detail(pid), self.snapshot.our_cgroups)

    def _elsewhere(self, members: Iterable[Process], here: str) -> Iterator[tuple[Process, str]]:
        for each in members:
            where, words = self._place(each.pid)
            if where is not Place.HERE and words != here:
                yield each, words

    def _unreadable(self, root: Process) -> Iterator[str]:
        detail = self._detail(root.pid)
        for value, words in (
            (detail.uids, "user ids"),
            (detail.exe, "executable"),
            (detail.cgroups, "cgroup"),
        ):
            if value is None:
                yield f"the {words} of pid {root.pid} could not be read"

    def _is_foreign(self, process: Process, uid: int) -> bool:
        uids = self._detail(process.pid).uids
        return process.uid != uid if uids is None else set(uids) != {uid}

    def _agents(self, members: Iterable[Process]) -> tuple[str, ...]:
        names = (self.catalogue.agent(each.argv) for each in members)
        return tuple(sorted(name for name in names if name))

    def _grace(self, sapling: _Sapling, members: Iterable[Process]) -> tuple[int, str] | None:
        """Return the reconnection grace: the longest that argv states, else the catalogue's."""
        family = sapling.match.family
        said = [
            int(value)
            for each in members
            if family.grace_option and each.pid in self.matches
            for value in stated(each.argv, family.grace_option)
            if value.isdigit() and len(value) <= _LONGEST_GRACE
        ]
        if said:
            return max(said), f"{family.grace_option} in its arguments"
        return None if family.grace is None else (family.grace, f"the default of {family.title}")

    def _host_started_at(self, members: Iterable[Process]) -> float | None:
        starts = (
            self.snapshot.started_at(each)
            for each in members
            if b"--type=extensionHost" in each.argv
        )
        return max(starts, default=None)


def find_trees(
    snapshot: Snapshot,
    catalogue: Catalogue,
    recorded: Mapping[ProcessKey, ProcessKey] | None = None,
) -> Forest:
    """Return every server tree of *snapshot*, ordered by uid and age.

    *recorded* maps processes that earlier scans saw as members to their tree's root.
    """
    forester = _Forester(snapshot, catalogue, recorded or {})
    saplings = forester.saplings()
    trees = [forester.tree(sapling, saplings) for sapling in saplings]
    trees.sort(key=lambda tree: (tree.root.uid, *_by_age(tree.root)))
    return Forest(tuple(trees), forester.rejected)


def _by_age(process: Process) -> tuple[int, int]:
    return process.start_ticks, process.pid


def logins(snapshot: Snapshot, forest: Forest) -> dict[int, str]:
    """Return, by uid, a process with a terminal that is in no tree: somebody is logged in."""
    inside = {member.pid for tree in forest.trees for member in tree.members}
    return {
        process.uid: f"pid {process.pid} ({command_line(process.argv, 60)}) has a terminal"
        for process in snapshot.processes.values()
        if process.tty and process.pid not in inside and process.state != "Z"
    }
