"""Two joined connections: half-closes, resets and back-pressure pass from one to the other.

What one side says is carried while the other takes it: a reader that is slow holds the writer,
and between them is never more than one carrier full.

Runs on both sides of a session: standard library of Python 3.6 only.
"""

import errno
import select
import socket

from vscadmin.proxy.link import reset_on_close
from vscadmin.proxy.loop import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from vscadmin.proxy.carrier import Carrier
    from vscadmin.proxy.relay import Relay

_NO_SPLICE = (errno.EINVAL, errno.ENOSYS, errno.EPERM)  # not this socket, or not here at all
_SHORT = 1 << 12  # bytes: who says no more at once is talking, who says more sends a stream
_LAST_TURNS = 64  # chunks: more than a receive buffer holds, tcp(7)


class Pair:
    """Two joined connections."""

    __slots__ = ("_ended", "_ends", "is_failing", "is_open", "relay")

    def __init__(
        self,
        relay: "Relay",
        one: socket.socket,
        other: socket.socket,
        ended: "Callable[[], None]",
    ) -> None:
        self.relay = relay
        self.is_open = True
        self.is_failing = False  # an error is told once; what reads as an end after it is none
        self._ended = ended
        left, right = _End(self, one), _End(self, other)
        left.inward = right.outward = _Way(self, left, right)
        right.inward = left.outward = _Way(self, right, left)
        self._ends = (left, right)  # type: tuple[_End, ...]
        left.begin()

    def close(self) -> None:
        """End it; a side that has been told of the end sees nothing new."""
        if self.is_open:
            self.is_open = False
            for end in self._ends:
                end.close()
            self._ends = ()
            self.relay.forget(self)
            self._ended()

    def abort(self) -> None:
        """End it; both sides see a reset (that of a unix socket: its end)."""
        if self.is_open:
            for end in self._ends:
                reset_on_close(end.socket)
            self.close()

    def fail(self) -> None:
        """Abort it after an error; what had arrived before goes as far as it can at once."""
        self.is_failing = True
        for end in self._ends:
            try:
                for _ in range(_LAST_TURNS):
                    if not end.inward.move():
                        break
            except OSError:
                pass
        self.abort()


class _End:
    """One of the two connections: what arrives goes inward, what is for it comes outward."""

    __slots__ = ("_fd", "_is_watched", "_loop", "_mask", "_pair", "inward", "outward", "socket")

    inward: "_Way"
    outward: "_Way"

    def __init__(self, pair: Pair, connection: socket.socket) -> None:
        self.socket = connection
        self._pair = pair
        self._loop = pair.relay.loop
        self._fd = connection.fileno()
        self._mask = READ
        self._is_watched = True
        self._loop.watch(self._fd, READ, self._ready)
        _send_at_once(connection)

    def begin(self) -> None:
        """Carry what has arrived already."""
        try:
            self.inward.move()
        except OSError:
            self._pair.is_failing = True
            self._loop.later(0, self._pair.fail)  # whoever joins us has yet to hear of the pair

    def watch(self) -> None:
        """Wait for what the two ways can do something about, and for nothing else."""
        mask = WRITE if self.outward.carrier else 0
        if not (self.inward.carrier or self.inward.is_over):
            mask |= READ
        if not self._is_watched:
            self._loop.watch(self._fd, mask, self._ready)
            self._is_watched = True
        elif mask != self._mask:
            self._loop.change(self._fd, mask)
        self._mask = mask

    def close(self) -> None:
        """Let go of the connection, and of what it has said."""
        self.inward.drop()
        self._loop.forget(self._fd)
        self.socket.close()

    def _ready(self, events: int) -> None:
        try:
            if events & select.EPOLLERR:
                self._pair.fail()
                return
            if events & WRITE:
                self.outward.resume()
            if events & READ:
                self.inward.move()
            elif events & select.EPOLLHUP:
                self._hung_up()
        except OSError:
            self._pair.fail()

    def _hung_up(self) -> None:
        """Nothing can be said here any more, in either direction, and epoll would repeat that.

        While the last bytes wait for the other end, do not listen; once they are through,
        nobody is left to read an answer.
        """
        if self.inward.is_over:
            self._pair.close()
        elif self.inward.carrier is not None:
            self._loop.forget(self._fd)
            self._is_watched = False


def _send_at_once(connection: socket.socket) -> None:
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:  # EOPNOTSUPP: a unix socket, which does so anyway
        return


class _Way:
    """One direction; it holds a carrier while the target cannot take what the source said."""

    __slots__ = ("_pair", "_pool", "_relay", "_source", "_target", "carrier", "is_over")

    def __init__(self, pair: Pair, source: _End, target: _End) -> None:
        self._pair = pair
        self._relay = pair.relay
        self._pool = pair.relay.pipes
        self._source = source
        self._target = target
        self.carrier = None  # type: Carrier | None
        self.is_over = False

    def move(self) -> int:
        """Carry at most a chunk; return how many bytes came in. Raises OSError at a dead end."""
        if self.carrier is not None or self.is_over:
            return 0
        carrier = self._borrow()
        try:
            count = carrier.take(self._source.socket, self._relay.share(self._pair))
        except OSError as error:
            carrier.pool.give_back(carrier)
            if isinstance(error, BlockingIOError):
                return 0
            self._copy_from_now_on(error)
            return self.move()
        if count:
            if count <= _SHORT:
                self._relay.heed(self._pair)
            self._give(carrier)
        else:
            carrier.pool.give_back(carrier)
            self._end()
        return count

    def resume(self) -> None:
        """Carry on where the target could not take more. Raises OSError at a dead end."""
        if self.carrier is not None:
            self._give(self.carrier)

    def drop(self) -> None:
        """Carry nothing from now on, and forget the ends: no garbage is left to be collected."""
        self.is_over = True
        if self.carrier is not None:
            self.carrier.pool.give_back(self.carrier)
            self.carrier = None
        del self._pair, self._source, self._target

    def _borrow(self) -> "Carrier":
        try:
            return self._pool.borrow()
        except OSError:  # no descriptor is left for a pipe
            return self._relay.buffers.borrow()

    def _give(self, carrier: "Carrier") -> None:
        """Pass on what *carrier* holds, and keep it as long as it holds something."""
        was_blocked = self.carrier is not None
        self.carrier = carrier
        try:
            count = carrier.give(self._target.socket)
        except BlockingIOError:
            count = 0
        self._relay.carried(count)
        if not carrier.held:
            self.carrier = None
            carrier.pool.give_back(carrier)
        if was_blocked or carrier.held:
            self._source.watch()
            self._target.watch()

    def _end(self) -> None:
        """Tell the target that there is no more; the other way lives on."""
        if self._pair.is_failing:
            return
        self.is_over = True
        if self._target.inward.is_over:
            self._pair.close()
        else:
            self._target.socket.shutdown(socket.SHUT_WR)
            self._source.watch()

    def _copy_from_now_on(self, error: OSError) -> None:
        """Splice this direction no longer; raises *error* where that is not the reason."""
        if self._pool is self._relay.buffers or error.errno not in _NO_SPLICE:
            raise error
        self._pool = self._relay.buffers
