"""Stdio as a session meets it: pipes, sockets, files, terminals, /dev/null, and readers that go."""

from __future__ import annotations

import errno
import os
import pty
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vscadmin.proxy.loop import Loop
from vscadmin.proxy.stream import Flow, Inlet, Outlet


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def until(loop: Loop, done: Callable[[], bool], seconds: float = 10) -> None:
    """Serve the loop until *done*."""
    late: list[bool] = []
    timer = loop.later(seconds, lambda: late.append(True))
    while not done():
        assert not late, "it did not happen"
        loop.step()
    timer.cancel()


def collect(loop: Loop, fd: int) -> tuple[list[bytes], list[bool]]:
    """Read *fd* into a list; the second one gets True at the end."""
    read: list[bytes] = []
    ended: list[bool] = []
    Inlet(loop, fd, read.append, lambda: ended.append(True)).resume()
    return read, ended


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_more_than_a_reader_takes_waits_and_arrives_whole(loop: Loop, kind: str) -> None:
    reader, writer = _ends(kind)
    outlet = Outlet(loop, writer)
    data = os.urandom(3_000_000)
    outlet.write(data)
    assert outlet.is_full
    read, ended = collect(loop, reader)
    outlet.close()
    until(loop, lambda: bool(ended))
    assert b"".join(read) == data
    assert outlet.written == len(data)
    os.close(reader)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_reader_that_goes_is_noticed_though_nothing_is_written(loop: Loop, kind: str) -> None:
    reader, writer = _ends(kind)
    gone: list[bool] = []
    outlet = Outlet(loop, writer, gone=lambda: gone.append(True))
    os.close(reader)
    until(loop, lambda: bool(gone))
    outlet.write(b"into the void")
    assert outlet.is_empty
    assert not outlet.is_open
    os.close(writer)


def test_a_half_closed_client_is_not_gone(loop: Loop) -> None:
    """`ssh host < script` ends stdin and still wants its output: one socket is both."""
    near, far = socket.socketpair()
    gone: list[bool] = []
    outlet = Outlet(loop, near.fileno(), gone=lambda: gone.append(True))
    far.shutdown(socket.SHUT_WR)
    outlet.write(b"output")
    assert far.recv(10) == b"output"
    loop.later(0.05, loop.stop)
    loop.run()
    assert not gone
    far.close()
    until(loop, lambda: bool(gone))
    near.close()


def test_a_descriptor_of_somebody_else_stays_blocking(loop: Loop) -> None:
    """Its open file is shared with the shell that started us."""
    for kind in ("pipe", "socket"):
        reader, writer = _ends(kind)
        outlet = Outlet(loop, writer)
        outlet.write(b"x")
        read, ended = collect(loop, reader)
        until(loop, lambda read=read: bool(read))  # type: ignore[misc]
        assert os.get_blocking(reader)
        assert os.get_blocking(writer)
        outlet.close()
        until(loop, lambda ended=ended: bool(ended))  # type: ignore[misc]
        os.close(reader)


def test_files_and_dev_null_are_read_to_their_end(loop: Loop, tmp_path: Path) -> None:
    file = tmp_path / "script"
    file.write_bytes(b"a" * 200_000)
    for path, size in ((file, 200_000), (Path("/dev/null"), 0)):
        fd = os.open(path, os.O_RDONLY)
        read, ended = collect(loop, fd)
        until(loop, lambda ended=ended: bool(ended))  # type: ignore[misc]
        assert len(b"".join(read)) == size
        os.close(fd)


def test_files_and_dev_null_take_everything_at_once(loop: Loop, tmp_path: Path) -> None:
    for path in (tmp_path / "output", Path("/dev/null")):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT)
        outlet = Outlet(loop, fd)
        outlet.write(b"b" * 200_000)
        assert outlet.is_empty
        assert outlet.written == 200_000
        os.close(fd)


def test_a_full_disk_ends_the_stream_and_not_the_process(loop: Loop) -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    gone: list[int] = []
    Outlet(loop, fd, gone=lambda: gone.append(errno.ENOSPC)).write(b"x")
    assert gone == [errno.ENOSPC]
    os.close(fd)


def test_a_terminal_is_written_and_its_end_noticed(loop: Loop) -> None:
    master, terminal = pty.openpty()
    gone: list[bool] = []
    outlet = Outlet(loop, terminal, gone=lambda: gone.append(True))
    outlet.write(b"hello")
    until(loop, lambda: outlet.is_empty)
    assert os.read(master, 10) == b"hello"
    os.close(master)
    until(loop, lambda: bool(gone))
    os.close(terminal)


def test_a_slow_reader_holds_its_writer_up(loop: Loop) -> None:
    source_reader, source = os.pipe()
    target, target_writer = os.pipe()
    outlet = Outlet(loop, target_writer)
    flow = Flow(loop, source_reader, outlet, lambda data: data, outlet.close)
    flow.inlet.resume()
    os.set_blocking(source, False)
    written = 0
    for _ in range(200):
        try:
            written += os.write(source, b"c" * 65536)
        except BlockingIOError:
            loop.later(0, lambda: None)
            loop.step()
    assert written < 1 << 20
    os.close(source)
    read, ended = collect(loop, target)
    until(loop, lambda: bool(ended))
    assert len(b"".join(read)) == written
    for fd in (source_reader, target):
        os.close(fd)


@settings(max_examples=30)
@given(st.lists(st.binary(min_size=1, max_size=100_000), max_size=8))
def test_whatever_is_written_comes_out_in_its_order(pieces: list[bytes]) -> None:
    loop = Loop()
    reader, writer = os.pipe()
    outlet = Outlet(loop, writer)
    for piece in pieces:
        outlet.write(piece)
    outlet.close()
    read, ended = collect(loop, reader)
    until(loop, lambda: bool(ended))
    assert b"".join(read) == b"".join(pieces)
    os.close(reader)
    loop.close()


def _ends(kind: str) -> tuple[int, int]:
    if kind == "pipe":
        return os.pipe()
    near, far = socket.socketpair()
    return near.detach(), far.detach()


def test_an_outlet_whose_reader_went_is_closed_once(loop: Loop) -> None:
    """Its own descriptors may be somebody else's by then."""
    reader, writer = os.pipe()
    outlet = Outlet(loop, writer)
    os.close(reader)
    outlet.write(b"x")
    assert not outlet.is_open
    others = [os.open("/dev/null", os.O_RDONLY) for _ in range(3)]
    outlet.close()
    outlet.close()
    for other in others:
        os.close(other)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(writer)
