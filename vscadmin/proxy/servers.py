"""Dialling the editor's servers, with patience for one that is announced and not yet there.

Runs on both sides of a session: standard library of Python 3.6 only.
"""

import errno
import socket
import time

from vscadmin.proxy.link import Backend, dial
from vscadmin.proxy.loop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_NOT_YET = 10.0  # s a server may take from its announcement until it listens
_AGAIN = 1.0  # s for one that did listen before: its backlog may be full
_FIRST_PAUSE = 0.01  # s, doubled each time
_LONGEST_PAUSE = 0.5
_NOBODY = (errno.ECONNREFUSED, errno.ENOENT, errno.EAGAIN)


class Servers:
    """Dials servers on *node*, and knows which of them have listened before."""

    def __init__(self, loop: Loop, node: str) -> None:
        self._loop = loop
        self._node = node
        self._reached: set[bytes] = set()

    def dial(self, server: Backend, dialled: "Callable[[socket.socket | str], None]") -> None:
        """Connect; *dialled* gets the non-blocking socket, or in words why there is none."""
        patience = _AGAIN if bytes(server) in self._reached else _NOT_YET
        self._try(server, dialled, time.monotonic() + patience, _FIRST_PAUSE)

    def _try(
        self,
        server: Backend,
        dialled: "Callable[[socket.socket | str], None]",
        until: float,
        pause: float,
    ) -> None:
        def tried(result: "socket.socket | OSError") -> None:
            if isinstance(result, socket.socket):
                self._reached.add(bytes(server))
                dialled(result)
            elif result.errno in _NOBODY and time.monotonic() < until:
                longer = min(2 * pause, _LONGEST_PAUSE)
                self._loop.later(pause, lambda: self._try(server, dialled, until, longer))
            else:
                dialled(self._words(server, result))

        dial(self._loop, server, tried)

    def _words(self, server: Backend, error: OSError) -> str:
        if error.errno in _NOBODY and bytes(server) in self._reached:
            return f"the editor's server on {self._node} ({server}) does not listen any more"
        if error.errno in _NOBODY:
            return (
                f"the editor's server on {self._node} announced {server}, "
                f"but nothing listens there after {_NOT_YET:.0f} s"
            )
        return f"the editor's server on {self._node} ({server}): {error.strerror or error}"
