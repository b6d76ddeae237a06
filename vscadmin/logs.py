"""The only place that configures structlog: one line of ASCII JSON an event.

The journal and syslog are both reached through /dev/log; where there is none, a file
that only its owner reads. A log that cannot be written stops nobody: that is said once.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Callable, Mapping, MutableMapping
from types import TracebackType
from typing import Any, Protocol, Self

import structlog

from vscadmin.errors import ConfigError
from vscadmin.escape import printable
from vscadmin.trust import doubts

_SYSLOG = "/dev/log"
_ROOTS_FILE = "/var/log/vscadmin.log"
_DAEMON = 3  # the facility, and the severities below: RFC 5424, 6.2.1
_SEVERITY = {"info": 6, "warning": 4, "error": 3}
_SEND_DEADLINE = 2.0  # seconds that a syslog daemon which does not read may cost us
_PATIENCE = 3  # failures after which a run tries no more
_CONSOLE_LIMIT = 256  # characters of one value
_HIDDEN = ("timestamp", "event", "level", "run_id", "host", "boot_id")
_Render = Callable[[Any, str, MutableMapping[str, Any]], str]
_RENDERER = structlog.processors.JSONRenderer()  # escapes controls, and all but ASCII


def destination(target: str = "journal") -> str:
    """Return where the log goes: *target* is `journal`, `syslog` or a file's path."""
    if target not in ("journal", "syslog"):
        return target
    if os.path.exists(_SYSLOG):
        return _SYSLOG
    if os.geteuid() == 0:
        return _ROOTS_FILE
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(state, "vscadmin.log")


def open_log(target: str, run_id: str, host: str, verbose: bool = False) -> Log:
    """Return the log of a run; *verbose* shows it to a person on stderr too.

    Never fails: what cannot be opened or written is said once on stderr, and the run goes on.
    """
    sinks: list[tuple[_Sink, _Render]] = [(_Patient(destination(target)), _json)]
    if verbose:
        sinks.append((_Console(), _for_a_person))
    return Log(sinks, {"run_id": run_id, "host": host})


def log_bug(error: BaseException) -> str:
    """Write the traceback of a bug to the log; return where, or "" if that failed too."""
    where = destination()
    try:
        sink = _open(where)
        try:
            _structured(sink, _json).error("bug", exc_info=error)
        finally:
            sink.close()
    except (OSError, ConfigError):
        return ""
    return where


class Log:
    """Where a run writes its events; every line has the run's own fields too."""

    def __init__(self, sinks: list[tuple[_Sink, _Render]], fields: Mapping[str, Any]) -> None:
        self._sinks = [sink for sink, _ in sinks]
        self._loggers = [_structured(sink, render).bind(**fields) for sink, render in sinks]

    def write(self, event: Mapping[str, Any]) -> None:
        """Write one event: `event` is its name, `level` info (default), warning or error."""
        fields = dict(event)
        name, level = fields.pop("event"), fields.pop("level", "info")
        for logger in self._loggers:
            getattr(logger, level)(name, **fields)

    def close(self) -> None:
        """Let go of files and sockets."""
        for sink in self._sinks:
            sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Sink(Protocol):
    """Takes finished lines; raises OSError where it cannot."""

    def send(self, level: str, line: str) -> None: ...

    def close(self) -> None: ...


class _Methods:
    """A sink as structlog calls loggers: a method a level."""

    def __init__(self, sink: _Sink) -> None:
        self.info: Callable[[str], None] = lambda line: sink.send("info", line)
        self.warning: Callable[[str], None] = lambda line: sink.send("warning", line)
        self.error: Callable[[str], None] = lambda line: sink.send("error", line)


def _structured(sink: _Sink, render: _Render) -> Any:
    """Return a logger for *sink*, without a word to structlog's global configuration."""
    return structlog.wrap_logger(
        _Methods(sink),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )


