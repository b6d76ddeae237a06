"""End one tree: look afresh, ask it to end, look afresh, end it, see what is left.

Its plan is minutes old by now. Whatever has changed, and whatever cannot be read, spares
it; what was stopped goes on, whatever happens to us.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from vscadmin.cleanup.freeze import standstill
from vscadmin.cleanup.kill import Members, Outcome, Who
from vscadmin.cleanup.records import Result
from vscadmin.errors import TimeOverError, VscadminError
from vscadmin.escape import command_line
from vscadmin.model import Detail, Place, Process, ProcessKey, Snapshot, Tree
from vscadmin.policy.protect import elsewhere
from vscadmin.procs.catalogue import Catalogue
from vscadmin.procs.closeup import look_closely
from vscadmin.procs.machine import pidfd_problem
from vscadmin.procs.remains import Remains, remains

_KILL_WAIT = 5.0  # seconds for SIGKILL: memory has to be given back, and more is not in our hands
_LOOKS = 3  # a process that ends while it is read looks like one that cannot be read
_LOOK_AGAIN = 0.1  # seconds
_SHOWN = 60  # characters of a command line


@dataclass(frozen=True, slots=True)
class Fresh:
    """What a tree is now: None when it is gone; *spared* says why it must not be ended.

    *details* are those of its members, as the snapshot has them.
    """

    tree: Tree | None
    spared: tuple[str, ...] = ()
    details: Mapping[int, Detail] = field(default_factory=dict)


class Step(StrEnum):
    """How far a termination has come.

    STOPPING is told before anything is stopped, STOPPED while all of it is: be quick then.
    """

    STOPPING = "stopping"
    STOPPED = "stopped"
    ASKED = "asked"
    WAITED = "waited"
    LOOKED_AGAIN = "looked again"
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class Eyes:
    """What a termination asks of the run, which knows the policy and the store.

    *look* judges the tree afresh, as a plan does. *protects* returns protect hits on
    what is left of it in a newer snapshot. *told* hears of each step, with all the keys
    that are known; it may raise, and nothing stays stopped then.
    """

    catalogue: Catalogue
    look: Callable[[], Fresh]
    protects: Callable[[Tree, Snapshot], tuple[str, ...]]
    told: Callable[[Step, tuple[ProcessKey, ...]], None] = lambda _step, _keys: None


@dataclass(frozen=True, slots=True)
class Order:
    """Which tree to end, and within what bounds: seconds, *deadline* by time.monotonic().

    *even_in_use* is for owners alone, who may end what they themselves are connected to.
    """

    key: ProcessKey
    uid_min: int
    term_wait: float
    deadline: float = float("inf")
    kill_wait: float = _KILL_WAIT
    even_in_use: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a tree. *asked* and *killed* count its processes that got the signal.

    *survivors* are its owner's processes that live on; *words* say why it was spared,
    what was left alone and what survived, a line each.
    """

    result: Result
    words: tuple[str, ...] = ()
    survivors: tuple[ProcessKey, ...] = ()
    asked: int = 0
    killed: int = 0


def terminate(order: Order, eyes: Eyes) -> Ended:
    """End the tree that *order* names, if it still is what the plan was made for.

    Raises TimeOverError when the run's time is over: that says nothing of the tree.
    """
    if problem := pidfd_problem():
        return Ended(Result.SPARED, (f"processes cannot be signalled safely: {problem}",))
    try:
        fresh = _look(eyes)
    except TimeOverError:
        raise
    except VscadminError as error:
        return Ended(Result.SPARED, (f"it could not be looked at again: {error}",))
    tree = fresh.tree
    if tree is None:
        return Ended(Result.GONE)
    if reasons := doubts(order, tree, fresh):
        return Ended(Result.SPARED, reasons)
    if time.monotonic() >= order.deadline:
        return Ended(Result.SPARED, ("the time of the run was over",))
    with Members(tree.root.uid, _in_order(tree), _expected(tree, fresh.details)) as members:
        return _Termination(order, eyes, tree, members).run()


