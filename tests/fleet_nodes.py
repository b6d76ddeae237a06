"""Login nodes that share a directory: real stores, snapshots and mail, trees and clock invented."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path
from typing import Any
from unittest import mock

from tests.builders import ADA, NOW, TICKS, launcher, process, snapshot, tree
from tests.integration.office import Office
from tests.stores import run
from vscadmin.cleanup import together
from vscadmin.cleanup.approve import approve
from vscadmin.cleanup.look import plan_of, remembered
from vscadmin.cleanup.mail import Mailer
from vscadmin.cleanup.records import Outcome
from vscadmin.cleanup.session import Request, Session
from vscadmin.cleanup.store import Store
from vscadmin.cleanup.tell import tell_owners
from vscadmin.errors import Exit, PlanRefusedError
from vscadmin.logs import Log
from vscadmin.model import Connections, Owner, Tree
from vscadmin.policy.decide import Plan
from vscadmin.policy.settings import Action, Fleet, Mode, Policy, Rule, Seconds, State, When
from vscadmin.policy.settings import Session as PolicySession
from vscadmin.procs.catalogue import Catalogue
from vscadmin.procs.sight import Sight
from vscadmin.procs.trees import Forest

MINUTE, HOUR = 60.0, 3600.0
ROUND = 10 * MINUTE
EVERY = 6 * HOUR  # between messages to a user, and of notice before an end
IN_USE = Connections(listeners=("127.0.0.1:1",), clients=("a window",))
ABANDONED = Rule(
    "abandoned", When(state=State.ABANDONED), Action.TERMINATE, notice=Seconds(6 * 3600)
)


class Clock:
    """The time of all nodes; whoever asks the machine's clock gets this one."""

    def __init__(self) -> None:
        self.now = NOW

    @contextmanager
    def ticking(self) -> Iterator[Clock]:
        with mock.patch.object(time, "time", side_effect=self.read):
            yield self

    def read(self) -> float:
        return self.now


@dataclass
class LoginNode:
    """One node: *trees* run on it, *due* are those that a run would end, by root pid."""

    name: str
    clock: Clock
    policy: Policy
    store: Store
    trees: dict[int, Tree] = field(default_factory=dict)
    owner: Owner = ADA
    boot_id: str = "b00710ad"
    ahead: float = 0.0
    due: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    plan: Plan = ()
    runs: int = 0

    def leave(self, pid: int, age: float = 50 * HOUR) -> None:
        """Start a server that nobody uses."""
        ticks = int((self.clock.now - age - NOW + 30 * 86400) * TICKS)
        root = launcher(pid, start_ticks=ticks, uid=self.owner.uid)
        self.trees[pid] = tree(root=root, started_at=self.clock.now - age)

    def connect(self, pid: int) -> None:
        self.trees[pid] = replace(self.trees[pid], connections=IN_USE)

    def disconnect(self, pid: int) -> None:
        self.trees[pid] = replace(self.trees[pid], connections=Connections())

    def run(self) -> Session:
        """Do what a run of cleanup does, in its order; a tree that is due to end only counts."""
        now = self.clock.now
        with mock.patch.object(time, "time", return_value=now + self.ahead):
            return self._run(now + self.ahead)

    def _run(self, now: float) -> Session:
        self.runs += 1
        begun = run(f"{self.name}-{self.runs}", now, host=self.name)
        request = Request(self.policy, "0" * 64, Catalogue(()), self.name)
        session = Session(
            request, self.policy, self.store, Log([], {}), begun, time.monotonic() + 60
        )
        self.store.begin_run(begun)
        seen = self._look(now)
        together.hear(session, seen)
        known = remembered(self.store, self.policy, self.boot_id, now)
        self.plan = plan_of(seen, self.policy, known, session.fleet.trees)
        self.store.record_scan(begun.run_id, seen.snapshot, self.plan, {})
        if self.policy.mode is not Mode.OBSERVE:
            self._carry_out(session, seen)
        together.tell(session, seen, self.plan)
        self.store.finish_run(replace(begun, outcome=Outcome.DONE, finished_at=now))
        self.problems += session.problems
        return session

    def _look(self, now: float) -> Sight:
        trees = tuple(self.trees.values())
        members = [each for one in trees for each in one.members]
        taken = snapshot([process(1, "init"), *members], taken_at=now, boot_id=self.boot_id)
        return Sight(taken, Forest(trees), {self.owner.uid: self.owner})

    def _carry_out(self, session: Session, seen: Sight) -> None:
        try:
            approved = approve(self.plan, self.policy, self.boot_id)
        except PlanRefusedError:
            session.exit_code = Exit.PLAN_REFUSED
            return
        if approved.notices or session.fleet.asks:
            with Mailer(self.policy.notify, self.name) as mailer:
                author = session.author(self.boot_id)
                try:
                    tell_owners(session, approved, author, mailer, ())
                finally:
                    together.tell(session, seen, self.plan)
        self.due = [each.tree.root.pid for each in approved.ends]


