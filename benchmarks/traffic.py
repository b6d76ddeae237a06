"""What goes through a relay: streams, short messages, connections. `traffic ROLE PORT …`.

The far ends are as cheap as can be, so that the relay is what is measured: a sink has the
kernel drop what it is sent (MSG_TRUNC, tcp(7)).
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import threading
import time

MESSAGE = bytes(64)
_HERE = "127.0.0.1"
_HEAD = struct.Struct("!Q")  # bytes that follow
_PIECE = 1 << 18
_BACKLOG = 1024
_BEGUN, _DONE = b"+", b"="


def sink(port: int) -> None:
    """Take streams, each in a thread of its own, and say when all of one has come."""
    with socket.create_server((_HERE, port), backlog=_BACKLOG) as listener:
        while True:
            threading.Thread(target=_swallow, args=listener.accept()[:1], daemon=True).start()


def _swallow(stream: socket.socket) -> None:
    with stream:
        left: int = _HEAD.unpack(stream.recv(_HEAD.size))[0]
        stream.sendall(_BEGUN)
        buffer = bytearray(1 << 20)
        while left > 0:
            try:
                count = stream.recv_into(buffer, min(left, len(buffer)), socket.MSG_TRUNC)
            except ConnectionResetError:  # an endless stream was ended
                return
            if not count:
                return
            left -= count
        stream.sendall(_DONE)
        stream.recv(1)


def source(port: int, size: int) -> None:
    """Send a stream once a line comes on stdin; print its seconds; leave with the next line."""
    with socket.create_connection((_HERE, port)) as stream:
        stream.sendall(_HEAD.pack(size))
        assert stream.recv(1) == _BEGUN
        print("ready", flush=True)
        sys.stdin.readline()
        piece, left = memoryview(bytes(_PIECE)), size
        started = time.monotonic()
        while left > 0:
            left -= stream.send(piece[:left])
        assert stream.recv(1) == _DONE
        print(time.monotonic() - started, flush=True)
        sys.stdin.readline()


def echo(port: int) -> None:
    """Send back what comes."""
    with socket.create_server((_HERE, port), backlog=_BACKLOG) as listener, select.epoll() as poll:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # and all it accepts
        poll.register(listener, select.EPOLLIN)
        open_ones: dict[int, socket.socket] = {}
        while True:
            for fd, _ in poll.poll():
                if fd == listener.fileno():
                    made, _ = listener.accept()
                    open_ones[made.fileno()] = made
                    poll.register(made, select.EPOLLIN)
                elif data := _heard(open_ones[fd]):
                    open_ones[fd].sendall(data)
                else:
                    open_ones.pop(fd).close()


def _heard(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except ConnectionResetError:  # its client left with the answer unread
        return b""


def ping(port: int, seconds: float) -> None:
    """Exchange short messages; print median and 99th percentile of their round trips, in s."""
    with socket.create_connection((_HERE, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        trips: list[float] = []
        end = time.perf_counter() + seconds
        while (started := time.perf_counter()) < end:
            connection.sendall(MESSAGE)
            assert len(connection.recv(len(MESSAGE), socket.MSG_WAITALL)) == len(MESSAGE)
            trips.append(time.perf_counter() - started)
    trips.sort()
    print(trips[len(trips) // 2], trips[len(trips) * 99 // 100], flush=True)


def connect(port: int, seconds: float, width: int) -> None:
    """Make connections for one message each, *width* at a time; print how many a second."""
    with select.epoll() as poll:
        open_ones: dict[int, socket.socket] = {}

        def begin() -> None:
            made = socket.socket()
            made.connect((_HERE, port))
            made.sendall(MESSAGE)
            open_ones[made.fileno()] = made
            poll.register(made, select.EPOLLIN)

        for _ in range(width):
            begin()
        started, count = time.perf_counter(), 0
        while (spent := time.perf_counter() - started) < seconds:
            for fd, _ in poll.poll():
                made = open_ones.pop(fd)
                assert len(made.recv(len(MESSAGE), socket.MSG_WAITALL)) == len(MESSAGE)
                made.close()
                count += 1
                begin()
        print(count / spent, flush=True)


if __name__ == "__main__":
    _ROLE, _PORT, *_NUMBERS = sys.argv[1:]
    globals()[_ROLE](int(_PORT), *(float(n) if "." in n else int(n) for n in _NUMBERS))
