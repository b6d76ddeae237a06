"""Questions to Slurm end: where nothing can be started, and where an answer does not come."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run import eventually
from tests.unit.test_session_parts import status_in_a_child
from vscadmin.proxy.ask import KILLED, NOT_STARTED, Asker
from vscadmin.proxy.child import Children
from vscadmin.proxy.loop import Loop

NEEDED = 7  # descriptors: two pipes and /dev/null, and three in the child, which closes one
DEADLINE = 1.0  # s; on a busy machine the program has begun by then


class Asking:
    """Asks, and keeps the answers."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.children = Children()
        self.asker = Asker(self.loop, self.children, os.environ)
        self.answers: list[tuple[bytes, int]] = []

    def ask(self, *argv: str, seconds: float = DEADLINE) -> None:
        self.asker.ask(argv, seconds, lambda *answer: self.answers.append(answer))

    def turn(self) -> int:
        """Let the loop turn, and see who ended; return how many answers there are."""
        self.loop.later(0.01, self.children.reap)
        self.loop.step()
        return len(self.answers)

    def answer(self) -> tuple[bytes, int]:
        """Return the one answer."""
        eventually(self.turn, bool)
        return self.answers[0]


@pytest.fixture
def asking() -> Iterator[Asking]:
    made = Asking()
    yield made
    made.loop.close()


def take_all_descriptors() -> list[int]:
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        return taken


@pytest.mark.parametrize("left", range(NEEDED + 1))
def test_without_descriptors_nothing_is_started_and_nothing_leaks(
    asking: Asking, left: int
) -> None:
    """Connections may have all that there are."""

    def play() -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
        for fd in take_all_descriptors()[:left]:
            os.close(fd)
        asking.ask("true", seconds=20)
        expected = (b"", NOT_STARTED if left < NEEDED else 0)
        assert asking.answer() == expected
        assert len(take_all_descriptors()) == left

    assert status_in_a_child(play) == 0


@pytest.mark.parametrize(
    ("script", "output"),
    [
        pytest.param("sleep 60; echo late", b"", id="a wrapper that waits"),
        pytest.param("echo answer; sleep 3 &", b"answer\n", id="something left behind"),
    ],
)
def test_who_holds_the_output_is_waited_for_until_the_deadline(
    asking: Asking, script: str, output: bytes
) -> None:
    """And is ended then, as the end of a pipe of its own shows.

    But for what was left behind: who led its group is gone, and the number may be another's.
    """
    reader, writer = os.pipe2(os.O_NONBLOCK)
    os.set_inheritable(writer, True)
    asking.ask("sh", "-c", script)
    os.close(writer)
    assert asking.answer() == (output, KILLED)

    def is_over() -> bool:
        asking.turn()
        try:
            return os.read(reader, 1) == b""
        except BlockingIOError:
            return False

    eventually(is_over, bool)
    for _ in range(5):  # in which the one that we started is reaped
        asking.turn()
    assert asking.answers == [(output, KILLED)]
    os.close(reader)


@pytest.mark.parametrize("mode", [0o644, None], ids=["no program", "not there"])
def test_what_cannot_be_executed_is_not_started(
    asking: Asking, tmp_path: Path, mode: int | None
) -> None:
    program = tmp_path / "squeue"
    if mode is not None:
        program.write_text("#!/bin/sh\necho no\n")
        program.chmod(mode)
    asking.ask(str(program), seconds=20)
    assert asking.answer() == (b"", NOT_STARTED)


def test_a_file_system_that_hangs_holds_nobody_up(asking: Asking, tmp_path: Path) -> None:
    """A lease holds up whoever opens the file, as its server would."""
    program = tmp_path / "squeue"
    program.write_text("#!/bin/sh\necho late\n")
    program.chmod(0o755)
    leased = os.open(program, os.O_RDONLY)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # somebody wants the file
    try:
        fcntl.fcntl(leased, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError:
        pytest.skip("no leases on this file system")
    else:
        asking.ask(str(program))
        assert not asking.answers
        assert asking.answer() == (b"", KILLED)
    finally:
        os.close(leased)
        signal.signal(signal.SIGIO, before)


def test_one_that_closed_its_output_and_hangs_is_answered_once(asking: Asking) -> None:
    asking.ask("sh", "-c", "exec >&-; sleep 60", seconds=0.5)
    assert asking.answer() == (b"", KILLED)
    for _ in range(50):
        asking.turn()
    assert asking.answers == [(b"", KILLED)]
