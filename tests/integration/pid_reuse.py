"""Take over another process's pid, in a pid namespace of our own, and see who is signalled.

As a program, below `unshare --pid --fork --mount-proc`: prints what became of whom as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import time

from tests.run import eventually
from vscadmin.cleanup.freeze import standstill
from vscadmin.cleanup.kill import Members, Who, send, who_is
from vscadmin.model import ProcessKey
from vscadmin.procs.scan import read_process

NEXT = "/proc/sys/kernel/ns_last_pid"


def sleeper() -> int:
    pid = os.fork()
    if pid == 0:
        os.execv("/bin/sleep", ["/bin/sleep", "600"])  # noqa: S606 - as a child of ours
    eventually(lambda: read_process(pid), lambda it: it.argv[-1:] == (b"600",) and it.state == "S")
    return pid


def victim() -> tuple[ProcessKey, Who]:
    pid = sleeper()
    who = who_is(pid)
    assert who is not None
    time.sleep(0.03)  # a pid and its start name one process: not within one tick
    return ProcessKey(pid, who.start_ticks), who


def take_over(pid: int) -> None:
    """End the process *pid*, and start another one that has its pid and its program."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with open(NEXT, "w", encoding="ascii") as file:
        file.write(str(pid - 1))
    assert sleeper() == pid


def before_the_pin() -> tuple[str, str]:
    key, who = victim()
    take_over(key.pid)
    return send(key, who, signal.SIGKILL), read_process(key.pid).state


def between_check_and_signal() -> tuple[str, str]:
    key, who = victim()
    with Members(os.getuid(), [key], {key: who}) as members:
        assert members.hold(key)
        take_over(key.pid)
        return members.signal(key, signal.SIGKILL), read_process(key.pid).state


def before_a_standstill() -> tuple[str, str]:
    key, who = victim()
    take_over(key.pid)
    with Members(os.getuid(), [key], {key: who}) as them, standstill(them) as still:
        return str(len(still.stopped)), read_process(key.pid).state


def in_a_standstill() -> tuple[str, str]:
    key, who = victim()
    with Members(os.getuid(), [key], {key: who}) as them, standstill(them) as still:
        take_over(key.pid)
        return str(still.send(signal.SIGKILL)), read_process(key.pid).state


CASES = (before_the_pin, between_check_and_signal, before_a_standstill, in_a_standstill)

if __name__ == "__main__":
    print(json.dumps({case.__name__: case() for case in CASES}))
