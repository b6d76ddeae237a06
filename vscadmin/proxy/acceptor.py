"""Accepting connections as fast as they come, and no faster than descriptors last.

Runs on both sides of a session: standard library of Python 3.6 only.
"""

import errno
import socket

from vscadmin.proxy.loop import READ, Loop, Timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PAUSE = 0.1  # s without accepting, when no descriptor is left
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # accept(2)


class Acceptor:
    """Accepts what arrives at a listening socket, and owns that socket.

    *accepted* gets each connection, non-blocking. Errors of accept(2) that belong to a
    connection that has already failed are no news.
    """

    def __init__(
        self, loop: Loop, listening: socket.socket, accepted: "Callable[[socket.socket], None]"
    ) -> None:
        self._loop = loop
        self._listening = listening
        self._accepted = accepted
        self._pause: Timer | None = None
        self._is_open = True
        listening.setblocking(False)
        loop.watch(listening.fileno(), READ, self._ready)

    def close(self) -> None:
        """Accept nothing more; what was accepted lives on."""
        if not self._is_open:
            return
        self._is_open = False
        if self._pause is not None:
            self._pause.cancel()
        self._loop.forget(self._listening.fileno())
        self._listening.close()

    def _ready(self, _events: int) -> None:
        """Accept one: those that are open have their turn before the next."""
        try:
            connection, _address = self._listening.accept()
        except OSError as error:  # BlockingIOError, ECONNABORTED: it has gone again
            if error.errno in _FULL:
                self._rest()
            return
        connection.setblocking(False)
        self._accepted(connection)

    def _rest(self) -> None:
        """Leave those who come in the backlog for a while: they would be reported for ever."""
        self._loop.change(self._listening.fileno(), 0)
        self._pause = self._loop.later(_PAUSE, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._loop.change(self._listening.fileno(), READ)
