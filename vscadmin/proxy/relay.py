"""Joining two connections, and carrying bytes between many such pairs.

Runs on both sides of a session: standard library of Python 3.6 only.
"""

import os
import socket
import time

from vscadmin.proxy.carrier import Buffer, Pipe, Pool
from vscadmin.proxy.loop import Loop
from vscadmin.proxy.pair import Pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from vscadmin.proxy.carrier import Splice

CHUNK = 1 << 19
"""Bytes moved at once for one connection: docs/adr/0011. Each piece has a cost of its own; 1 MiB
uses up a user's quota of pipes, pipe(7), twice as fast."""

_SHARED_CHUNK = 1 << 14  # while others talk: 10 µs, which they do not notice
_TALK = 0.01  # s after a short message; the next one follows an answer
SPLICE = getattr(os, "splice", None)  # type: Splice | None
"""None where Python is older than 3.10."""

_monotonic = time.monotonic


class Relay:
    """All pairs of a session, and what they have carried.

    Without *splice* bytes are copied.
    """

    def __init__(self, loop: Loop, chunk: int = CHUNK, splice: "Splice | None" = SPLICE) -> None:
        self.loop = loop
        self.chunk = chunk
        self.bytes = 0  # both ways, since the start
        self.last = _monotonic()  # when one was moved
        self.buffers = Pool(lambda pool: Buffer(pool, chunk))
        self.pipes = self.buffers
        if splice is not None:
            function = splice
            self.pipes = Pool(lambda pool: Pipe(pool, function, chunk))
        self._pairs = set()  # type: set[Pair]
        self._talker = None  # type: Pair | None
        self._talk_ends = 0.0

    def share(self, pair: "Pair") -> int:
        """Return how many bytes *pair* may move now: while another one talks, few."""
        if pair is self._talker or _monotonic() > self._talk_ends:
            return self.chunk
        return min(self.chunk, _SHARED_CHUNK)

    def heed(self, pair: "Pair") -> None:
        """Let *pair*, which said something short, be answered soon."""
        self._talker = pair
        self._talk_ends = _monotonic() + _TALK

    def carried(self, count: int) -> None:
        """Count *count* bytes more."""
        self.bytes += count
        self.last = _monotonic()

    @property
    def open(self) -> int:
        """How many pairs there are."""
        return len(self._pairs)

    def join(
        self,
        one: socket.socket,
        other: socket.socket,
        ended: "Callable[[], None]" = lambda: None,
    ) -> "Pair":
        """Carry bytes between two connected non-blocking sockets until both ways have ended.

        The sockets are the relay's from now on. *ended* is called once, when both are closed.
        """
        pair = Pair(self, one, other, ended)
        self._pairs.add(pair)
        return pair

    def forget(self, pair: "Pair") -> None:
        """Count a pair no longer."""
        self._pairs.discard(pair)
        if pair is self._talker:
            self._talker = None

    def close_all(self) -> None:
        """End every pair; both its sides see a reset."""
        for pair in list(self._pairs):
            pair.abort()
        self.pipes.close()
        self.buffers.close()
