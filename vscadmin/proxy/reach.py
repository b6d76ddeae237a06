"""From the editor's server back to the proxy: one connection of the client.

Runs on the compute node: standard library of Python 3.6 only.
"""

import os
import socket

from vscadmin.proxy import wire
from vscadmin.proxy.link import Backend, dial, introduce
from vscadmin.proxy.loop import Loop
from vscadmin.proxy.relay import Relay
from vscadmin.proxy.servers import Servers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


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
        self._servers = Servers(loop, os.uname().nodename)

    def open(self, ident: bytes, backend: Backend) -> None:
        """Make the connection that the proxy calls *ident*."""

        def dialled(result: "socket.socket | str") -> None:
            if isinstance(result, str):
                self._failed(ident, result)
            else:
                self.dial_home(ident, result)

        self._servers.dial(backend, dialled)

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
                self._relay.join(near, far)
            else:  # the client went meanwhile, or it is not the proxy
                near.close()
                far.close()

        dial(self._loop, self._home, dialled)
