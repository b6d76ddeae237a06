"""Waiting for what may never answer: a name server, a file system that is gone."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def within(seconds: float, look: Callable[[], Found]) -> Found:
    """Return what *look* does; raises TimeoutError after *seconds*, and what *look* raises.

    A thread of its own: who hangs in the kernel cannot be interrupted otherwise.
    """
    found: list[Found] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(look())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    start_without_signals(thread)
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not found:
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    return found[0]


def start_without_signals(thread: threading.Thread) -> None:
    """Start *thread* such that it takes no signals: they are for the main thread.

    The kernel gives a signal of the process to any thread that does not block it, and Python
    runs the handler in the main thread then, even where that one blocks the signal.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        # The handler of one that came just before runs within this call, and may raise there.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
