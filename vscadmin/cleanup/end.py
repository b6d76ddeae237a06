"""End what is due, one tree after the other, each looked at afresh and recorded twice."""

from __future__ import annotations

import time
from dataclasses import replace

from vscadmin.cleanup import events, stopping
from vscadmin.cleanup.approve import ApprovedPlan
from vscadmin.cleanup.execute import Ended, Eyes, Fresh, Order, Step, terminate
from vscadmin.cleanup.look import cpu_spans, plan_of, wants_groups
from vscadmin.cleanup.records import Identity, Result, Termination
from vscadmin.cleanup.session import Session
from vscadmin.errors import Exit
from vscadmin.model import ProcessKey, Snapshot, Tree
from vscadmin.policy.decide import Decision
from vscadmin.policy.protect import protection
from vscadmin.policy.settings import Action
from vscadmin.policy.states import History
from vscadmin.procs.sight import see
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
    session.log_event(events.termination(finished))
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
    """Judges one tree afresh, by the policy and with the history that its plan was made with."""

    def __init__(self, session: Session, decision: Decision, boot_id: str) -> None:
        self._session = session
        self._decision = decision
        members = {member.key: decision.tree.key for member in decision.tree.members}
        self._recorded = {**session.store.recorded(boot_id), **members}

    def look(self) -> Fresh:
        """Look at the machine again and decide about this tree alone."""
        policy = self._session.policy
        seen = see(
            self._session.request.catalogue,
            with_groups=wants_groups(policy),
            recorded=self._recorded,
        )
        key = self._decision.tree.key
        plan = plan_of(seen, policy, self._histories(seen.snapshot.boot_id))
        found = [each for each in plan if each.tree.key == key]
        if not found:
            return Fresh(None)
        (now,) = found
        return Fresh(now.tree, self._reasons(now), seen.snapshot.details)

    def _histories(self, boot_id: str) -> dict[ProcessKey, History]:
        """Return what was known when the plan was made: the scan of this run has moved on."""
        store, policy = self._session.store, self._session.policy
        return store.histories(boot_id, cpu_spans=cpu_spans(policy), now=time.time())

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
