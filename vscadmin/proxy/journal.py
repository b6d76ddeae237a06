"""What a session leaves its user: lines on stderr, its log, and copies of its streams.

Not structlog, which is as large as the whole session and is kept for hours: see docs/adr/0008.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress

from vscadmin.errors import ConfigError
from vscadmin.escape import printable

_NAME = "vscode-shell-proxy"
_LINE = 2000  # characters: room for a whole command line
ERROR, WARNING, INFO, DEBUG = range(4)
_WORDS = ("error", "warning", "info", "debug")
_TEES = ("--tee-stdin", "--tee-stdout", "--tee-stderr")


class Tee:
    """A copy of a stream in a file of the user's, without the tokens in it; "" is no file."""

    def __init__(self, path: str, option: str) -> None:
        self._file = open_private(path, option) if path else None
        if path:
            from vscadmin.proxy.redact import Redactor  # noqa: PLC0415 - few want one

            self._redactor = Redactor()

    def write(self, data: bytes) -> None:
        """Append *data*; what is not yet known to hold no token waits."""
        if self._file is not None:
            self._append(self._redactor.feed(data))

    def close(self) -> None:
        """Write the rest."""
        if self._file is not None:
            self._append(self._redactor.end())
            os.close(self._file)
            self._file = None

    def _append(self, data: bytes) -> None:
        with suppress(OSError):  # a full disk must not end a session
            while data and self._file is not None:
                data = data[os.write(self._file, data) :]


class Journal:
    """One session's log. *user* takes bytes for the user's stderr.

    *verbosity* is how often -v was given less -q: 0 logs errors, 1 warnings, 2 information, 3
    everything; a log goes to *path* (made with mode 0600, appended to), or to the user. *tee*
    are the files for stdin, stdout and stderr. Raises ConfigError where one cannot be opened.
    """

    def __init__(self, path: str, verbosity: int, tee: tuple[str, str, str]) -> None:
        self._level = verbosity
        self._file = open_private(path, "--log-file") if path else None
        self.tees = tuple(Tee(each, option) for each, option in zip(tee, _TEES, strict=True))
        """The copies of stdin, stdout and stderr."""
        self.user: Callable[[bytes], None] = lambda data: _write(2, data)

    def tell(self, line: str) -> None:
        """Say something to the user, unless -q was given, and to the log."""
        if self._level >= 0:
            self.user(_sayable(line))
        if self._file is not None:
            self._log("told", line)

    def fail(self, line: str) -> None:
        """Say why the session ends; only -qq keeps it from the user."""
        if self._level >= -1:
            self.user(_sayable(line))
        if self._file is not None:
            self._log("error", line)

    def warning(self, line: str) -> None:
        """Log what should not be, and does not end the session."""
        self._note(WARNING, line)

    def info(self, line: str) -> None:
        """Log what was done."""
        self._note(INFO, line)

    def debug(self, line: str) -> None:
        """Log what only helps to find a fault."""
        self._note(DEBUG, line)

    def _note(self, level: int, line: str) -> None:
        if level > self._level:
            return
        if self._file is None:
            self.user(_sayable(line))
        else:
            self._log(_WORDS[level], line)

    def _log(self, level: str, line: str) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        for each in line.splitlines() or [""]:
            text = f"{now} [{os.getpid()}] {level}: {_harmless(each)}\n"
            _write(self._file or 2, text.encode())


def _sayable(line: str) -> bytes:
    return f"{_NAME}: {_harmless(line)}\n".encode()


def _harmless(line: str) -> str:
    from vscadmin.proxy.redact import redact  # noqa: PLC0415 - most sessions say nothing

    return printable(redact(line), _LINE)


def _write(fd: int, data: bytes) -> None:
    with suppress(OSError):  # a full disk or a closed stderr must not end a session
        os.write(fd, data)


def open_private(path: str, option: str) -> int:
    """Open a file of the user for appending, for nobody else to read; return its descriptor.

    A symbolic link is not followed and a FIFO not waited for. Raises ConfigError.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o600)
        os.fchmod(fd, 0o600)
    except OSError as error:
        raise ConfigError((f"{option} {path}: {error.strerror}",)) from error
    return fd
