"""The client's stdin in direct mode: the bind host is changed, and the log says what was."""

from __future__ import annotations

from collections.abc import Iterable

from vscadmin.proxy.bind import BindRewriter, Changed, Event
from vscadmin.proxy.journal import Journal
from vscadmin.proxy.rewrite import Forward

_UNKNOWN = (
    "a command of the editor's script starts a server and binds it in a way that is not known "
    "here, so the editor may not reach it; relay mode does not mind. The command: "
)


class Binding:
    """Makes the servers that a script starts listen on *host*.

    Raises ValueError where that is not what can be a host.
    """

    def __init__(self, host: str, journal: Journal) -> None:
        self._rewriter = BindRewriter(host.encode())
        self._journal = journal

    def through(self, data: bytes) -> bytes:
        """Take what the client sent; return what the shell gets."""
        return self._written(self._rewriter.receive_data(data))

    def end(self) -> bytes:
        """Return what was held when the client's stdin ended."""
        return self._written(self._rewriter.end())

    def _written(self, events: Iterable[Event]) -> bytes:
        written = []
        for event in events:
            if isinstance(event, Forward):
                written.append(event.data)
            elif isinstance(event, Changed):
                before, after = _text(event.before), _text(event.after)
                self._journal.info(f"bind host changed: {before} -> {after}")
            else:
                self._journal.tell(_UNKNOWN + _text(event.command))
        return b"".join(written)


def _text(command: bytes) -> str:
    return command.decode("utf-8", "backslashreplace")
