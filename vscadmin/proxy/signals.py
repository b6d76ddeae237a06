"""Signals as events of the loop.

Runs on both sides of a session: standard library of Python 3.6 only.
"""

import os
import signal

from vscadmin.proxy.loop import READ, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Signals:
    """Calls a function of ours for each signal that arrives, from within the loop."""

    def __init__(self, loop: Loop, callbacks: "Mapping[int, Callable[[int], None]]") -> None:
        self._callbacks = callbacks
        self._reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        loop.watch(self._reader, READ, self._arrived)
        signal.set_wakeup_fd(writer)  # before the handlers, which do nothing
        for number in callbacks:
            signal.signal(number, _noted)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, callbacks)  # whoever started us had them blocked

    def _arrived(self, _events: int) -> None:
        # What ends us before what is a consequence: all of a step may have been signalled.
        for number in sorted(os.read(self._reader, 512), key=signal.SIGCHLD.__eq__):
            if number in self._callbacks:
                self._callbacks[number](number)


def _noted(_number: int, _frame: object) -> None:
    """Do nothing: the number is in the pipe."""


def restore() -> None:
    """Give a child that was just forked the signals it expects."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
