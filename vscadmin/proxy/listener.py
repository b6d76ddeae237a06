"""Where the editor's client finds its server: a listener of this node, for its owner alone."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress

from vscadmin.proxy.acceptor import Acceptor
from vscadmin.proxy.link import reset
from vscadmin.proxy.loop import Loop
from vscadmin.proxy.owner import Owners
from vscadmin.proxy.refusals import Refusals

_LONGEST_PATH = 107  # bytes: sun_path less its NUL, unix(7)
_NAME = "sock"
_BLIND = "this node cannot tell whose a connection is (tcp_diag); all of them are refused"
_ADVICE = {
    errno.EADDRINUSE: "leave -p out to have a free port chosen",
    errno.EACCES: "ports below 1024 are root's; leave -p out to have a free port chosen",
    errno.EADDRNOTAVAIL: "leave -H out to listen on 127.0.0.1",
}


class ListenError(Exception):
    """There is no listener, and the words say why and what can be done."""


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """Listen at an address without sharing it; raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        if port:  # connections of an earlier session may linger; a listener may not
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(backlog)
    except BaseException:
        made.close()
        raise
    return made


class Listener:
    """Takes connections of our own user's processes and hands them on; all others are reset.

    *bind* is host and port (0: any that is free), or None for a unix socket in a directory that
    only the owner enters. *refused* gets a line about strangers, for each uid at most one in a
    minute. Raises ListenError.
    """

    def __init__(
        self,
        loop: Loop,
        bind: tuple[str, int] | None,
        backlog: int,
        accepted: Callable[[socket.socket], None],
        refused: Callable[[str], None],
    ) -> None:
        self._accepted = accepted
        self._refused = refused
        self._refusals = Refusals(loop, refused)
        self._owners = Owners()
        self._is_blind = False
        self._uid = os.getuid()
        self._directory = ""
        self._socket = self._on_path(backlog) if bind is None else _on_port(bind, backlog)
        self._acceptor = Acceptor(loop, self._socket, self._judge)

    @property
    def address(self) -> tuple[str, int] | bytes:
        """Host and port, or the path."""
        name = self._socket.getsockname()
        return os.fsencode(name) if isinstance(name, str) else (name[0], name[1])

    def _on_path(self, backlog: int) -> socket.socket:
        self._directory = os.path.join(_place(), f"vscode-shell-proxy-{os.urandom(8).hex()}")
        path = os.path.join(self._directory, _NAME)
        made = None
        try:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            os.mkdir(self._directory, 0o700)
            made.bind(path)
            os.chmod(path, 0o600)
            made.listen(backlog)
        except OSError as error:
            if made is not None:
                made.close()
            _remove(self._directory)
            raise ListenError(f"{path}: {error.strerror}") from error
        return made

    def _judge(self, connection: socket.socket) -> None:
        uid = self._owners.uid_of_peer(connection)
        if uid == self._uid:
            self._accepted(connection)
            return
        if uid is None and _has_gone(connection):  # a probe; whose, nobody can tell any more
            connection.close()
            return
        if uid is None and not self._owners.can_ask(connection):
            self._say_that_none_gets_in()
            reset(connection)
            return
        who = f"of uid {uid}" if uid is not None else _foreigner(connection)
        if who:
            self._refusals.add(f"a connection {who} was refused")
        reset(connection)

    def _say_that_none_gets_in(self) -> None:
        if not self._is_blind:
            self._is_blind = True
            self._refused(_BLIND)

    def close(self) -> None:
        """Take no more connections; those that were handed on stay."""
        self._acceptor.close()
        self._owners.close()
        if self._directory:
            _remove(self._directory)
            self._directory = ""


def _has_gone(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _on_port(bind: tuple[str, int], backlog: int) -> socket.socket:
    host, port = bind
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        return listen(host, port, backlog)
    except OverflowError:
        raise ListenError(f"{where}: a port is a number from 0 to 65535") from None
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "leave -H out to listen on 127.0.0.1")
        raise ListenError(f"{where}: {(error.strerror or '').lower()}; {advice}") from error


def _foreigner(connection: socket.socket) -> str:
    """Say from which other machine it is; "" is one of here that is gone, which is no news."""
    try:
        host = connection.getpeername()[0]
        is_here = host == connection.getsockname()[0] or host.startswith(("127.", "::ffff:127."))
    except OSError:
        return ""
    return "" if is_here else f"from {host}, which is not this machine,"


def _place() -> str:
    """Return where our directory goes: the runtime directory if it is ours alone, else /tmp."""
    place = os.environ.get("XDG_RUNTIME_DIR", "")
    try:
        status = os.lstat(place)
    except OSError:
        return "/tmp"  # noqa: S108 - the directory in it is ours alone
    is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    is_private = not status.st_mode & 0o077
    fits = len(os.fsencode(place)) + 48 < _LONGEST_PATH
    return place if is_ours and is_private and fits else "/tmp"  # noqa: S108 - as above


def _remove(directory: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(directory, _NAME))
    with suppress(OSError):  # whoever cleaned up before us, or put something into it
        os.rmdir(directory)
