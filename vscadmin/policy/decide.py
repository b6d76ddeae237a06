"""Judge every tree exactly once, those we keep included; touch nothing.

The plan is the audit trail: each decision holds its verdict, every finding of the rule
that decided or may come to, what holds it back, and the dates of the next steps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from vscadmin.model import Owner, ProcessKey, Tree
from vscadmin.policy.ladder import NOWHERE, Rung, Standing, climb, remember
from vscadmin.policy.protect import protection
from vscadmin.policy.quiet import first_allowed
from vscadmin.policy.rules import Case, Finding, Match, match
from vscadmin.policy.settings import Action, Exemption, Mode, Policy, Rule, State
from vscadmin.policy.states import NOTHING_KNOWN, History, Verdict, judge

_NEAR_END = 7  # days before its end in which an exemption is pointed out
_SAFE_NAME_START = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_SAFE_NAME = _SAFE_NAME_START | frozenset("._-")
_CEILING = {Mode.OBSERVE: Action.KEEP, Mode.NOTIFY: Action.NOTIFY, Mode.ENFORCE: Action.TERMINATE}


class Abroad(NamedTuple):
    """A tree on another node of the fleet, as far as rules here may ask about it."""

    node: str
    started_at: float


Elsewhere = Mapping[tuple[int, str], tuple[Abroad, ...]]
"""The trees on other nodes by uid and name of their owner: both, or it is another person."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What surrounds the trees: their owners, who is logged in elsewhere, what is remembered.

    *logins* maps uids to a login session outside every tree, in words; *ticks* is the
    kernel's unit of CPU time, per second. *messages* is when the next message may go to a
    user, where an earlier one is in its way.
    """

    owners: Mapping[int, Owner]
    logins: Mapping[int, str] = field(default_factory=dict)
    histories: Mapping[ProcessKey, History] = field(default_factory=dict)
    ticks: int = 100
    abroad: Elsewhere = field(default_factory=dict)
    messages: Mapping[str, float] = field(default_factory=dict)

    def abroad_of(self, owner: Owner) -> tuple[Abroad, ...]:
        """Return the trees of *owner* on other nodes; none where the name is not known."""
        return () if owner.name is None else self.abroad.get((owner.uid, owner.name), ())


class Step(NamedTuple):
    """What the rule leads to at *at* if nothing changes; *allowed* is whether the mode lets it."""

    at: float
    action: Action
    allowed: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one tree.

    *wanted* is what the rule asks for, *action* what is left of it after all that holds
    it back. *rule* names the rule that decided, or with *is_forecast* the one that is
    first to come true if nothing changes. *standing* is what this run may do; *memory* is
    what the next scan has to know. *message_at* is when its owner may be told, None for now.
    """

    tree: Tree
    owner: Owner
    verdict: Verdict
    action: Action
    wanted: Action
    rule: str | None
    is_forecast: bool
    findings: tuple[Finding, ...]
    held_back: tuple[str, ...]
    steps: tuple[Step, ...]
    checked: tuple[Match, ...] = ()
    notes: tuple[str, ...] = ()
    standing: Standing = NOWHERE
    memory: History = NOTHING_KNOWN
    message_at: float | None = None

    @property
    def due(self) -> Action:
        """What this run does about it: that of *standing*, unless its owner's message waits."""
        waits = self.standing.due is Action.NOTIFY and self.message_at is not None
        return Action.KEEP if waits else self.standing.due


Plan = tuple[Decision, ...]


def decide(trees: Iterable[Tree], scene: Scene, policy: Policy, now: float) -> Plan:
    """Return one decision for every tree, in the order given."""
    trees = tuple(trees)
    by_owner: dict[int, list[Tree]] = defaultdict(list)
    for tree in trees:
        if not tree.report_only:
            by_owner[tree.root.uid].append(tree)
    return tuple(_decide(tree, by_owner[tree.root.uid], scene, policy, now) for tree in trees)


def _case(tree: Tree, siblings: list[Tree], scene: Scene, policy: Policy, now: float) -> Case:
    """Return all that rules may ask about a tree."""
    owner = scene.owners.get(tree.root.uid, Owner(tree.root.uid, None, None))
    history = scene.histories.get(tree.key, NOTHING_KNOWN)
    verdict = judge(tree, owner, history, policy, now)
    abroad = scene.abroad_of(owner)
    younger = sum(_is_younger(each, tree) for each in siblings)
    # Of two that started at the same moment on two nodes neither is the younger: both count as
    # the newest, and stay.
    younger += sum(each.started_at > tree.started_at for each in abroad)
    return Case(
        tree,
        owner,
        verdict,
        history,
        trees=len(siblings) + len(abroad),
        younger=younger,
        ticks=scene.ticks,
        nodes=1 + len({each.node for each in abroad}),
    )


