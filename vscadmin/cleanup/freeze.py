"""Stop all of a tree, so that it cannot grow while it is signalled; and never leave it stopped.

A signal that arrives during a fork(2) comes after it, so a child can appear after its
parent was told to stop. All of a tree is stopped once a look that shows all of it stopped
is followed by one that shows nobody new.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Collection, Iterator
from types import FrameType
from typing import Self

from vscadmin.cleanup.kill import Members, Outcome, read_table, send, thread_states, who_is
from vscadmin.model import Process, ProcessKey
from vscadmin.procs.remains import still_there

_LONGEST = 3.0  # seconds to come to a standstill; then what is stopped has to do
_PAUSE = 0.002  # seconds for those that were told to stop to do so
_RUNNING = frozenset("RS")  # states in which a process may fork; D is left by stopping or dying
_STOPPED = "T"
# What would end or stop us is heard later: it would leave the tree stopped. Not among it are
# signals that nothing can keep out, those of our own faults, and those that end nobody.
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP}
_FAULTS |= {signal.SIGSYS, signal.SIGABRT}
_HARMLESS = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}
_INTERRUPTIONS = tuple(
    sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP} - _FAULTS - _HARMLESS)
)


class Postponed:
    """Signals to ourselves wait while the block runs, and are raised anew after it.

    Handlers, not a signal mask: what came has to be seen meanwhile, and a thread that was not
    started by us would take it.
    """

    def __init__(self) -> None:
        self.came: list[int] = []
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with _blocked(), contextlib.ExitStack() as undo:
            for signum in _INTERRUPTIONS:
                before = signal.getsignal(signum)
                if before not in (signal.SIG_IGN, None):
                    undo.callback(signal.signal, signum, before)
                    signal.signal(signum, self._note)
            self._undo = undo.pop_all()
        return self

    def _note(self, signum: int, _: FrameType | None) -> None:
        self.came.append(signum)

    def __exit__(self, *_: object) -> None:
        try:
            with _blocked():
                self._undo.close()
        finally:
            for signum in self.came:
                signal.raise_signal(signum)


@contextlib.contextmanager
def _blocked() -> Iterator[None]:
    """Let none in while handlers are exchanged: one that raises would leave half of them.

    One that came just before is handled within the call that blocks, and may raise there.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTIONS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Standstill:
    """A tree at a standstill; whatever happens, all that is not dead goes on at the end of it."""

    def __init__(self, members: Members, postponed: Postponed) -> None:
        self._members = members
        self._postponed = postponed
        self.stopped: dict[ProcessKey, None] = {}

    @property
    def was_interrupted(self) -> bool:
        """Whether we have been told to end."""
        return bool(self._postponed.came)

    def stop(self) -> None:
        """Stop members and their descendants until nobody runs and nobody is new.

        Each is pinned, then checked, then stopped. It is given up after some seconds,
        and at once when we are told to end ourselves. Who became another program, or another
        user by it, between the check and the stop goes on, and is signalled no more.
        """
        self._come_to_a_stand()
        for key in [each for each in self.stopped if not self._members.hold(each)]:
            self._members.signal(key, signal.SIGCONT)
            self._members.release(key)
            del self.stopped[key]

    def _come_to_a_stand(self) -> None:
        until = time.monotonic() + _LONGEST
        all_stood = False
        while not self.was_interrupted and time.monotonic() < until:
            found = self._members.find()
            is_new = [self._stop(each.key) for each in found if each.key not in self.stopped]
            if any(is_new):
                all_stood = False
            elif all_stood:
                return
            else:
                all_stood = all(self._stands(each) for each in found)
            time.sleep(0 if all_stood else _PAUSE)

    def _stop(self, key: ProcessKey) -> bool:
        if not self._members.hold(key):
            return False
        self.stopped[key] = None  # first: what may be stopped is continued
        return self._members.signal(key, signal.SIGSTOP) is Outcome.DONE

    def _stands(self, process: Process) -> bool:
        """Whether none of its threads can fork: one may be in the kernel still, at just that."""
        if process.key not in self.stopped:
            return True
        return process.state not in _RUNNING and not thread_states(process.pid) & _RUNNING

    def send(self, signum: signal.Signals) -> int:
        """Signal all that stand, children first, and return how many got it.

        They were checked while they stood, and cannot have become somebody else since. Children
        first: the end of a parent continues stopped ones that nobody could continue otherwise.
        """
        outcomes = [self._members.signal(key, signum) for key in reversed(self.stopped)]
        return outcomes.count(Outcome.DONE)

    def go_on(self) -> None:
        """Continue all that were stopped; the dead do not mind."""
        for key in self.stopped:
            self._members.signal(key, signal.SIGCONT)


@contextlib.contextmanager
def standstill(members: Members) -> Iterator[Standstill]:
    """Bring a tree to a standstill for the block, and let it go on after it.

    Should we be killed in between, resume() needs to know who may be stopped: write that
    down before.
    """
    with Postponed() as postponed:
        found = Standstill(members, postponed)
        try:
            found.stop()
            yield found
        finally:
            found.go_on()


def resume(keys: Collection[ProcessKey], owner: int) -> tuple[ProcessKey, ...]:
    """Continue what a run that was killed left stopped of *keys* and their descendants.

    *keys* are of this boot; what is not wholly *owner*'s was never stopped by us, and what
    moved to a job or container meanwhile was. Return those that were continued.
    """
    continued = []
    for process in still_there(read_table(), keys).values():
        if _STOPPED not in thread_states(process.pid):  # the first may have ended
            continue
        try:
            who = who_is(process.pid)
        except PermissionError:
            continue
        if who is None or set(who.uids) != {owner}:
            continue
        if send(process.key, who, signal.SIGCONT) is Outcome.DONE:
            continued.append(process.key)
    return tuple(continued)
