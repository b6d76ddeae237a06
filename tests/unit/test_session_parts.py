"""Parts of a session where what they stand on gives way: files, pipes, signals and the clock."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vscadmin.proxy import boot, stream
from vscadmin.proxy.boot import HelloReader, TrailerReader
from vscadmin.proxy.loop import Loop
from vscadmin.proxy.signals import Signals
from vscadmin.proxy.stream import Inlet, Outlet
from vscadmin.slurm.progress import SOONEST, Progress

MARK = b"0123456789abcdef0123456789abcdef"
HELLO = MARK + b" 10.77.0.11 c1 42 10.77.0.21 a70d0d0a\n"
NOW = 1_795_276_800


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def status_in_a_child(play: Callable[[], None]) -> int:
    """Return 0 if *play* passes, in a process whose limits and signals are its own."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            signal.alarm(10)  # what blocks ends
            play()
            status = 0
        except BaseException:  # nothing of it may go on as a second pytest
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# Outlets.


def test_a_file_that_may_not_grow_is_lost_and_nothing_is_raised(loop: Loop, tmp_path: Path) -> None:
    """As under `ulimit -f`."""
    heard: list[str] = []
    output = tmp_path / "output"

    def play() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most))
        fd = os.open(output, os.O_WRONLY | os.O_CREAT)
        outlet = Outlet(loop, fd, lambda: heard.append("drained"), lambda: heard.append("gone"))
        for _ in range(3):
            outlet.write(b"x" * 600)
        assert heard == ["gone", "drained"]
        assert not outlet.is_open
        assert outlet.is_empty
        outlet.close()

    assert status_in_a_child(play) == 0
    assert output.stat().st_size == 1000


def test_who_waited_for_a_reader_that_went_may_go_on(loop: Loop) -> None:
    """Nobody takes what comes from now on, but its source has an end, too."""
    heard: list[str] = []
    reader, writer = os.pipe()
    outlet = Outlet(loop, writer, lambda: heard.append("drained"), lambda: heard.append("gone"))
    outlet.write(bytes(1_000_000))
    assert outlet.taken == 1_000_000
    assert not heard
    os.close(reader)
    for _ in range(3):
        timer = loop.later(0.05, lambda: None)
        loop.step()
        timer.cancel()
    assert heard == ["gone", "drained"]
    assert not outlet.is_full
    outlet.close()