def _json(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    return str(_RENDERER(logger, method, event))


class _Syslog:
    """Datagrams to /dev/log, by syslog(3)'s own format."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = self._connect()

    def _connect(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        made.settimeout(_SEND_DEADLINE)
        try:
            made.connect(self._path)
        except OSError:
            made.close()
            raise
        return made

    def send(self, level: str, line: str) -> None:
        """Send one line; to a daemon that was restarted since the last one, too."""
        message = f"<{_DAEMON * 8 + _SEVERITY[level]}>vscadmin[{os.getpid()}]: {line}".encode()
        try:
            self._socket.send(message)
        except TimeoutError:
            raise
        except OSError:
            self._socket.close()
            self._socket = self._connect()
            self._socket.send(message)

    def close(self) -> None:
        self._socket.close()


class _File:
    """Lines appended to a file that only its owner reads, and, as root, only root can move."""

    def __init__(self, path: str) -> None:
        folder = _folder(os.path.dirname(path) or ".")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        flags |= os.O_NONBLOCK  # a FIFO in its place must not hold us up
        self._file = os.open(os.path.join(folder, os.path.basename(path)), flags, 0o600)
        self._is_cut = False
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            os.close(self._file)
            raise ConfigError((f"{path}: is not a regular file",))

    def send(self, level: str, line: str) -> None:  # noqa: ARG002 - the level is in the line
        """Append one line, in one write; what a full disk cut off ends its line first."""
        data = (f"\n{line}\n" if self._is_cut else f"{line}\n").encode()
        written = os.write(self._file, data)
        self._is_cut = written < len(data)
        if self._is_cut:
            raise OSError(0, "only part of a line was written")

    def close(self) -> None:
        os.close(self._file)


def _folder(folder: str) -> str:
    """Return the real path of *folder*, made if need be; as root it must be root's alone."""
    existing = real = os.path.realpath(folder)
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    if os.geteuid() == 0 and (reasons := doubts(existing)):
        raise ConfigError(reasons)
    os.makedirs(real, mode=0o700, exist_ok=True)
    return real


def _open(where: str) -> _Syslog | _File:
    """Open the log; raises OSError or ConfigError."""
    return _Syslog(where) if where == _SYSLOG else _File(where)


class _Patient:
    """The log of a run, which may fail without failing the run."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._failures = 0
        self._sink: _Syslog | _File | None = None
        try:
            self._sink = _open(where)
        except (OSError, ConfigError) as error:
            self._failed(error)

    def send(self, level: str, line: str) -> None:
        if self._sink is None or self._failures >= _PATIENCE:
            return
        try:
            self._sink.send(level, line)
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError | ConfigError) -> None:
        self._failures += 1
        if self._failures > 1:
            return
        reason = error.strerror if isinstance(error, OSError) else "; ".join(error.problems)
        reason = reason or str(error)
        _say(f"vscadmin: warning: the log cannot be written: {self._where}: {printable(reason)}")

    def close(self) -> None:
        if self._sink is not None:
            self._sink.close()
            self._sink = None


class _Console:
    """Events for a person: a line each on stderr, in which nothing can move the cursor."""

    def send(self, level: str, line: str) -> None:
        _say(line if level == "info" else f"{line} [{level}]")

    def close(self) -> None:
        """Stderr stays open."""


def _for_a_person(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    """Return `time event key=value …`; what is empty is left out."""
    shown = {key: value for key, value in event.items() if key not in _HIDDEN}
    words = [f"{key}={_plain(value)}" for key, value in shown.items() if value not in (None, "")]
    return " ".join([str(event["timestamp"])[11:19], printable(str(event["event"])), *words])


def _plain(value: object) -> str:
    text = printable(str(value), _CONSOLE_LIMIT)
    return f'"{text}"' if " " in text else text


def _say(line: str) -> None:
    """Write a line to stderr; whoever closed it does not want to know."""
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return
