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

_SILENCE = 12.0  # s for one that does not answer at all; the kernel would wait for 2 min
_NOT_YET = 10.0  # s a server may take from its announcement until it listens
_AGAIN = 1.0  # s for one that did listen before: its backlog may be full
_FIRST_PAUSE = 0.01  # s, doubled each time
_LONGEST_PAUSE = 0.5
_NOBODY = (errno.ECONNREFUSED, errno.ENOENT, errno.EAGAIN)


class Servers:
    """Dials servers on *node*, and knows which of them have listened before."""

    def __init__(self, loop: Loop, node: str, silence: float = _SILENCE) -> None:
        """Give up after *silence* seconds whatever is still under way then."""
        self._loop = loop
        self._node = node
        self._silence = silence
        self._reached: set[bytes] = set()

    def dial(self, server: Backend, dialled: "Callable[[socket.socket | str], None]") -> None:
        """Connect; *dialled* gets the non-blocking socket, or in words why there is none."""
        waiting = [dialled]

        def settled(result: "socket.socket | str") -> None:
            if waiting:
                timer.cancel()
                waiting.pop()(result)
            elif isinstance(result, socket.socket):
                result.close()  # too late: nobody waits for it

        timer = self._loop.later(self._silence, lambda: settled(self._unanswered(server)))
        patience = _AGAIN if bytes(server) in self._reached else _NOT_YET
        self._try(server, settled, time.monotonic() + patience, _FIRST_PAUSE)

    def _unanswered(self, server: Backend) -> str:
        return (
            f"the editor's server on {self._node} ({server}) does not answer within "
            f"{self._silence:.0f} s: is there a firewall in between?"
        )

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
