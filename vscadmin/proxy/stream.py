"""One-way byte streams over descriptors that others opened: an inlet, and an outlet.

The descriptors of a session's stdio may be pipes, sockets, terminals or files, and are shared
with whoever started us: none of them is made non-blocking behind their backs.

Runs on both sides of a session: standard library of Python 3.6 only.
"""

import errno
import os
import select
import socket
import stat

from vscadmin.proxy.loop import GONE, READ, WRITE, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 1 << 16  # a pipe holds as much by default, pipe(7)
_ATOMIC = 4096  # a pipe that is ready takes this much without blocking: PIPE_BUF, pipe(7)
_FULL = 1 << 18  # bytes an outlet holds before its source has to pause
# Nobody reads any more, or a file takes no more.
_GONE = (errno.EPIPE, errno.ECONNRESET, errno.EIO, errno.EBADF, errno.ENOTCONN)
_LOST = (*_GONE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ESTALE)


class Inlet:
    """Calls *received* with what arrives at a descriptor, and *ended* once at its end."""

    def __init__(
        self,
        loop: Loop,
        fd: int,
        received: "Callable[[bytes], None]",
        ended: "Callable[[], None]",
    ) -> None:
        self._loop = loop
        self._fd = fd
        self._received = received
        self._ended = ended
        self._is_open = True
        self._is_paused = True

    def resume(self) -> None:
        """Read, from now on; an inlet begins paused."""
        if not (self._is_open and self._is_paused):
            return
        self._is_paused = False
        try:
            self._loop.watch(self._fd, READ, self._read)
        except PermissionError:  # what epoll does not know: a file, /dev/null
            self._loop.later(0, self._read_again)

    def pause(self) -> None:
        """Leave what arrives where it is."""
        if self._is_open and not self._is_paused:
            self._is_paused = True
            self._loop.forget(self._fd)

    def close(self) -> None:
        """Read no more; the descriptor itself belongs to whoever opened it."""
        self.pause()
        self._is_open = False

    def drain(self) -> None:
        """Read what has arrived by now, to the end if it is there."""
        while self._is_open and _is_readable(self._fd):
            self._read(READ)

    def _read_again(self) -> None:
        if not self._is_paused:
            self._read(READ)
            if not self._is_paused:
                self._loop.later(0, self._read_again)

    def _read(self, _events: int) -> None:
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: a terminal whose other side is gone
            data = b""
        if data:
            self._received(data)
        else:
            self.close()
            self._ended()


def _is_readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


class Outlet:
    """Writes to a descriptor as fast as it takes it, and holds the rest.

    *drained* is called when a full outlet has room again, *gone* once when nobody is left to
    read, whether something is being written or not.
    """

    def __init__(
        self,
        loop: Loop,
        fd: int,
        drained: "Callable[[], None]" = lambda: None,
        gone: "Callable[[], None]" = lambda: None,
    ) -> None:
        self._loop = loop
        self._fd = fd
        self.drained = drained
        self.gone = gone
        self._held: list[bytes] = []
        self._size = 0
        self._mask = 0
        self._is_open = True
        self._is_closing = False
        self.written = 0  # bytes, over all
        self._socket, self._own, self._always = _ways(fd)
        self._may_block = self._socket is None and self._own is None and not self._always
        if not self._always:
            loop.watch(fd, 0, self._ready)

    @property
    def is_full(self) -> bool:
        """Whether the source should pause until *drained*."""
        return self._size >= _FULL

    @property
    def is_empty(self) -> bool:
        """Whether everything was written, or nobody is left to read."""
        return self._size == 0

    @property
    def taken(self) -> int:
        """Bytes that came to be written, over all."""
        return self.written + self._size

    @property
    def is_open(self) -> bool:
        """Whether somebody may still read."""
        return self._is_open

    def write(self, data: bytes) -> None:
        """Write *data* now or as soon as possible; into the void where nobody reads."""
        if not data or not self._is_open or self._is_closing:
            return
        self._held.append(data)
        self._size += len(data)
        if len(self._held) == 1:
            self._flush()

    def close(self) -> None:
        """Close the descriptor once everything was written: the reader sees the end."""
        if not self._is_closing:
            self._is_closing = True
            if not self._is_open:
                os.close(self._fd)
            elif self.is_empty:
                self._shut()

    def _ready(self, events: int) -> None:
        if events & GONE:
            self._lost()
            return
        was_full = self.is_full
        self._flush()
        if was_full and not self.is_full and self._is_open:
            self.drained()

    def _flush(self) -> None:
        while self._held:
            try:
                count = self._send(self._held[0])
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno not in _LOST:
                    raise
                self._lost()
                return
            self.written += count
            self._size -= count
            if count < len(self._held[0]):
                self._held[0] = self._held[0][count:]
                if not self._always:
                    break
            else:
                del self._held[0]
            if self._may_block:
                break
        if self._is_open:
            self._want(WRITE if self._held else 0)
            if self._is_closing and not self._held:
                self._shut()

    def _send(self, data: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        if self._own is not None:
            return os.write(self._own, data)
        if self._may_block and not self._mask:  # ask first
            raise BlockingIOError
        return os.write(self._fd, data[:_ATOMIC])

    def _want(self, mask: int) -> None:
        if mask != self._mask and not self._always:
            self._mask = mask
            self._loop.change(self._fd, mask)

    def _lost(self) -> None:
        if self._is_open:
            self._shut()
            self.gone()
            self.drained()  # into the void from now on

    def _shut(self) -> None:
        self._is_open = False
        self._held = []
        self._size = 0
        if not self._always:
            self._loop.forget(self._fd)
        if self._own is not None:
            os.close(self._own)
        if self._socket is not None:
            self._socket.close()
        if self._is_closing:
            os.close(self._fd)


def _ways(fd: int) -> "tuple[socket.socket | None, int | None, bool]":
    """Return how to write without blocking: a socket, our own opening of the pipe; or a file."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        return socket.socket(fileno=os.dup(fd)), None, False
    if stat.S_ISFIFO(mode) or os.isatty(fd):
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            return None, os.open(f"/proc/self/fd/{fd}", flags), False
        except OSError:  # another user's, another mount namespace's, or no /proc
            return None, None, False
    return None, None, stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not os.isatty(fd))


class Flow:
    """Carries what arrives at a descriptor to an outlet, at the speed of its reader.

    *through* sees every byte and returns what is to be written instead.
    """

    def __init__(
        self,
        loop: Loop,
        fd: int,
        outlet: Outlet,
        through: "Callable[[bytes], bytes]",
        ended: "Callable[[], None]",
    ) -> None:
        self.inlet = Inlet(loop, fd, self._received, ended)
        self._outlet = outlet
        self._through = through
        outlet.drained = self.inlet.resume

    def _received(self, data: bytes) -> None:
        self._outlet.write(self._through(data))
        if self._outlet.is_full:
            self.inlet.pause()
