"""One run of cleanup: look, record, decide, approve, tell, end, account for it.

Nothing is done that the store has not recorded before, so that a run which dies at any
point leaves the next one what it needs: to go on, or to do nothing.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from types import FrameType

from vscadmin.cleanup import account, events, lock, stopping, together
from vscadmin.cleanup.approve import approve
from vscadmin.cleanup.end import end_trees
from vscadmin.cleanup.freeze import resume
from vscadmin.cleanup.look import clock_step, look, messages, plan_of, remembered
from vscadmin.cleanup.mail import Mailer
from vscadmin.cleanup.recipients import waiting
from vscadmin.cleanup.records import Outcome, Result, Run
from vscadmin.cleanup.session import Request, Session
from vscadmin.cleanup.store import Store
from vscadmin.cleanup.tell import tell_owners
from vscadmin.deadline import start_without_signals
from vscadmin.errors import Exit, PlanRefusedError, StoreError, TimeOverError, VscadminError
from vscadmin.logs import Log
from vscadmin.model import ProcessKey
from vscadmin.policy.decide import Plan
from vscadmin.policy.ladder import after_clock_step
from vscadmin.policy.settings import Mode, Policy
from vscadmin.policy.states import History
from vscadmin.procs.machine import pid_namespace, pidfd_problem
from vscadmin.procs.scan import boot_id
from vscadmin.procs.sight import Sight
from vscadmin.units import format_moment

_GRACE = 60.0  # seconds after run.timeout in which a run can still end by itself
_AGAIN = 5.0  # seconds after which a run that goes on past its time is told again
_ENDINGS = {Exit.DONE: Outcome.DONE, Exit.INCOMPLETE: Outcome.INCOMPLETE}


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run ended: *problems* are for people, a line each, and empty when all is well."""

    exit_code: Exit
    problems: tuple[str, ...]