def _decide(tree: Tree, siblings: list[Tree], scene: Scene, policy: Policy, now: float) -> Decision:
    case = _case(tree, siblings, scene, policy, now)
    owner, verdict = case.owner, case.verdict
    checked = tuple(
        match(rule, case, now) for rule in policy.rules if _is_about(rule, tree, policy)
    )
    chosen, is_forecast = _choose(checked)
    wanted = chosen.rule.action if chosen and not is_forecast else Action.KEEP
    hindrances = _held_back(case, scene, policy, now)
    held_back = hindrances if chosen else ()
    ceiling = Action.KEEP if held_back else _CEILING[policy.mode]
    if verdict.state is not State.ABANDONED:
        ceiling = _lesser(ceiling, Action.NOTIFY)
    action = _lesser(wanted, ceiling)
    standing = NOWHERE
    if chosen and not is_forecast:
        standing = climb(chosen.rule, action, case, policy, now)
    message_at = None if owner.name is None else scene.messages.get(owner.name)
    steps: tuple[Step, ...] = ()
    if chosen and not held_back:
        steps = _steps(chosen, case, standing, policy, now, message_at=message_at)
    return Decision(
        tree=tree,
        owner=owner,
        verdict=verdict,
        action=action,
        wanted=wanted,
        rule=chosen.rule.name if chosen else None,
        is_forecast=is_forecast,
        findings=chosen.findings if chosen else (),
        held_back=held_back,
        steps=steps,
        checked=checked,
        notes=_notes(tree, owner, policy, now),
        standing=standing,
        memory=remember(case, bool(hindrances), now),
        message_at=message_at,
    )


def _lesser(one: Action, other: Action) -> Action:
    return min(one, other, key=lambda action: action.rank)


def _is_younger(other: Tree, tree: Tree) -> bool:
    return (other.root.start_ticks, other.root.pid) > (tree.root.start_ticks, tree.root.pid)


def _is_about(rule: Rule, tree: Tree, policy: Policy) -> bool:
    """Whether a rule can be about *tree*: its product is in scope, or the rule names it itself."""
    if tree.report_only:
        return False
    return tree.product in policy.scope.products or rule.when.product == tree.product


def _choose(checked: tuple[Match, ...]) -> tuple[Match | None, bool]:
    """Return the first rule that holds; else the first to come true by waiting alone."""
    for each in checked:
        if each.holds:
            return each, False
    coming = [each for each in checked if each.at is not None]
    return min(coming, key=lambda each: each.at or 0.0, default=None), True


def _held_back(case: Case, scene: Scene, policy: Policy, now: float) -> tuple[str, ...]:
    """Say everything that keeps the rules from this tree, the mode left out."""
    tree, owner = case.tree, case.owner
    reasons = []
    if case.verdict.state in (State.OUT_OF_SCOPE, State.UNKNOWN):
        reasons.append(f"{case.verdict.state} is never acted on")
    if owner.name is not None and not is_regular(owner.name):
        reasons.append("the user name has unusual characters: no mail, no termination")
    reasons += [
        f"exempt until {each.until}: {each.reason}"
        for each in policy.exempt
        if each.user == owner.name and _days_left(each, now) >= 0
    ]
    reasons += protection(tree, owner, policy.protect, scene.logins)
    return tuple(reasons)


def is_regular(name: str) -> bool:
    """Whether a user name is [a-z0-9][a-z0-9._-]*: only those get mail, and are acted on."""
    return name[:1] in _SAFE_NAME_START and set(name) <= _SAFE_NAME and name != ""


def _days_left(exemption: Exemption, now: float) -> int:
    return (exemption.until - datetime.fromtimestamp(now).date()).days


def _notes(tree: Tree, owner: Owner, policy: Policy, now: float) -> tuple[str, ...]:
    notes = []
    if tree.report_only:
        notes.append(f"{tree.product} is only reported")
    elif tree.product not in policy.scope.products:
        notes.append(f"{tree.product} is not in scope.products")
    if not tree.verified:
        notes.append(f"the catalogue's entry for {tree.title} is unverified")
    if tree.foreign:
        pids = ", ".join(str(each.pid) for each in tree.foreign)
        notes.append(f"holds processes of other users, never signalled: pid {pids}")
    notes += [
        f"the exemption of {each.user} ends on {each.until}"
        for each in policy.exempt
        if each.user == owner.name and 0 <= _days_left(each, now) <= _NEAR_END
    ]
    return tuple(notes)


def _steps(
    chosen: Match,
    case: Case,
    standing: Standing,
    policy: Policy,
    now: float,
    *,
    message_at: float | None,
) -> tuple[Step, ...]:
    """Return the earliest dates of what the rule leads to, and what the mode leaves of it.

    A tree that does not become abandoned by waiting is never ended.
    """
    if standing.end_at is not None:
        return (Step(standing.end_at, Action.TERMINATE, allowed=True),)
    if standing.rung is Rung.TOLD:
        return ()
    at = chosen.at if chosen.at is not None else now
    told = max(at, _confirmed_at(chosen, case, policy, now), message_at or now)
    dates = {Action.NOTIFY: told}
    if (abandoned_at := case.verdict.abandoned_at) is not None:
        over = max(told + (chosen.rule.notice or 0), abandoned_at)
        dates[Action.TERMINATE] = first_allowed(over, policy.terminate.quiet_hours)
    return tuple(
        Step(date, action, action.rank <= _CEILING[policy.mode].rank)
        for action, date in dates.items()
        if action.rank <= chosen.rule.action.rank
    )


def _confirmed_at(chosen: Match, case: Case, policy: Policy, now: float) -> float:
    """Return when enough scans agree; a tree in its grace begins with the end of that."""
    session, history, verdict = policy.session, case.history, case.verdict
    begun = now
    if chosen.rule.when.state is State.ABANDONED and verdict.state is State.GRACE:
        begun = now if verdict.abandoned_at is None else verdict.abandoned_at
    elif history.state is verdict.state and history.clear_since is not None:
        begun = history.clear_since
    return begun + (session.confirm - 1) * session.confirm_span
