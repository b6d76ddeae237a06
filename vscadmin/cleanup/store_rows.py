"""Records as rows of the store and back; all that justifies an action carries a seal."""

from __future__ import annotations

import json
from typing import Any

from vscadmin.cleanup.records import Delivery, Identity, Notice, Outcome, Result, Run, Termination
from vscadmin.cleanup.store_sql import Row, bindable, seal, unsealed
from vscadmin.model import ProcessKey
from vscadmin.policy.settings import Action, State
from vscadmin.policy.states import History

NOTICE = (
    "boot_id, pid, start_ticks, user, product, rule, action, address, created_at, delivery,"
    " not_before, delivered_at, error, seal"
)
TERMINATION = (
    "boot_id, pid, start_ticks, user, product, rule, started_at, result, rss, finished_at,"
    " survivors, words, seal"
)
RUN = "run_id, host, started_at, mode, policy_digest, outcome, finished_at, plan_hash, words, seal"
COMPLETED = (Outcome.DONE, Outcome.INCOMPLETE, Outcome.REFUSED)
"""How a run ended that came to its end."""
MEMORY = (
    "boot_id, pid, start_ticks, first_seen, last_client, previous_scan, state, state_since,"
    " clear_since, clear_scans, members, last_scan, seal"
)


def _with_seal(*values: Any) -> Row:
    bound = tuple(map(bindable, values))
    return (*bound, seal(bound))


def of_notice(notice: Notice) -> Row:
    """Return the row of a notice."""
    return _with_seal(
        *notice.identity,
        notice.user,
        notice.product,
        notice.rule,
        str(notice.action),
        notice.address,
        notice.created_at,
        str(notice.delivery),
        notice.not_before,
        notice.delivered_at,
        notice.error,
    )


def to_notice(row: Row) -> Notice:
    """Return the notice of a row; raises ValueError for one that was never written."""
    boot_id, pid, start, user, product, rule, action, address, created_at, *rest = unsealed(row)
    delivery, not_before, delivered_at, error = rest
    return Notice(
        identity=Identity(boot_id, pid, start),
        user=user,
        product=product,
        rule=rule,
        action=Action(action),
        address=address,
        created_at=created_at,
        delivery=Delivery(delivery),
        not_before=not_before,
        delivered_at=delivered_at,
        error=error,
    )


def of_termination(termination: Termination) -> Row:
    """Return the row of a termination."""
    return _with_seal(
        *termination.identity,
        termination.user,
        termination.product,
        termination.rule,
        termination.started_at,
        str(termination.result),
        termination.rss,
        termination.finished_at,
        termination.survivors,
        json.dumps(termination.words),
    )


def to_termination(row: Row) -> Termination:
    """Return the termination of a row; raises ValueError for one that was never written."""
    boot_id, pid, start, user, product, rule, started_at, result, *rest = unsealed(row)
    rss, finished_at, survivors, words = rest
    return Termination(
        identity=Identity(boot_id, pid, start),
        user=user,
        product=product,
        rule=rule,
        started_at=started_at,
        result=Result(result),
        rss=rss,
        finished_at=finished_at,
        survivors=survivors,
        words=tuple(json.loads(words)),
    )


def of_run(run: Run) -> Row:
    """Return the row of a run."""
    return _with_seal(
        run.run_id,
        run.host,
        run.started_at,
        run.mode,
        run.policy_digest,
        str(run.outcome),
        run.finished_at,
        run.plan_hash,
        json.dumps(run.words),
    )


def to_run(row: Row) -> Run:
    """Return the run of a row; raises ValueError for one that was never written."""
    run_id, host, started_at, mode, digest, outcome, finished_at, plan_hash, words = unsealed(row)
    return Run(
        run_id=run_id,
        host=host,
        started_at=started_at,
        mode=mode,
        policy_digest=digest,
        outcome=Outcome(outcome),
        finished_at=finished_at,
        plan_hash=plan_hash,
        words=tuple(json.loads(words)),
    )


def of_memory(
    identity: Identity, memory: History, members: tuple[ProcessKey, ...], scan: int
) -> Row:
    """Return the row of what the next scan has to know of a tree."""
    return _with_seal(
        *identity,
        memory.first_seen,
        memory.last_client,
        memory.previous_scan,
        None if memory.state is None else str(memory.state),
        memory.state_since,
        memory.clear_since,
        memory.clear_scans,
        json.dumps(members),
        scan,
    )


def to_memory(row: Row) -> tuple[Identity, History]:
    """Return a tree and what is known of it; raises ValueError for what was never written."""
    boot_id, pid, start, first_seen, last_client, previous, state, *rest = unsealed(row)
    state_since, clear_since, clear_scans, _, _ = rest
    history = History(
        first_seen=first_seen,
        last_client=last_client,
        previous_scan=previous,
        state=None if state is None else State(state),
        state_since=state_since,
        clear_since=clear_since,
        clear_scans=clear_scans,
    )
    return Identity(boot_id, pid, start), history


def to_members(row: Row) -> tuple[ProcessKey, tuple[ProcessKey, ...]]:
    """Return a tree's root and its members; raises ValueError for what was never written."""
    _, pid, start, *_, members, _ = unsealed(row)
    return ProcessKey(pid, start), tuple(ProcessKey(*each) for each in json.loads(members))