def clean_up(request: Request, log: Log, run_id: str) -> Finished:
    """Do one run. Raises LockHeldError, StoreError, ConfigError, TimeOverError."""
    path, now = request.policy.store.path, time.time()
    deadline = time.monotonic() + request.policy.run.timeout
    with lock.held(path), _deadline(request.policy.run.timeout), ExitStack() as stack:
        past = _let_go_on(path)  # whatever may be wrong with the store
        store = stack.enter_context(Store.open(path, now))
        policy, words = _as_far_as_possible(request.policy)
        run = Run(
            run_id=run_id,
            host=request.host,
            started_at=now,
            mode=str(policy.mode),
            policy_digest=request.policy_digest,
        )
        session = Session(request, policy, store, log, run, deadline)
        for problem in (*past, *store.problems):
            session.say(problem)
        for problem in words:
            session.say(problem, "mode")
        return _recorded(session)


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise TimeOverError when the time is over: a dead file system can hang any read."""

    def over(_signum: int, _frame: FrameType | None) -> None:
        raise TimeOverError(f"the run took longer than run.timeout ({seconds:.0f} s): ended")

    before = signal.signal(signal.SIGALRM, over)
    # A handler of Python's runs between two of its instructions: whoever hangs in the kernel
    # is ended from a thread instead, and the lock with it. Nothing stays stopped: see stopping.
    last = threading.Timer(seconds + _GRACE, signal.raise_signal, (signal.SIGKILL,))
    last.daemon = True
    start_without_signals(last)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        last.cancel()


def _as_far_as_possible(policy: Policy) -> tuple[Policy, tuple[str, ...]]:
    """Lower the mode where this machine lets nobody end processes safely, and say why."""
    is_own, _ = pid_namespace()
    problem = pidfd_problem() if is_own else "/proc is of another pid namespace than ours"
    if policy.mode is not Mode.ENFORCE or not problem:
        return policy, ()
    words = f"processes cannot be ended safely here, so enforce acts as notify: {problem}"
    return replace(policy, mode=Mode.NOTIFY), (words,)


def _recorded(session: Session) -> Finished:
    """Do the run and record how it ended; a run that cannot record it is one cut short."""
    session.store.begin_run(session.run)
    session.log.write(events.run_started(session.run))
    try:
        _note_the_past(session)
        plan = _act(session)
    except VscadminError as error:
        signal.setitimer(signal.ITIMER_REAL, 0)  # what is left to do is short
        session.problems.append(str(error))
        with suppress(StoreError):  # a full disk has its own error already
            _finish(session, Outcome.FAILED, ())
        raise
    _finish(session, _ENDINGS.get(session.exit_code, Outcome.REFUSED), plan)
    if session.exit_code is Exit.DONE:
        lock.begin_count_anew(session.policy.store.path)
    account.write_metrics(session, plan)
    session.store.prune(time.time(), session.policy.store.history)
    return Finished(session.exit_code, tuple(session.problems))


def _finish(session: Session, outcome: Outcome, plan: Plan) -> None:
    words = (*session.run.words, *session.problems)
    session.run = replace(session.run, outcome=outcome, finished_at=time.time(), words=words)
    session.store.finish_run(session.run)
    session.log.write(events.run_finished(session.run, plan))


def _let_go_on(path: str) -> tuple[str, ...]:
    """Continue what an earlier run that was killed left stopped; return what to say of it."""
    left = stopping.left_behind(path, boot_id())
    resumed = resume(left.keys, left.owner) if left else ()
    stopping.forget(path)
    if not left:
        return ()
    words = f", and left {len(resumed)} processes stopped: they go on" if resumed else ""
    return (f"an earlier run died while it ended a server{words}",)


def _note_the_past(session: Session) -> None:
    """Set right, and say, what earlier runs left undone."""
    path = session.policy.store.path
    for run in session.store.fail_unfinished_runs(session.run.run_id, time.time()):
        session.say(f"the run of {format_moment(run.started_at)} was cut short")
    for each in session.store.interrupted_terminations():
        cut_short = replace(each, result=Result.CUT_SHORT, finished_at=time.time())
        session.store.finish_termination(cut_short)
        session.terminations.append(cut_short)
        session.say(
            f"ending pid {each.identity.pid} of {each.user} was cut short: it is judged anew"
        )
    since = time.time() - session.policy.store.history
    for user in {each.user for each in session.store.uncertain_notices(since) if not each.error}:
        words = f"a run died while it told {user}: that notice may have arrived, and counts as none"
        session.say(words, f"uncertain {user}")
    account.say_late(session, session.store.last_completed_run())
    account.say_turned_away(session, lock.turned_away(path))


def _act(session: Session) -> Plan:
    """Look and record; then do what the plan allows. Returns the plan."""
    policy, store = session.policy, session.store
    seen = look(policy, session.request.catalogue, store.recorded(boot_id()))
    boot = seen.snapshot.boot_id
    together.hear(session, seen)
    known, waits = _known(session, seen), _waiting(session, seen.snapshot.taken_at)
    plan = plan_of(seen, policy, known, session.fleet.trees, waits)
    store.record_scan(session.run.run_id, seen.snapshot, plan, seen.logins)
    for event in events.decisions(plan, boot):
        session.log.write(event)
    if seen.is_partial:
        session.exit_code = Exit.INCOMPLETE
        session.warn(account.partial_words(seen), "incomplete")
    if policy.mode is not Mode.OBSERVE:
        _carry_out(session, plan, seen)
    together.tell(session, seen, plan)
    return plan


def _known(session: Session, seen: Sight) -> Mapping[ProcessKey, History]:
    """Return what is remembered of the trees, put right if the clock was set since."""
    store, snapshot = session.store, seen.snapshot
    known = remembered(store, session.policy, snapshot.boot_id, snapshot.taken_at)
    step = clock_step(store, snapshot)
    if not step:
        return known
    session.say(f"the clock was set by {step:.0f} s: every ladder begins anew")
    return {key: after_clock_step(history, step) for key, history in known.items()}


def _waiting(session: Session, now: float) -> Mapping[str, float]:
    """Return when the next message may go to each user who may get none now."""
    last, failed = messages(session.store, session.policy, now)
    return waiting(last, failed, session.policy, now, fleet=session.fleet)


def _carry_out(session: Session, plan: Plan, seen: Sight) -> None:
    """Tell, end and account for it, as far as the breaker lets the plan pass."""
    policy, request, boot = session.policy, session.request, seen.snapshot.boot_id
    with Mailer(policy.notify, request.host) as mailer:
        try:
            approved = approve(plan, policy, boot, request.approved)
        except PlanRefusedError as error:
            account.refused(session, plan, error, boot, mailer)
            return
        session.run = replace(session.run, plan_hash=approved.plan_hash)
        if request.approved and session.store.is_approval_used(request.approved):
            session.say(f"--approve {request.approved}: was used before; nothing is done")
            session.exit_code = Exit.PLAN_REFUSED
            return
        if approved.notices or session.fleet.asks:
            author = session.author(boot)
            try:
                tell_owners(session, approved, author, mailer, seen.snapshot.processes.values())
            finally:  # before the ends, which take time: what was delivered is known at once
                together.tell(session, seen, plan)
        end_trees(session, approved, boot)
        if request.approved:  # after the ends: a run that is cut short may go on with it
            session.store.use_approval(request.approved, time.time())
        account.send_digest(session, plan, boot, mailer)
