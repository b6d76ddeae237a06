"""The only place that configures structlog: one line of JSON an event, argv never unescaped.

The journal and syslog are both reached through /dev/log; where there is none, a file
that only its owner reads.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
from typing import Any

import structlog

_SYSLOG = "/dev/log"
_ROOTS_FILE = "/var/log/vscadmin.log"


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


def logger(target: str = "journal") -> Any:
    """Configure structlog for *target* and return the logger."""
    where = destination(target)
    handler: logging.Handler
    if where == _SYSLOG:
        handler = logging.handlers.SysLogHandler(_SYSLOG, facility="daemon")
        handler.ident = f"vscadmin[{os.getpid()}]: "
    else:
        os.makedirs(os.path.dirname(where) or ".", mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        handler = logging.StreamHandler(os.fdopen(os.open(where, flags, 0o600), "a"))
    root = logging.getLogger("vscadmin")
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    root.propagate = False
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    return structlog.stdlib.get_logger("vscadmin")


def log_bug(error: BaseException) -> str:
    """Write the traceback of a bug to the log; return where, or "" if that failed too."""
    try:
        logger().error("bug", exc_info=error)
        return destination()
    except OSError:
        return ""