def _look(eyes: Eyes) -> Fresh:
    """Look afresh; again where something could not be read: it may have ended meanwhile."""
    for attempt in range(_LOOKS):
        time.sleep(_LOOK_AGAIN * attempt)
        fresh = eyes.look()
        if fresh.tree is None or not _unreadable(fresh.tree, fresh.details):
            break
    return fresh


def doubts(order: Order, tree: Tree, fresh: Fresh) -> tuple[str, ...]:
    """Say why a tree must not be ended, whatever the policy says; () if nothing speaks against."""
    reasons = list(fresh.spared)
    if tree.key != order.key:
        reasons.append(f"pid {order.key.pid} is another process now")
    if tree.uids is None or set(tree.uids) != {tree.root.uid}:
        reasons.append(f"the user ids of its root are not all {tree.root.uid}")
    if tree.root.uid < order.uid_min:
        reasons.append(f"uid {tree.root.uid} is below scope.uid_min = {order.uid_min}")
    if tree.place is not Place.HERE:
        reasons.append(f"it runs in {tree.place_words}")
    reasons += elsewhere(tree)
    if not order.even_in_use:
        reasons += [f"client: {client}" for client in tree.connections.clients]
    reasons += _unreadable(tree, fresh.details)
    return tuple(dict.fromkeys(reasons))


def _unreadable(tree: Tree, details: Mapping[int, Detail]) -> list[str]:
    """Say what could not be read of a tree and of each of its members."""
    reasons = [*tree.unreadable, *tree.connections.unreadable]
    for member in tree.members:
        detail = details.get(member.pid, Detail())
        if member.state != "Z" and (detail.exe is None or detail.uids is None):
            reasons.append(f"the executable or user ids of pid {member.pid} could not be read")
        if member.state != "Z" and detail.cgroups is None:
            reasons.append(f"the cgroup of pid {member.pid} could not be read")
    return reasons


def _in_order(tree: Tree) -> list[ProcessKey]:
    """Return the members' keys, parents first: nobody starts before his parent."""
    members = sorted(tree.members, key=lambda each: (each.start_ticks, each.pid))
    return [tree.key, *(each.key for each in members if each.key != tree.key)]


def _expected(tree: Tree, details: Mapping[int, Detail]) -> dict[ProcessKey, Who]:
    found = {}
    for member in tree.members:
        detail = details.get(member.pid, Detail())
        if member.state != "Z" and detail.exe is not None and detail.uids is not None:
            found[member.key] = Who(member.start_ticks, detail.uids, detail.exe)
    return found


