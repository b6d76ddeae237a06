"""What `vscadmin sessions` shows of a running session: kept up to date in its status file."""

from __future__ import annotations

import time

from vscadmin.proxy.loop import Loop
from vscadmin.proxy.relay import Relay
from vscadmin.proxy.status import StatusFile

_EVERY = 10.0  # s between two looks; nothing is written where nothing moved


class Report:
    """Writes the status file when something changed, and takes it away at the end.

    A session without one (no place for it, a full disk) runs as well.
    """

    def __init__(self, loop: Loop, relay: Relay, session: str) -> None:
        self._loop = loop
        self._relay = relay
        self._file = StatusFile(None, session)
        self._fields: dict[str, int | str] = {"started": int(time.time())}
        self._written: dict[str, int | str] = {}
        self._look()

    @property
    def path(self) -> str:
        """Where the status file is, or will be."""
        return self._file.path

    def set(self, **fields: int | str) -> None:
        """Note what became known, and write it."""
        self._fields |= fields
        self._write()

    def _look(self) -> None:
        self._write()
        self._loop.later(_EVERY, self._look)

    def _write(self) -> None:
        relay = self._relay
        if relay.bytes != self._fields.get("bytes"):
            self._fields["last_byte"] = int(time.time() - (time.monotonic() - relay.last))
        self._fields["bytes"] = relay.bytes
        self._fields["connections"] = relay.open
        if self._fields != self._written and self._file.write(self._fields):
            self._written = dict(self._fields)

    def close(self) -> None:
        """Take the file away."""
        self._file.remove()
