"""The ladder of a tree: seen, confirmed, told, due; a pure function of its history and now.

A client, a protect hit or another identity puts a tree back to the start: the run of
scans that counts begins anew, and a notice from before that run counts no more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from vscadmin.policy.quiet import first_allowed
from vscadmin.policy.rules import Case
from vscadmin.policy.settings import Action, Policy, Rule, State
from vscadmin.policy.states import History, client_between
from vscadmin.units import DAY


class Rung(StrEnum):
    """How far a tree has come; NONE where no rule asks for anything, or something forbids it."""

    NONE = "none"
    SEEN = "seen"
    CONFIRMED = "confirmed"
    TOLD = "told"
    DUE = "due"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a tree stands, and what this very run may do about it.

    *end_at* is the earliest end after a delivered notice, None before one.
    """

    rung: Rung
    due: Action = Action.KEEP
    end_at: float | None = None


NOWHERE = Standing(Rung.NONE)

_LONGEST_GAP = 2 * DAY  # seconds between scans; whoever came in a longer one was not seen


def climb(rule: Rule, action: Action, case: Case, policy: Policy, now: float) -> Standing:
    """Say how far a tree has come towards *action*, that of *rule* as far as it is allowed."""
    if action is Action.KEEP:
        return NOWHERE
    run = clear_run(case, now)
    told = run.told
    if not _is_confirmed(run, policy, now):
        return Standing(Rung.SEEN)
    if action is Action.TERMINATE and told is not None:
        over = max(told.at + (rule.notice or 0), told.not_before)
        end_at = first_allowed(max(over, now), policy.terminate.quiet_hours)
        if end_at <= now:
            return Standing(Rung.DUE, Action.TERMINATE, end_at)
        return Standing(Rung.TOLD, Action.KEEP, end_at)
    if action is Action.NOTIFY and rule.name in run.notified:
        return Standing(Rung.TOLD)
    return Standing(Rung.CONFIRMED, Action.NOTIFY)


def clear_run(case: Case, now: float) -> History:
    """Return the history with the run of scans that agree, this one included."""
    history = case.history
    same = history.state is case.verdict.state and client_between(case.tree, history) is None
    same = same and now - (history.previous_scan or now) <= _LONGEST_GAP
    if same and history.clear_since is not None:
        return replace(history, clear_scans=history.clear_scans + 1)
    return replace(_untold(history), clear_since=now, clear_scans=1)


def _untold(history: History) -> History:
    """Return *history* without its notices: they count no more."""
    return replace(history, told=None, notified=frozenset(), notified_at=None)


def _is_confirmed(run: History, policy: Policy, now: float) -> bool:
    session = policy.session
    span = (session.confirm - 1) * session.confirm_span
    since = now if run.clear_since is None else run.clear_since
    return run.clear_scans >= session.confirm and now - since >= span


def remember(case: Case, is_held_back: bool, now: float) -> History:
    """Return what the next scan has to know of a tree; CPU samples are the store's to add."""
    history, state = case.history, case.verdict.state
    unseen = client_between(case.tree, history)
    came = now if case.tree.connections.clients else unseen
    broken = history.state is not state or (state is not State.CONNECTED and unseen is not None)
    run = clear_run(case, now)
    if is_held_back:
        run = replace(_untold(run), clear_since=None, clear_scans=0)
    return replace(
        run,
        first_seen=now if history.first_seen is None else history.first_seen,
        last_client=history.last_client if came is None else came,
        previous_scan=now,
        state=state,
        state_since=now if broken or history.state_since is None else history.state_since,
    )


def after_clock_step(history: History, seconds: float) -> History:
    """Return what is known of a tree after the clock was set by *seconds*.

    Moments keep their distance to now; the ladder begins anew, for a notice announced its
    end by the other clock.
    """

    def moved(at: float | None) -> float | None:
        return None if at is None else at + seconds

    return replace(
        _untold(history),
        first_seen=moved(history.first_seen),
        last_client=moved(history.last_client),
        previous_scan=moved(history.previous_scan),
        state_since=moved(history.state_since),
        clear_since=None,
        clear_scans=0,
        cpu=tuple(sample._replace(at=sample.at + seconds) for sample in history.cpu),
    )
