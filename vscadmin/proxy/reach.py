"""From the editor's server back to the proxy: one connection of the client.

Runs on the compute node: standard library of Python 3.6 only.
"""

import errno
import os
import socket
import time

from vscadmin.proxy import wire
from vscadmin.proxy.link import Backend, dial, introduce
from vscadmin.proxy.loop import Loop
from vscadmin.proxy.relay import Relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_NOT_YET = 10.0  # s a server may take from its announcement until it listens
_AGAIN = 1.0  # s for one that did listen before: its backlog may be full
_FIRST_PAUSE = 0.01  # s, doubled each time
_LONGEST_PAUSE = 0.5
_NOBODY = (errno.ECONNREFUSED, errno.ENOENT, errno.EAGAIN)


class Reach:
    """Dials backends, and the proxy at *home* for each of them, and joins the two.

    *failed* gets the identifier of a connection that could not be made, and why.
    """

    def __init__(
        self,
        loop: Loop,
        relay: Relay,
        key: bytes,
        home: Backend,
        failed: "Callable[[bytes, str], None]",
    ) -> None:
        self._loop = loop
        self._relay = relay
        self._key = key
        self._home = home
        self._failed = failed
        self._reached: set[bytes] = set()

    def open(self, ident: bytes, backend: Backend) -> None:
        """Make the connection that the proxy calls *ident*."""
        patience = _AGAIN if bytes(backend) in self._reached else _NOT_YET
        self._try(ident, backend, time.monotonic() + patience, _FIRST_PAUSE)

    def _try(self, ident: bytes, backend: Backend, until: float, pause: float) -> None:
        def dialled(result: "socket.socket | OSError") -> None:
            if isinstance(result, socket.socket):
                self._reached.add(bytes(backend))
                self.dial_home(ident, result)
            elif result.errno in _NOBODY and time.monotonic() < until:
                longer = min(2 * pause, _LONGEST_PAUSE)
                self._loop.later(pause, lambda: self._try(ident, backend, until, longer))
            else:
                self._failed(ident, self._words(backend, result))

        dial(self._loop, backend, dialled)

    def _words(self, backend: Backend, error: OSError) -> str:
        node = os.uname().nodename
        if error.errno in _NOBODY and bytes(backend) in self._reached:
            return f"the editor's server on {node} ({backend}) does not listen any more"
        if error.errno in _NOBODY:
            return (
                f"the editor's server on {node} announced {backend}, "
                f"but nothing listens there after {_NOT_YET:.0f} s"
            )
        return f"the editor's server on {node} ({backend}): {error.strerror or error}"

    def dial_home(self, ident: bytes, near: socket.socket) -> None:
        """Dial the proxy, prove who we are, have it proved, and join with *near*."""

        def dialled(result: "socket.socket | OSError") -> None:
            if isinstance(result, socket.socket):
                said = wire.greeting(wire.DATA, ident)
                introduce(self._loop, self._key, said, result, introduced)
            else:
                near.close()
                node = os.uname().nodename
                words = result.strerror or str(result)
                self._failed(ident, f"{node} cannot reach {self._home}: {words}")

        def introduced(far: socket.socket, is_proxy: bool) -> None:
            if is_proxy:
                self._relay.join(near, far, _nothing)
            else:  # the client went meanwhile, or it is not the proxy
                near.close()
                far.close()

        dial(self._loop, self._home, dialled)


def _nothing() -> None:
    """Do nothing: a pair that ended needs no more of us."""
