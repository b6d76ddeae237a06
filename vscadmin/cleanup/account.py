"""Account for a run: the admins' mail, the metrics, and words for what went wrong."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from vscadmin.cleanup import lock, metrics
from vscadmin.cleanup.approve import share
from vscadmin.cleanup.digest import (
    Digest,
    digest_letters,
    exemptions,
    is_due,
    left_alone,
    refusal_letters,
)
from vscadmin.cleanup.letters import Letter
from vscadmin.cleanup.mail import Mailer
from vscadmin.cleanup.records import Run
from vscadmin.cleanup.regret import regretted
from vscadmin.cleanup.session import Session
from vscadmin.errors import Exit, PlanRefusedError
from vscadmin.policy.decide import Plan
from vscadmin.procs.sight import Sight
from vscadmin.units import DAY, HOUR, format_duration
from vscadmin.version import __version__

_REFUSED, _DIGEST = "refused", "digest"


def partial_words(seen: Sight) -> str:
    """Say what could not be read."""
    trees = sum(bool(tree.unreadable or tree.connections.unreadable) for tree in seen.forest.trees)
    count = len(seen.snapshot.unreadable)
    return f"incomplete: {count} processes and {trees} servers could not be read: vscadmin report"


def say_turned_away(session: Session, count: int) -> None:
    """Point out that the lock has kept runs from their work again and again."""
    session.turned_away = count
    if count >= lock.OFTEN:
        session.say(f"{count} runs found another one running since the last success", "lock")


def say_late(session: Session, last: Run | None) -> None:
    """Point out that for more than an hour no run has come to its end."""
    if last is None or last.finished_at is None:
        return
    late = session.run.started_at - last.finished_at
    if late > HOUR:
        session.say(f"no run came to its end for {format_duration(late)}", "late")


def refused(
    session: Session, plan: Plan, error: PlanRefusedError, boot_id: str, mailer: Mailer
) -> None:
    """Do nothing of a plan, and tell the admins at most once a day."""
    session.exit_code = Exit.PLAN_REFUSED
    # Who mistypes --approve is told at once, and that holds back no word of a refused plan.
    kind = _REFUSED if error.plan_hash else ""
    if not session.warn(str(error), kind):  # not printed again, but the run is to say why
        session.run = replace(session.run, words=(str(error),))
    session.run = replace(session.run, plan_hash=error.plan_hash)
    last, now = session.store.last_admin_mail(_REFUSED), time.time()
    if not error.plan_hash or (last is not None and now - last < DAY):
        return
    letters = refusal_letters(session.run, (str(error),), plan, session.author(boot_id))
    _to_admins(session, _REFUSED, letters, mailer)


def send_digest(session: Session, plan: Plan, boot_id: str, mailer: Mailer) -> None:
    """Tell the admins what was done, if there is anything to tell."""
    now = time.time()
    digest = Digest(
        run=session.run,
        notices=tuple(session.notices),
        terminations=tuple(session.terminations),
        problems=tuple(session.news),
        left_alone=left_alone(plan),
        exemptions=exemptions(session.policy, now),
    )
    if is_due(digest, session.store.last_admin_mail(_DIGEST), session.policy, now):
        _to_admins(session, _DIGEST, digest_letters(digest, session.author(boot_id)), mailer)


def _to_admins(session: Session, kind: str, letters: tuple[Letter, ...], mailer: Mailer) -> None:
    """Send *letters*; noted before, so that no crash makes two of one."""
    session.store.note_admin_mail(kind, time.time())
    sent = {letter.address: mailer.deliver(letter, session.deadline) for letter in letters}
    for address, each in sent.items():
        if not each.delivered:
            session.warn(f"no mail to {address}: {each.error}", f"admin {address}")
    if sent and not any(each.delivered or each.uncertain for each in sent.values()):
        session.store.forget_admin_mail(kind)


def write_metrics(session: Session, plan: Plan) -> None:
    """Replace the textfile, where the policy names one; a failure is said, no more."""
    path = session.policy.output.textfile
    if path is None:
        return
    try:
        metrics.write(_numbers(session, plan), path)
    except metrics.TextfileError as error:
        session.warn(str(error), "textfile")


def _numbers(session: Session, plan: Plan) -> metrics.Numbers:
    policy, store, run = session.policy, session.store, session.run
    found = share(plan, policy.terminate)
    terminations = store.terminations()
    last = store.last_successful_run()
    return metrics.Numbers(
        version=__version__,
        mode=str(policy.mode),
        history=policy.store.history,
        last_run=run.started_at,
        products=policy.scope.products,
        rules=tuple(rule.name for rule in policy.rules),
        trees=metrics.trees_by_state(plan),
        memory=metrics.memory_by_state(plan),
        notices=store.notice_counts(),
        terminations=store.termination_counts(),
        survivors=store.survivors(),
        regretted=len(regretted(store, terminations)),
        refused=session.exit_code is Exit.PLAN_REFUSED,
        planned_trees=len(found.ends),
        planned_users=found.users,
        turned_away=session.turned_away,
        last_success=(last.finished_at or 0.0) if last else 0.0,
        last_success_seconds=(last.finished_at or 0.0) - last.started_at if last else 0.0,
        store_size=os.path.getsize(policy.store.path),
    )
