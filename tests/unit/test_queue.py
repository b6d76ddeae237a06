"""What the user is shown of the launcher's lines, and how often Slurm is asked for a reason."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run import eventually
from vscadmin.proxy import queue
from vscadmin.proxy.ask import Asker
from vscadmin.proxy.child import Children
from vscadmin.proxy.journal import Journal
from vscadmin.proxy.loop import Loop
from vscadmin.proxy.queue import Queue
from vscadmin.slurm.watching import Watching

JOB = 4711
# It knows how the job ended when it is asked for the third time, and takes its time.
SLOW_SQUEUE = f"""#!/bin/sh
cd "${{0%/*}}"
echo >>asked
[ "$(wc -l <asked)" -lt 3 ] && state=RUNNING || state=CANCELLED
sleep 1.1
echo "{JOB}|$(id -u)|$state|N/A|N/A|1:00:00|devel||1|None"
"""


class Seat:
    """A session's queue whose commands are those in *place*, and what its user sees."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.loop = Loop()
        self.seen: list[bytes] = []
        self.children = Children()
        asker = Asker(
            self.loop, self.children, {**os.environ, "PATH": f"{place}:{os.environ['PATH']}"}
        )
        journal = Journal("", 0, ("", "", ""))
        journal.user = self.seen.append
        self.queue = Queue(self.loop, asker, journal, Watching())
        self.queue.read_stderr(b"salloc: Granted job allocation %d\n" % JOB)

    def turn(self) -> int:
        """Let the loop turn, and see who ended; return how many lines the user has."""
        self.loop.later(0.01, self.children.reap)
        self.loop.step()
        return len(self.seen)


@pytest.fixture
def seat(tmp_path: Path) -> Iterator[Seat]:
    (tmp_path / "squeue").write_text(SLOW_SQUEUE)
    (tmp_path / "squeue").chmod(0o755)
    made = Seat(tmp_path)
    yield made
    made.loop.close()


@pytest.mark.parametrize(
    "line",
    [
        b"salloc: Relinquishing job allocation 4711",
        b"salloc: Job allocation 4711 has been revoked.",
        b"salloc: Granted job allocation 4711",
        b"salloc: job 4711 queued and waiting for resources",
        b"salloc: job 4711 has been allocated resources",
    ],
)
def test_what_is_said_of_our_own_job_is_no_line_of_the_shells(seat: Seat, line: bytes) -> None:
    """It may come before we hear of the shell's end."""
    seat.queue.runs(JOB, "c1")
    assert seat.queue.read_stderr(b"one\n%s\ntwo\nthree" % line) == b"one\ntwo\nthree"


@pytest.mark.parametrize("job", [b"47110", b"471", b"12"])
def test_what_is_said_of_another_job_is_the_users(seat: Seat, job: bytes) -> None:
    seat.queue.runs(JOB, "c1")
    line = b"salloc: Relinquishing job allocation %s\n" % job
    assert seat.queue.read_stderr(line) == line


def test_the_reason_is_asked_for_twice_however_long_an_answer_takes(
    seat: Seat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first question of all is how the job gets on."""
    monkeypatch.setattr(queue, "_WHY", 10.0)  # for a busy machine
    over: list[None] = []
    seat.queue.say_why("the job ended", lambda: over.append(None))
    eventually(seat.turn, lambda _: bool(over))
    assert seat.seen[-1].startswith(b"vscode-shell-proxy: the job ended: ")
    assert b"cancel" in seat.seen[-1]


def test_a_slurm_that_does_not_answer_is_not_asked_again(seat: Seat) -> None:
    """The user has waited long enough."""
    (seat.place / "squeue").write_text("#!/bin/sh\necho >>${0%/*}/asked\nexec sleep 60\n")
    over: list[None] = []
    seat.queue.say_why("the job ended", lambda: over.append(None))
    eventually(seat.turn, lambda _: bool(over))
    assert seat.seen == [b"vscode-shell-proxy: the job ended\n"]
    assert (seat.place / "asked").read_text() == "\n\n", "how it gets on, and why it ended"
