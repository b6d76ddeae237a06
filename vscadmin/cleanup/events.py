"""What a run logs: flat records of one line each, however hostile what they tell of is.

An event for each decision that asks for something, each action, and the start and the end
of the run. Who is kept because no rule holds is counted at the end, not told one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from vscadmin.cleanup.records import Delivery, Identity, Notice, Outcome, Result, Run, Termination
from vscadmin.escape import command_line, printable
from vscadmin.policy.decide import Decision, Plan
from vscadmin.policy.settings import Action, State

Value = str | int | None
Event = dict[str, Value]
"""Keys and values of one line; `event` names its kind, `level` is info or warning."""

# Bytes. JSON makes at most three of one, so the longest event stays below 8 KiB, where
# syslog daemons cut.
_NAME = 64
_ARGV = 256
_WORDS = 512


def decisions(plan: Plan, boot_id: str) -> tuple[Event, ...]:
    """Return an event for every decision, to keep a tree included: the plan is the audit trail."""
    return tuple(_decision(each, boot_id) for each in plan)


def _decision(decision: Decision, boot_id: str) -> Event:
    tree, standing = decision.tree, decision.standing
    return {
        "event": "decision",
        "level": "info",
        **_key(Identity(boot_id, *tree.key)),
        "uid": tree.root.uid,
        "user": _cut(str(decision.owner), _NAME),
        "product": _cut(tree.product, _NAME),
        "argv": _cut(command_line(tree.root.argv), _ARGV),
        "state": str(decision.verdict.state),
        "rule": _cut(decision.rule or "", _NAME),
        "wanted": str(decision.wanted),
        "action": str(decision.action),
        "rung": str(standing.rung),
        "outcome": str(decision.due),
        "end_at": _moment(standing.end_at),
        "findings": _joined(f"{each.check}: {each.words}" for each in decision.findings),
        "held_back": _joined(decision.held_back),
    }


def notice(record: Notice) -> Event:
    """Tell what became of a notice; the address is not told, the user is."""
    return {
        "event": "notice",
        "level": "warning" if record.delivery is Delivery.FAILED else "info",
        **_of_record(record),
        "action": str(record.action),
        "outcome": str(record.delivery),
        "created_at": _moment(record.created_at),
        "delivered_at": _moment(record.delivered_at),
        "not_before": _moment(record.not_before),
        "error": _cut(record.error, _WORDS),
    }


def termination(record: Termination) -> Event:
    """Tell what became of a termination."""
    return {
        "event": "termination",
        "level": "warning" if record.result is Result.SURVIVORS else "info",
        **_of_record(record),
        "outcome": str(record.result),
        "started_at": _moment(record.started_at),
        "finished_at": _moment(record.finished_at),
        "rss": record.rss,
        "survivors": record.survivors,
        "words": _joined(record.words),
    }


def run_started(run: Run) -> Event:
    """Tell that a run began, and by which policy."""
    return {
        "event": "run-started",
        "level": "info",
        "mode": _cut(run.mode, _NAME),
        "policy_sha256": _cut(run.policy_digest, _NAME),
        "started_at": _moment(run.started_at),
    }


def run_finished(run: Run, plan: Plan) -> Event:
    """Tell how a run ended, and how many trees it judged how; no plan if it came to none."""
    states = Counter(each.verdict.state for each in plan)
    wanted = Counter(each.wanted for each in plan)
    return {
        "event": "run-finished",
        "level": "info" if run.outcome is Outcome.DONE else "warning",
        "outcome": str(run.outcome),
        "mode": _cut(run.mode, _NAME),
        "policy_sha256": _cut(run.policy_digest, _NAME),
        "plan_hash": _cut(run.plan_hash, _NAME),
        "started_at": _moment(run.started_at),
        "finished_at": _moment(run.finished_at),
        "trees": len(plan),
        **{f"trees_{state.replace('-', '_')}": states[state] for state in State},
        **{f"wanted_{action}": wanted[action] for action in Action},
        "words": _joined(run.words),
    }


def _of_record(record: Notice | Termination) -> Event:
    return {
        **_key(record.identity),
        "user": _cut(record.user, _NAME),
        "product": _cut(record.product, _NAME),
        "rule": _cut(record.rule, _NAME),
    }


def _key(identity: Identity) -> Event:
    return {
        "boot_id": _cut(identity.boot_id, _NAME),
        "pid": identity.pid,
        "start_ticks": identity.start_ticks,
    }


def _moment(at: float | None) -> str | None:
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _joined(words: Iterable[str]) -> str:
    return _cut("; ".join(words), _WORDS)


def _cut(text: str, size: int) -> str:
    """Return *text* harmless, and in at most *size* bytes of UTF-8."""
    safe = printable(text, size)
    if len(encoded := safe.encode()) <= size:
        return safe
    return encoded[: size - 3].decode("utf-8", "ignore") + "…"
