"""Rehearse a policy on stored scans: whom it would have told, what it would have ended. Pure.

What it would have ended lived on, so the later scans show whom it would have hurt: a tree
that had a client afterwards is one to regret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vscadmin.cleanup.approve import approve
from vscadmin.cleanup.recipients import chosen
from vscadmin.cleanup.records import Identity
from vscadmin.errors import PlanRefusedError
from vscadmin.model import Owner, Tree
from vscadmin.policy.decide import Decision, Plan, Scene, decide
from vscadmin.policy.settings import Action, Policy
from vscadmin.policy.states import NOTHING_KNOWN, CpuSample, History, Told


@dataclass(frozen=True, slots=True)
class Scanned:
    """One stored scan: what a snapshot was found to hold. *ticks* are the kernel's, per second."""

    taken_at: float
    boot_id: str
    trees: tuple[Tree, ...]
    owners: Mapping[int, Owner]
    logins: Mapping[int, str]
    ticks: int

    def identity(self, tree: Tree) -> Identity:
        """Return whose history a tree of this scan continues."""
        return Identity(self.boot_id, *tree.key)


@dataclass(frozen=True, slots=True)
class Ended:
    """A tree that the policy would have ended; *client_at* is the first client after that."""

    identity: Identity
    user: str
    product: str
    rule: str
    at: float
    rss: int
    client_at: float | None = None


@dataclass(slots=True)
class Rehearsal:
    """A policy at work on one scan after the other; nothing happens but in here.

    Every notice counts as delivered at once, and a plan that the breaker refuses is not
    carried out.
    """

    policy: Policy
    ended: dict[Identity, Ended] = field(default_factory=dict)
    messages: int = 0
    refused: int = 0
    _histories: dict[Identity, History] = field(default_factory=dict)
    _written: dict[str, float | None] = field(default_factory=dict)

    def scan(self, scanned: Scanned) -> Plan:
        """Take one scan, later than all before; return the plan."""
        self._regret(scanned)
        trees = tuple(t for t in scanned.trees if scanned.identity(t) not in self.ended)
        histories = {t.key: self._history(scanned.identity(t)) for t in trees}
        scene = Scene(scanned.owners, scanned.logins, histories, scanned.ticks)
        plan = decide(trees, scene, self.policy, scanned.taken_at)
        for decision in plan:
            identity = scanned.identity(decision.tree)
            self._histories[identity] = self._with_cpu(decision, scanned)
        self._act(plan, scanned)
        return plan

    def _history(self, identity: Identity) -> History:
        return self._histories.get(identity, NOTHING_KNOWN)

    def _regret(self, scanned: Scanned) -> None:
        for tree in scanned.trees:
            known = self.ended.get(scanned.identity(tree))
            if known and known.client_at is None and tree.connections.clients:
                self.ended[known.identity] = replace(known, client_at=scanned.taken_at)

    def _with_cpu(self, decision: Decision, scanned: Scanned) -> History:
        """Keep the samples that the policy's rules can still ask for."""
        longest = max((rule.when.cpu_for or 0 for rule in self.policy.rules), default=0)
        seconds = decision.tree.cpu_ticks / scanned.ticks
        samples = (*decision.memory.cpu, CpuSample(scanned.taken_at, seconds))
        old = [each for each in samples if each.at <= scanned.taken_at - longest]
        kept = samples[max(len(old) - 1, 0) :]
        return replace(decision.memory, cpu=kept)

    def _act(self, plan: Plan, scanned: Scanned) -> None:
        now = scanned.taken_at
        try:
            approved = approve(plan, self.policy, scanned.boot_id)
        except PlanRefusedError:
            self.refused += 1
            return
        for share in chosen(plan, self._written, self.policy, now):
            self.messages += 1
            self._written[share.user] = now
            for decision, not_before in share.told:
                self._tell(decision, not_before, scanned)
        for decision in approved.ends:
            identity, tree = scanned.identity(decision.tree), decision.tree
            self.ended[identity] = Ended(
                identity, str(decision.owner), tree.product, decision.rule or "", now, tree.rss
            )

    def _tell(self, decision: Decision, not_before: float | None, scanned: Scanned) -> None:
        identity = scanned.identity(decision.tree)
        known = self._histories[identity]
        if decision.action is Action.TERMINATE and not_before is not None:
            known = replace(known, told=Told(scanned.taken_at, not_before))
        else:
            notified = known.notified | {decision.rule or ""}
            known = replace(known, notified=notified, notified_at=scanned.taken_at)
        self._histories[identity] = known