def test_a_pipe_that_cannot_be_opened_again_never_blocks(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's, as behind sudo: it is asked before each write whether it takes one."""
    monkeypatch.setattr(stream, "_ways", lambda _fd: (None, None, False))
    pieces = [bytes([number]) * size for number in range(20) for size in (100, 8192)]

    def play() -> None:
        reader, writer = os.pipe()
        outlet = Outlet(loop, writer)
        for piece in pieces:
            outlet.write(piece)
        for _ in range(100):  # more than it takes until the pipe is full
            loop.later(0, lambda: None)
            loop.step()
        assert 0 < outlet.written < sum(map(len, pieces))
        outlet.close()
        read: list[bytes] = []
        Inlet(loop, reader, read.append, loop.stop).resume()
        loop.run()
        assert b"".join(read) == b"".join(pieces)

    assert status_in_a_child(play) == 0


# What a step says.


@pytest.mark.parametrize(
    "before",
    [
        b"+ /bin/sh -c 'for p; do' " + MARK + b" /usr/bin/python3 python3\n",
        MARK + b" " + MARK + b" ",
        HELLO[:-10] + b"\n",
        HELLO[:-1],
    ],
    ids=["command line", "mark", "another line's beginning", "hello without its end"],
)
def test_a_hello_is_found_behind_an_earlier_mark(before: bytes) -> None:
    data = before + HELLO
    for size in range(1, len(data) + 1):
        reader = HelloReader(MARK)
        answers = [reader.feed(data[at : at + size]) for at in range(0, len(data), size)]
        assert not any(answers[:-1])
        assert answers[-1] is not None
        hello, after = answers[-1]
        assert (hello.node, hello.job, hello.python) == ("c1", 42, 0xA70D0D0A)
        assert after == b""


def test_a_status_is_known_when_its_line_is_whole() -> None:
    """1 is another status than 143."""
    reader = TrailerReader(MARK)
    seen = []
    for byte in b"output\001" + MARK + b" 143\n":
        reader.feed(bytes([byte]))
        seen.append(reader.status)
    assert seen == [None] * (len(seen) - 1) + [143]
    assert reader.end() == (b"", 143)


def test_a_status_without_its_line_end_is_none() -> None:
    reader = TrailerReader(MARK)
    cut = b"\001" + MARK + b" 1"
    assert reader.feed(cut) == b""
    assert reader.end() == (cut, None)


@pytest.mark.parametrize("is_compiled", [True, False])
def test_an_upgrade_meanwhile_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_compiled: bool
) -> None:
    """Which of both it will be has to be said: without a word it would be read as a third one."""
    proxy = tmp_path / "proxy"
    shutil.copytree(Path(boot.__file__).parent, proxy)
    monkeypatch.setattr(boot, "__file__", str(proxy / "boot.py"))
    boot.agent_modules.cache_clear()
    with pytest.raises(TypeError):
        boot.agent_modules()
    read = boot.agent_modules(is_compiled)
    assert [compiled for _, compiled, _ in read] == [is_compiled] * len(read)
    shutil.rmtree(proxy)
    assert boot.agent_modules(is_compiled) == read
    boot.agent_modules.cache_clear()


# Signals.


def heard_by(loop: Loop, *numbers: int) -> list[int]:
    """Hear of *numbers* from now on."""
    heard: list[int] = []
    Signals(loop, dict.fromkeys(numbers, heard.append))
    return heard


def turn(loop: Loop) -> None:
    loop.later(0.05, lambda: None)
    loop.step()


def test_signals_that_were_blocked_are_heard(loop: Loop) -> None:
    """Whoever started us may have had them blocked; one that came before counts as well."""

    def play() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP))
        os.kill(os.getpid(), signal.SIGHUP)
        heard = heard_by(loop, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP)
        turn(loop)
        assert heard == [signal.SIGHUP]
        for number in (signal.SIGTERM, signal.SIGCHLD):
            os.kill(os.getpid(), number)
            turn(loop)
        assert heard == [signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD]

    assert status_in_a_child(play) == 0


def test_a_signal_is_heard_as_soon_as_it_does_not_end_us(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = signal.signal

    def at_once(number: int, handler: signal._HANDLER) -> None:
        real(number, handler)
        os.kill(os.getpid(), number)

    def play() -> None:
        monkeypatch.setattr(signal, "signal", at_once)
        heard = heard_by(loop, signal.SIGTERM)
        turn(loop)
        assert heard == [signal.SIGTERM]

    assert status_in_a_child(play) == 0


def test_what_ends_us_is_served_before_what_came_of_it(loop: Loop) -> None:
    """Slurm signals all of a step at once: the shell's end may be known before our own."""

    def play() -> None:
        heard = heard_by(loop, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
            os.kill(os.getpid(), number)
        turn(loop)
        assert heard == [signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGCHLD]

    assert status_in_a_child(play) == 0


# The clock.


@pytest.mark.parametrize("back", [0, 3600, 86400 * 365])
def test_a_clock_that_was_set_back_holds_no_question_up(back: int) -> None:
    progress = Progress()
    progress.question(12)
    progress.answer(b"", 0, NOW)
    assert progress.sooner(NOW - back) == SOONEST


def test_a_status_behind_a_terminals_line_end() -> None:
    reader = TrailerReader(MARK)
    reader.feed(b"\001" + MARK + b" 7\r\n")
    assert reader.status == 7
