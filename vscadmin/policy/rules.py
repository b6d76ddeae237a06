"""The conditions of rules: each observes one thing and says in words what it found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vscadmin.model import Owner, Tree
from vscadmin.policy.settings import Keep, Rule, State, When
from vscadmin.policy.states import History, Verdict
from vscadmin.units import format_duration, format_size


@dataclass(frozen=True, slots=True)
class Case:
    """A tree with all that rules may ask about it. *ticks* is the kernel's, per second.

    *younger* counts the owner's trees that started later, *trees* all of them, on as many
    *nodes*.
    """

    tree: Tree
    owner: Owner
    verdict: Verdict
    history: History
    trees: int
    younger: int
    ticks: int
    nodes: int = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """What one condition found. *holds_at* is when it will hold if nothing changes, None: never."""

    check: str
    holds: bool
    words: str
    holds_at: float | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """A rule against a tree: *at* is when all its conditions hold, None if they never do."""

    rule: Rule
    findings: tuple[Finding, ...]
    at: float | None

    @property
    def holds(self) -> bool:
        """Whether every condition holds now."""
        return all(finding.holds for finding in self.findings)


def match(rule: Rule, case: Case, now: float) -> Match:
    """Check every condition of *rule*, those after the first that fails included."""
    findings = tuple(
        check(getattr(rule.when, key), rule, case, now)
        for key, check in _CONDITIONS.items()
        if getattr(rule.when, key) is not None
    )
    times = [now if finding.holds else finding.holds_at for finding in findings]
    known = [time for time in times if time is not None]
    return Match(rule, findings, max(known, default=now) if len(known) == len(times) else None)


def _state(wanted: State, _rule: Rule, case: Case, _now: float) -> Finding:
    state = case.verdict.state
    later = case.verdict.abandoned_at if _can_become(state, wanted) else None
    return Finding("state", state is wanted, f"state is {state}", later)


def _can_become(state: State, wanted: State) -> bool:
    """Whether a tree gets from *state* to *wanted* by waiting alone."""
    return state is State.GRACE and wanted is State.ABANDONED


def _orphan(wanted: bool, _rule: Rule, case: Case, _now: float) -> Finding:
    words = f"its parent is {case.tree.parent}"
    return Finding("orphan", case.tree.orphan is wanted, words)


def _age(limit: int, _rule: Rule, case: Case, now: float) -> Finding:
    age = now - case.tree.started_at
    words = f"up {format_duration(age)}, limit {format_duration(limit)}"
    return Finding("age_over", age > limit, words, case.tree.started_at + limit)


def _lasting(limit: int, rule: Rule, case: Case, now: float) -> Finding:
    """`for`: how long the tree has been in the state that the rule names, by stored scans."""
    verdict, wanted = case.verdict, rule.when.state
    if wanted is not None and verdict.state is not wanted:
        start = verdict.abandoned_at if _can_become(verdict.state, wanted) else None
        later = None if start is None else start + limit
        return Finding("for", False, f"not {wanted} yet", later)
    known = case.history.state is verdict.state and case.history.state_since is not None
    since = case.history.state_since if known else None
    if since is None:
        words = f"{verdict.state} since this scan, limit {format_duration(limit)}"
        return Finding("for", limit == 0, words, now + limit)
    words = f"{verdict.state} for {format_duration(now - since)}, limit {format_duration(limit)}"
    return Finding("for", now - since >= limit, words, since + limit)


def _cpu(limit: int, rule: Rule, case: Case, now: float) -> Finding:
    """CPU used between the oldest stored scan in the window and now, percent of one core."""
    span = rule.when.cpu_for or 0
    samples = [sample for sample in case.history.cpu if sample.at <= now - span]
    if not samples:
        words = f"no scan is {format_duration(span)} old yet, so its CPU use is not known"
        return Finding("cpu_over", False, words)
    first = max(samples, key=lambda sample: sample.at)
    used = case.tree.cpu_ticks / case.ticks - first.seconds
    percent = max(0.0, used) / max(now - first.at, 1.0) * 100
    words = f"CPU {percent:.0f}% over {format_duration(now - first.at)}, limit {limit}%"
    return Finding("cpu_over", percent > limit, words)


def _rss(limit: int, _rule: Rule, case: Case, _now: float) -> Finding:
    words = f"memory {format_size(case.tree.rss)}, limit {format_size(limit)}"
    return Finding("rss_over", case.tree.rss > limit, words)


def _sessions(limit: int, rule: Rule, case: Case, _now: float) -> Finding:
    where = "here" if case.nodes == 1 else f"on {case.nodes} nodes"
    words = f"servers of {case.owner} {where}: {case.trees}, limit {limit}"
    holds = case.trees > limit
    if holds and rule.keep is Keep.NEWEST and case.younger < limit:
        return Finding("user_sessions_over", False, f"{words}; this is one of the newest {limit}")
    return Finding("user_sessions_over", holds, words)


def _product(wanted: str, _rule: Rule, case: Case, _now: float) -> Finding:
    return Finding("product", case.tree.product == wanted, f"product is {case.tree.product}")


def _user(wanted: str, _rule: Rule, case: Case, _now: float) -> Finding:
    return Finding("user", case.owner.name == wanted, f"owner is {case.owner}")


def _group(wanted: str, _rule: Rule, case: Case, _now: float) -> Finding:
    groups = case.owner.groups
    words = "groups could not be looked up" if groups is None else f"groups: {', '.join(groups)}"
    return Finding("group", wanted in (groups or ()), words)


_CONDITIONS: dict[str, Callable[[Any, Rule, Case, float], Finding]] = {
    "product": _product,
    "user": _user,
    "group": _group,
    "state": _state,
    "orphan": _orphan,
    "age_over": _age,
    "lasting": _lasting,
    "cpu_over": _cpu,
    "rss_over": _rss,
    "user_sessions_over": _sessions,
}


def conditions(when: When) -> tuple[str, ...]:
    """Return the names of the conditions that are given, as policy.toml spells them."""
    return tuple(
        "for" if key == "lasting" else key
        for key in When.__slots__
        if getattr(when, key) is not None
    )
