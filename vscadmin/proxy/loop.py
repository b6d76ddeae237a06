"""Waiting for many descriptors and timers at once.

Runs on both sides of a session: like every module that is sent to the compute node it needs
nothing but the standard library of Python 3.6, and imports neither typing nor dataclasses.
"""

import errno
import heapq
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
GONE = select.EPOLLHUP | select.EPOLLERR  # always reported, whatever is asked for


class Timer:
    """A call in the future, until it is cancelled."""

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: "Callable[[], None]") -> None:
        self.due = due
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Never make the call; harmless after it was made."""
        self.callback = None

    def __lt__(self, other: "Timer") -> bool:
        return self.due < other.due


class Loop:
    """An epoll set with a callback a descriptor, and a heap of timers.

    Level-triggered: a callback may leave work behind and is called again. A callback may
    watch, change and forget any descriptor, its own and those still to be served included.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._timers: list[Timer] = []
        self._ready: dict[int, int] = {}
        self._stopped = False

    def watch(self, fd: int, events: int, callback: "Callable[[int], None]") -> None:
        """Call *callback* with the events that occur on *fd*.

        Raises PermissionError for what epoll does not know: a regular file is always ready.
        """
        self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def change(self, fd: int, events: int) -> None:
        """Wait for other events on *fd*; 0 leaves hang-up and error."""
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Watch *fd* no longer; call this before it is closed."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)
        self._ready.pop(fd, None)

    def later(self, seconds: float, callback: "Callable[[], None]") -> Timer:
        """Make a call after *seconds* (monotonic), or as soon as the loop gets to it."""
        timer = Timer(time.monotonic() + seconds, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def stop(self) -> None:
        """Let `run` return once what is ready now has been served."""
        self._stopped = True

    def run(self) -> None:
        """Serve descriptors and timers until `stop`."""
        self._stopped = False
        while not self._stopped:
            self.step()

    def step(self) -> None:
        """Wait for something, and serve what is ready."""
        self._ready = dict(reversed(self._poll()))  # its last is served first
        while self._ready:
            fd, events = self._ready.popitem()
            callback = self._callbacks.get(fd)
            if callback is not None:
                callback(events)
        now = time.monotonic()
        while self._timers and self._timers[0].due <= now:
            call = heapq.heappop(self._timers).callback
            if call is not None:
                call()

    def _poll(self) -> "list[tuple[int, int]]":
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
        wait = -1.0
        if self._timers:
            wait = max(0.0, self._timers[0].due - time.monotonic())
        try:
            return self._epoll.poll(wait)
        except OSError as error:  # pragma: no cover - Python retries after a signal by itself
            if error.errno != errno.EINTR:
                raise
            return []

    def close(self) -> None:
        """Let go of the epoll descriptor; what was watched stays open."""
        self._epoll.close()
