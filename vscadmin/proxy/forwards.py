"""Unix sockets in the job that lead back to sockets of the login node: the ssh agent's.

Runs on the compute node: standard library of Python 3.6 only.
"""

import os
import socket
from contextlib import suppress
from functools import partial

from vscadmin.proxy.acceptor import Acceptor
from vscadmin.proxy.loop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PLACE = "/tmp"  # noqa: S108 - a directory of our own is made in it
_BACKLOG = 64


class Forwards:
    """A listener for each of *variables*, in a directory that only its user enters.

    *wanted* gets an index into *variables* and a connection, for each that comes. Raises
    OSError where no socket can be made.
    """

    def __init__(
        self,
        loop: Loop,
        variables: "Sequence[str]",
        wanted: "Callable[[int, socket.socket], None]",
    ) -> None:
        self._loop = loop
        self._wanted = wanted
        self._acceptors: list[Acceptor] = []
        self._directory = ""
        self.environment: dict[str, str] = {}
        if variables:
            self._directory = os.path.join(_PLACE, "vscode-shell-proxy-" + os.urandom(8).hex())
            os.mkdir(self._directory, 0o700)
        try:
            for index, variable in enumerate(variables):
                path = os.path.join(self._directory, variable.lower())
                self.environment[variable] = path
                self._listen(index, path)
        except OSError:
            self.close()
            raise

    def _listen(self, index: int, path: str) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen(_BACKLOG)
        self._acceptors.append(Acceptor(self._loop, listener, partial(self._wanted, index)))

    def close(self) -> None:
        """Take sockets and directory away, as far as they are still there."""
        for acceptor in self._acceptors:
            acceptor.close()
        for path in self.environment.values():
            with suppress(OSError):
                os.unlink(path)
        if self._directory:
            with suppress(OSError):
                os.rmdir(self._directory)
            self._directory = ""