@dataclass
class Sent:
    """A message that the mail server took: when, to whom, and the servers that it names."""

    at: float
    to: str
    about: frozenset[tuple[str, int]]


@dataclass
class Nodes:
    """A fleet; its directory can be hidden from a node, in part or whole."""

    folder: Path
    office: Office
    clock: Clock
    nodes: dict[str, LoginNode] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)

    @property
    def shared(self) -> Path:
        return self.folder / "shared"

    def add(self, name: str, **facts: Any) -> LoginNode:
        self.shared.mkdir(mode=0o700, exist_ok=True)
        policy = facts.pop("policy", None) or self.policy()
        store = Store.open(str(self.folder / name / "store.sqlite"), NOW)
        self.nodes[name] = LoginNode(name, self.clock, policy, store, **facts)
        return self.nodes[name]

    def policy(self, **facts: Any) -> Policy:
        known: dict[str, Any] = {
            "mode": Mode.ENFORCE,
            "rules": (ABANDONED,),
            "notify": replace(self.office.notify, terminal=False, every=Seconds(int(EVERY))),
            "session": PolicySession(grace_default=Seconds(3600)),
            "fleet": Fleet(snapshot=str(self.shared)),
        }
        return Policy(**{**known, **facts})

    def run(self, name: str, *, blind_to: frozenset[str] = frozenset()) -> Session:
        """Run cleanup on one node, which cannot read the snapshots of *blind_to*."""
        hidden = [each for each in blind_to if (self.shared / f"{each}.json").exists()]
        for each in hidden:
            os.rename(self.shared / f"{each}.json", self.shared / f"{each}.hidden")
        try:
            session = self.nodes[name].run()
        finally:
            for each in hidden:
                os.rename(self.shared / f"{each}.hidden", self.shared / f"{each}.json")
        self._collect()
        return session

    def rounds(self, count: int, *, without: frozenset[str] = frozenset()) -> None:
        """Let time pass, with a run on every node every ten minutes, one minute after the other."""
        for _ in range(count):
            self.clock.now += ROUND
            for index, name in enumerate(sorted(self.nodes.keys() - without)):
                self.clock.now += index
                self.run(name)

    def until(self, seconds: float, *, without: frozenset[str] = frozenset()) -> None:
        self.rounds(int(seconds / ROUND) + 1, without=without)

    def _collect(self) -> None:
        for each in self.office.mails[len(self.sent) :]:
            assert isinstance(each.content, bytes)
            text = message_from_bytes(each.content, policy=SMTP).get_content()
            about = re.findall(r"where: +(\S+), pid (\d+)", text)
            named = frozenset((node, int(pid)) for node, pid in about)
            self.sent.append(Sent(self.clock.now, each.rcpt_tos[0].partition("@")[0], named))

    def close(self) -> None:
        for node in self.nodes.values():
            node.store.close()
