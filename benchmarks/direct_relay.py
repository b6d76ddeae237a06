"""The login process alone, as direct mode has it: listener, whose is it, dial, relay."""

from __future__ import annotations

import socket
import sys

from vscadmin.proxy.link import dial, tcp
from vscadmin.proxy.listener import Listener
from vscadmin.proxy.loop import Loop
from vscadmin.proxy.relay import Relay

_BACKLOG = 1024


def _serve(loop: Loop, relay: Relay, port: int, backend: int) -> None:
    to = tcp("127.0.0.1", backend)

    def accepted(client: socket.socket) -> None:
        def dialled(far: socket.socket | OSError) -> None:
            assert not isinstance(far, OSError), far
            relay.join(client, far, lambda: None)

        dial(loop, to, dialled)

    Listener(loop, ("127.0.0.1", port), _BACKLOG, accepted, print)


def _main() -> None:
    """Relay for each argument PORT:BACKEND."""
    loop = Loop()
    relay = Relay(loop)
    for each in sys.argv[1:]:
        port, _, backend = each.partition(":")
        _serve(loop, relay, int(port), int(backend))
    loop.run()


if __name__ == "__main__":
    _main()
