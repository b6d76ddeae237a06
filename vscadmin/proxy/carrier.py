"""What holds the bytes of one direction between taking and giving them: a pipe, or a buffer.

A pipe keeps them in the kernel, by splice(2). After 1,024 pipes a user's new ones shrink,
pipe(7), so one is lent only while something is in flight, and an idle connection holds none.

Runs on both sides of a session: standard library of Python 3.6 only.
"""

import fcntl
import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Splice = Callable[[int, int, int, None, None, int], int]

_SPARE = 2
_LONGEST_PIPE = 1 << 20  # bytes that anybody may ask for: pipe-max-size, pipe(7)
_LONGEST_COPY = 1 << 18
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ, linux/fcntl.h; in fcntl since Python 3.10
_MOVE_NONBLOCK = 3  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK, linux/splice.h


class Carrier:
    """Holds bytes; lent empty. `take` and `give` raise BlockingIOError where nothing moves."""

    __slots__ = ("held", "pool")

    def __init__(self, pool: "Pool") -> None:
        self.pool = pool
        self.held = 0  # bytes taken and not yet given

    def take(self, source: socket.socket, most: int) -> int:
        """Take what has arrived while empty; return how much, 0 at the end of the stream."""
        raise NotImplementedError

    def give(self, target: socket.socket) -> int:
        """Pass on what is held as far as it goes; return how much that was."""
        raise NotImplementedError

    def close(self) -> None:
        """Drop what is held."""


class Pipe(Carrier):
    """Bytes that stay in the kernel. Raises OSError where no descriptor is left."""

    __slots__ = ("_in", "_out", "_splice")

    def __init__(self, pool: "Pool", splice: "Splice", size: int) -> None:
        super().__init__(pool)
        self._splice = splice
        self._out, self._in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.fcntl(self._in, _SET_PIPE_SIZE, min(size, _LONGEST_PIPE))
        except OSError:  # EPERM: this user has many pipes; a small one works, too
            return

    def take(self, source: socket.socket, most: int) -> int:
        """Take what has arrived, as far as there is room."""
        count = self._splice(source.fileno(), self._in, most, None, None, _MOVE_NONBLOCK)
        self.held = count
        return count

    def give(self, target: socket.socket) -> int:
        """Pass on what is held."""
        count = self._splice(self._out, target.fileno(), self.held, None, None, _MOVE_NONBLOCK)
        self.held -= count
        return count

    def close(self) -> None:
        """Drop what is held."""
        os.close(self._in)
        os.close(self._out)


class Buffer(Carrier):
    """Bytes copied out of the kernel and back: where Python or the socket cannot splice."""

    __slots__ = ("_at", "_view")

    def __init__(self, pool: "Pool", size: int) -> None:
        super().__init__(pool)
        self._view = memoryview(bytearray(min(size, _LONGEST_COPY)))
        self._at = 0

    def take(self, source: socket.socket, most: int) -> int:
        """Take what has arrived, as far as there is room."""
        self._at = 0
        self.held = source.recv_into(self._view, min(most, len(self._view)))
        return self.held

    def give(self, target: socket.socket) -> int:
        """Pass on what is held."""
        count = target.send(self._view[self._at : self._at + self.held])
        self._at += count
        self.held -= count
        return count


class Pool:
    """Lends carriers of one kind, and keeps a few for the next borrower."""

    def __init__(self, make: "Callable[[Pool], Carrier]") -> None:
        self._make = make
        self._spare = []  # type: list[Carrier]

    def borrow(self) -> Carrier:
        """Lend an empty carrier; raises OSError where none can be made."""
        return self._spare.pop() if self._spare else self._make(self)

    def give_back(self, carrier: Carrier) -> None:
        """Take a carrier back; one that still holds something is of no use to others."""
        if carrier.held or len(self._spare) >= _SPARE:
            carrier.close()
        else:
            self._spare.append(carrier)

    def close(self) -> None:
        """Close what is not lent."""
        while self._spare:
            self._spare.pop().close()
