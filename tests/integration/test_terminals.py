"""One line on real pseudo-terminals of another user, never waiting, never elsewhere."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.builders import process
from tests.run import eventually
from vscadmin.cleanup.terminals import LONGEST, Written, pts_number, tell
from vscadmin.model import Process

ROOT = Path(__file__).parents[2]
UID = 61_234
LINE = (
    "vscadmin on login01: a remote-editor server of yours (pid 4100) will be ended: see your mail."
)
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can lend a terminal to another user"
)


@dataclass
class Terminal:
    """A pty whose slave belongs to the owner, as sshd leaves it: mesg y."""

    master: int
    slave: int

    @property
    def path(self) -> str:
        return os.ttyname(self.slave)

    def process(self, uid: int = UID) -> Process:
        device = os.fstat(self.slave).st_rdev
        major, minor = os.major(device), os.minor(device)
        tty = (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
        return process(4100, "bash", uid=uid, tty=tty)

    def shown(self) -> bytes:
        os.set_blocking(self.master, False)
        try:
            return os.read(self.master, 65536)
        except BlockingIOError:
            return b""


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    found = Terminal(*pty.openpty())
    os.fchown(found.slave, UID, -1)
    os.fchmod(found.slave, 0o620)
    yield found
    os.close(found.slave)
    os.close(found.master)


def test_the_line_is_on_the_terminal_of_its_owner(terminal: Terminal) -> None:
    assert tell([terminal.process()], UID, LINE) == (Written(terminal.path, True),)
    shown = terminal.shown()
    assert shown.strip(b"\r\n") == LINE.encode()
    assert shown.startswith(b"\r")
    assert shown.endswith(b"\n")


def test_a_terminal_of_many_processes_gets_the_line_once(terminal: Terminal) -> None:
    found = [terminal.process(), terminal.process()._replace(pid=4101), process(4102, uid=UID)]
    assert len(tell(found, UID, LINE)) == 1


def test_a_process_of_another_user_lends_no_terminal(terminal: Terminal) -> None:
    assert tell([terminal.process(uid=UID + 1)], UID, LINE) == ()


@pytest.mark.parametrize(
    ("owner", "mode", "words"),
    [
        (UID + 1, 0o620, f"belongs to uid {UID + 1}"),
        (0, 0o620, "belongs to uid 0"),
        (UID, 0o600, "its owner wants no messages (mesg n)"),
    ],
)
def test_a_terminal_of_somebody_else_or_with_mesg_n_is_left_alone(
    terminal: Terminal, owner: int, mode: int, words: str
) -> None:
    """The device number is reused: what was the owner's a moment ago may be another's."""
    os.fchown(terminal.slave, owner, -1)
    os.fchmod(terminal.slave, mode)
    assert tell([terminal.process()], UID, LINE) == (Written(terminal.path, False, words),)
    assert terminal.shown() == b""


def test_stopped_output_does_not_stop_us(terminal: Terminal) -> None:
    """As Ctrl-S does it."""
    termios.tcflow(terminal.slave, termios.TCOOFF)
    start = time.monotonic()
    (written,) = tell([terminal.process()], UID, LINE)
    assert time.monotonic() - start < 10
    assert written == Written(terminal.path, False, "its output is stopped")
    termios.tcflow(terminal.slave, termios.TCOON)


def test_a_full_terminal_does_not_stop_us(terminal: Terminal) -> None:
    filler = os.open(terminal.path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)

    def fill() -> int:
        """Return how much was written: the kernel moves what it holds on in its own time."""
        written = 0
        with suppress(BlockingIOError):
            while True:
                written += os.write(filler, b"x" * 64)
        return written

    for _ in range(3):
        time.sleep(0.2)
        eventually(fill, lambda written: written == 0)
    start = time.monotonic()
    (written,) = tell([terminal.process()], UID, LINE)
    assert time.monotonic() - start < 10
    assert not written.written
    os.close(filler)


def test_a_terminal_that_was_closed_is_a_value(terminal: Terminal) -> None:
    gone = terminal.process()._replace(tty=(136 << 8) | 0xF0 | (0xFFE << 20))
    (written,) = tell([gone], UID, LINE)
    assert (written.written, written.error) == (False, "No such file or directory")


def test_only_pseudo_terminals_count() -> None:
    console, serial = (5 << 8) | 1, (4 << 8) | 64
    for tty in (console, serial, 0, -1, (136 << 8) + (1 << 8)):
        assert tell([process(4100, uid=UID, tty=tty)], UID, LINE) == ()
    assert [pts_number((136 << 8) | 7), pts_number((136 << 8) | (1 << 20) | 3)] == [7, 259]


def test_a_hostile_line_is_escaped_and_cut(terminal: Terminal) -> None:
    assert tell([terminal.process()], UID, "\x1b]0;x\x07\r\n\x9b" + "ü" * 500)[0].written
    shown = terminal.shown()
    assert set(shown) <= {*range(0x20, 0x7F), 0x0D, 0x0A}
    assert len(shown) <= LONGEST + 2, "the terminal itself adds a return to each newline"


def test_it_does_not_become_our_terminal(terminal: Terminal) -> None:
    """A child without a terminal, a session leader, writes: it must have none afterwards."""
    child = os.fork()
    if child == 0:
        os.setsid()
        told = tell([terminal.process()], UID, LINE)
        with open("/proc/self/stat", encoding="ascii") as file:
            tty = file.read().rpartition(")")[2].split()[4]
        os._exit(0 if told[0].written and tty == "0" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


IMPOSTORS = """
import os, stat, sys
from vscadmin.cleanup.terminals import tell
from tests.builders import process
os.chdir("/dev/pts")
open("victim", "w").close()
os.symlink("victim", "7")
open("8", "w").close()
os.mknod("9", stat.S_IFCHR | 0o620, os.makedev(1, 3))
os.mkfifo("10")
for name in ("victim", "8", "9", "10"):
    os.chown(name, 61234, -1)
    os.chmod(name, 0o620)
for number in (7, 8, 9, 10):
    (told,) = tell([process(1, uid=61234, tty=(136 << 8) | number)], 61234, "a line")
    print(number, told.written, told.error)
print(os.path.getsize("victim"), os.path.getsize("8"))
"""


def test_what_is_no_terminal_is_not_written_to() -> None:
    """A link, a file, another device and a pipe that nobody reads, all of them the owner's."""
    mount = 'mount -t tmpfs none /dev/pts && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", mount, "sh", sys.executable, "-c", IMPOSTORS]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert done.stdout.splitlines() == [
        "7 False Too many levels of symbolic links",
        "8 False is not that terminal",
        "9 False is not that terminal",
        "10 False No such device or address",
        "0 0",
    ], done.stderr
