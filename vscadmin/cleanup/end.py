"""End what is due, one tree after the other, each looked at afresh and recorded twice."""

from __future__ import annotations

import time
from dataclasses import replace

from vscadmin.cleanup import events, stopping
from vscadmin.cleanup.approve import ApprovedPlan
from vscadmin.cleanup.execute import Ended, Eyes, Fresh, Order, Step, terminate
from vscadmin.cleanup.look import clock_step, look, plan_of, remembered
from vscadmin.cleanup.records import Identity, Result, Termination
from vscadmin.cleanup.session import Session
from vscadmin.errors import Exit
from vscadmin.model import ProcessKey, Snapshot, Tree
from vscadmin.policy.decide import Decision
from vscadmin.policy.protect import protection
from vscadmin.policy.quiet import is_quiet
from vscadmin.policy.settings import Action
from vscadmin.procs.trees import Forest, find_trees, logins
from vscadmin.units import HOUR


def end_trees(session: Session, approved: ApprovedPlan, boot_id: str) -> None:
    """Carry out the terminations of an approved plan; stop when the time of the run is over.

    What survived SIGKILL is tried again after an hour: until then nothing has changed.
    """
    lately = session.store.terminations(since=time.time() - HOUR)
    stubborn = {each.identity.key for each in lately if each.result is Result.SURVIVORS}
    for decision in approved.ends:
        if decision.tree.key in stubborn:
            continue
        if is_quiet(time.time(), session.policy.terminate.quiet_hours):
            return  # they have begun during this run: what is left is due after them
        if session.seconds_left <= 0:
            session.say("the time of the run was over before all was ended: run.timeout")
            session.exit_code = Exit.INCOMPLETE
            return
        _end(session, decision, boot_id)


def _end(session: Session, decision: Decision, boot_id: str) -> None:
    tree = decision.tree
    begun = Termination(
        identity=Identity(boot_id, *tree.key),
        user=str(decision.owner),
        product=tree.product,
        rule=decision.rule or "",
        started_at=time.time(),
        result=Result.STARTED,
        rss=tree.rss,
    )
    session.store.begin_termination(begun)
    ended = _terminate(session, decision, boot_id)
    finished = replace(
        begun,
        result=ended.result,
        finished_at=time.time(),
        survivors=len(ended.survivors),
        words=ended.words,
    )
    if ended.result is Result.SPARED and session.seconds_left > 0:
        has_client = any(words.startswith("client:") for words in ended.words)
        session.store.spare(finished, finished.finished_at if has_client else None)
    else:
        session.store.finish_termination(finished)
    session.terminations.append(finished)
    session.log.write(events.termination(finished))
    if ended.result is Result.SURVIVORS:
        session.exit_code = Exit.INCOMPLETE


def _terminate(session: Session, decision: Decision, boot_id: str) -> Ended:
    policy, path = session.policy, session.policy.store.path
    looker = _Looker(session, decision, boot_id)

    def told(step: Step, keys: tuple[ProcessKey, ...]) -> None:
        if step is Step.STOPPING:
            stopping.note(path, boot_id, decision.tree.root.uid, keys)

    order = Order(
        key=decision.tree.key,
        uid_min=policy.scope.uid_min,
        term_wait=policy.terminate.term_wait,
        deadline=session.deadline,
    )
    eyes = Eyes(session.request.catalogue, looker.look, looker.protects, told)
    try:
        return terminate(order, eyes)
    finally:
        stopping.forget(path)


class _Looker:
    """Judges one tree afresh, by the policy and with what is remembered since this run's scan."""

    def __init__(self, session: Session, decision: Decision, boot_id: str) -> None:
        self._session = session
        self._decision = decision
        # This run's scan is recorded already, with every member that the plan knew.
        self._recorded = session.store.recorded(boot_id)

    def look(self) -> Fresh:
        """Look at the machine again and decide about this tree alone."""
        session, policy, key = self._session, self._session.policy, self._decision.tree.key
        seen = look(policy, session.request.catalogue, self._recorded)
        boot, now = seen.snapshot.boot_id, seen.snapshot.taken_at
        known = remembered(session.store, policy, boot, now, [key])
        found = [
            each
            for each in plan_of(seen, policy, known, session.fleet.trees)
            if each.tree.key == key
        ]
        if not found:
            return Fresh(None)
        (fresh,) = found
        if step := clock_step(session.store, seen.snapshot):
            words = f"the clock was set by {step:.0f} s since this run looked"
            return Fresh(fresh.tree, (words,), seen.snapshot.details)
        return Fresh(fresh.tree, self._reasons(fresh), seen.snapshot.details)

    def _reasons(self, now: Decision) -> tuple[str, ...]:
        """Say what has changed since the plan was made."""
        if now.held_back:
            return now.held_back
        if now.standing.due is not Action.TERMINATE:
            asked = now.rule if not now.is_forecast else "no rule"
            return (f"it is {now.verdict.state} now, and {asked} asks for no end",)
        return ()

    def protects(self, tree: Tree, snapshot: Snapshot) -> tuple[str, ...]:
        """Return protect hits on what is left of the tree."""
        trees = find_trees(snapshot, self._session.request.catalogue, self._recorded).trees
        elsewhere = logins(snapshot, Forest((*trees, tree)))
        return protection(tree, self._decision.owner, self._session.policy.protect, elsewhere)
