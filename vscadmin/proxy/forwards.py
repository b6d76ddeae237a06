"""Unix sockets in the job that lead back to sockets of the login node: the ssh agent's.

Runs on the compute node: standard library of Python 3.6 only.
"""

import errno
import os
import socket
from contextlib import suppress

from vscadmin.proxy.loop import READ, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PLACE = "/tmp"  # noqa: S108 - a directory of our own is made in it
_BACKLOG = 64
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE = 0.1  # s until there may be room


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
        self._listeners: list[socket.socket] = []
        self._directory = ""
        self.environment: dict[str, str | None] = {}
        if variables:
            self._directory = os.path.join(_PLACE, "vscode-shell-proxy-" + os.urandom(8).hex())
            os.mkdir(self._directory, 0o700)
        try:
            for index, variable in enumerate(variables):
                path = os.path.join(self._directory, variable.lower())
                self._listen(index, path)
                self.environment[variable] = path
        except OSError:
            self.close()
            raise

    def _listen(self, index: int, path: str) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        listener.bind(path)
        listener.listen(_BACKLOG)
        self._listeners.append(listener)
        self._loop.watch(listener.fileno(), READ, lambda _events: self._accept(listener, index))

    def _accept(self, listener: socket.socket, index: int) -> None:
        try:
            connection = listener.accept()[0]
        except OSError as error:
            if error.errno in _NO_ROOM:  # it stays readable all the while
                self._loop.change(listener.fileno(), 0)
                self._loop.later(_PAUSE, lambda: self._go_on(listener))
            return  # or it went again
        connection.setblocking(False)
        self._wanted(index, connection)

    def _go_on(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            self._loop.change(listener.fileno(), READ)

    def close(self) -> None:
        """Take sockets and directory away, as far as they are still there."""
        for listener in self._listeners:
            self._loop.forget(listener.fileno())
            with suppress(OSError):
                os.unlink(listener.getsockname())
            listener.close()
        self._listeners = []
        if self._directory:
            with suppress(OSError):
                os.rmdir(self._directory)
            self._directory = ""