class _Termination:
    """One tree's way from the first signal to the last."""

    def __init__(self, order: Order, eyes: Eyes, tree: Tree, members: Members) -> None:
        self.order = order
        self.eyes = eyes
        self.tree = tree
        self.members = members
        self.asked = 0
        self.killed = 0
        self.came: tuple[str, ...] = ()

    def run(self) -> Ended:
        """Ask, wait, look, kill; each step only if the one before left something to do."""
        if not self._ask():
            return self._ended(Result.SPARED, self.came or ("we were told to end before it was",))
        self.members.wait(min(time.monotonic() + self.order.term_wait, self.order.deadline))
        self._tell(Step.WAITED)
        if self._left():
            if time.monotonic() >= self.order.deadline:
                return self._seen("the time of the run was over before SIGKILL")
            if reasons := self._look_again():
                return self._ended(Result.SPARED, reasons)
            self._tell(Step.LOOKED_AGAIN)
            if not self._kill():
                if self.came:
                    return self._ended(Result.SPARED, self.came)
                return self._seen("we were told to end before SIGKILL")
            self.members.wait(time.monotonic() + self.order.kill_wait)
        return self._seen()

    def _signal(self, signum: signal.Signals) -> int | None:
        """Signal all of the tree at a standstill; None if it is not to be, and *came* says why.

        Between the look and this moment there may be seconds: a slow disk, a name server.
        Whoever connects to what stands still is seen, and served when it goes on.
        """
        self._tell(Step.STOPPING)
        with standstill(self.members) as still:
            self._tell(Step.STOPPED)
            self.came = self._clients()
            return None if still.was_interrupted or self.came else still.send(signum)

    def _clients(self) -> tuple[str, ...]:
        """Say who is connected now."""
        if self.order.even_in_use:
            return ()
        try:
            left, _ = self._remains()
        except VscadminError as error:
            return (f"it could not be looked at again: {error}",)
        return tuple(f"client: {client}" for client in left.clients)

    def _ask(self) -> bool:
        asked = self._signal(signal.SIGTERM)
        self.asked = asked or 0
        self._tell(Step.ASKED)
        return asked is not None

    def _kill(self) -> bool:
        killed = self._signal(signal.SIGKILL)
        self.killed = killed or 0
        self._tell(Step.KILLED)
        return killed is not None

    def _tell(self, step: Step) -> None:
        self.eyes.told(step, tuple(self.members.known))

    def _left(self) -> list[Process]:
        """Return what lives of the tree and may be signalled, or could not be."""
        found = self.members.grow()
        living = self.members.living()
        return [each for each in found if each.key in living or self._is_out_of_reach(each)]

    def _is_out_of_reach(self, process: Process) -> bool:
        """Whether a process is one of the tree's that we cannot signal, and not another user's."""
        if process.state == "Z" or self.members.is_pinned(process.key):
            return False
        return self.members.refused.get(process.key) in (Outcome.CHANGED, Outcome.DENIED)

    def _look_again(self) -> tuple[str, ...]:
        """Say why what is left must not be killed: a client, a protect hit, or we cannot tell."""
        try:
            left, snapshot = self._remains()
        except TimeOverError:
            raise
        except VscadminError as error:
            return (f"it could not be looked at again: {error}",)
        clients = () if self.order.even_in_use else left.clients
        reasons = [f"client: {client}" for client in clients]
        reasons += left.elsewhere
        reasons += left.unreadable
        if left.processes:
            reasons += self.eyes.protects(replace(self.tree, members=left.processes), snapshot)
        return tuple(dict.fromkeys(reasons))

    def _remains(self) -> tuple[Remains, Snapshot]:
        for attempt in range(_LOOKS):
            time.sleep(_LOOK_AGAIN * attempt)
            snapshot = look_closely(self.eyes.catalogue, self.members.known)
            left = remains(self.tree, self.members.known, snapshot, self.eyes.catalogue)
            if not left.unreadable:
                break
        return left, snapshot

    def _seen(self, *words: str) -> Ended:
        """Look what lives on, and say so."""
        survivors = self._left()
        told = [*words, *(self._survivor_words(each) for each in survivors)]
        keys = tuple(each.key for each in survivors)
        if keys:
            return self._ended(Result.SURVIVORS, tuple(told), keys)
        return self._ended(Result.ENDED if self.asked else Result.GONE, tuple(words))

    def _ended(
        self, result: Result, words: tuple[str, ...], survivors: tuple[ProcessKey, ...] = ()
    ) -> Ended:
        left = self._left_alone_words()
        return Ended(result, (*words, *left), survivors, self.asked, self.killed)

    def _survivor_words(self, process: Process) -> str:
        who = self._named(process)
        if self.members.refused.get(process.key) is Outcome.CHANGED:
            return f"{who} runs another program now: not signalled"
        if self.members.refused.get(process.key) is Outcome.DENIED:
            return f"{who} could not be signalled"
        if process.state == "D":
            return f"{who} waits in the kernel (state D): cannot be killed now"
        return f"{who} lives on (state {process.state})"

    def _left_alone_words(self) -> list[str]:
        why = {
            Outcome.FOREIGN: "runs as uid {uid}",
            Outcome.ELSEWHERE: "runs in a job or container now",
        }
        found = ((each, self.members.refused.get(each.key)) for each in self.members.find())
        return [
            f"{self._named(each)} {why[refused].format(uid=each.uid)}: left alone"
            for each, refused in found
            if refused in why and each.state != "Z"
        ]

    def _named(self, process: Process) -> str:
        argvs = {each.key: each.argv for each in self.tree.members}
        line = command_line(argvs.get(process.key, ()), _SHOWN)
        return f"pid {process.pid} ({line})" if line else f"pid {process.pid}"
