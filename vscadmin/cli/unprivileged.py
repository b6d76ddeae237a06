"""What is not trusted with root's rights, such as a site's plugin, is looked at as nobody."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from typing import NamedTuple

NOBODY = 65534  # the kernel's overflow uid and gid, "nobody" everywhere
LONGEST = 10  # seconds; a plugin that takes longer would hold up every session as well


class Looked(NamedTuple):
    """The lines that were found, or why nobody could look."""

    lines: tuple[str, ...] = ()
    problem: str = ""


def unprivileged(look: Callable[[], Sequence[str]]) -> Looked:
    """Return the lines that *look* returns; as root it runs in a child that is nobody.

    A child that does not end by itself, or takes too long, is a line of its own.
    """
    if os.geteuid() != 0:
        return Looked(tuple(look()))
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        _as_nobody(look, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as result:
        data = result.read()
    _, waited = os.waitpid(pid, 0)
    if os.WIFSIGNALED(waited) and os.WTERMSIG(waited) == signal.SIGALRM:
        return Looked((f"the plugins took longer than {LONGEST} s",))
    if not data:
        return Looked(("the plugins ended the interpreter",))
    lines, problem = json.loads(data)
    return Looked(tuple(lines), problem)


def _as_nobody(look: Callable[[], Sequence[str]], writer: int) -> None:
    """Look, in a child; nothing of it survives but the lines."""
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LONGEST)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        looked = Looked(problem=_unreadable()) if _unreadable() else Looked(tuple(look()))
        with os.fdopen(writer, "wb") as result:
            result.write(json.dumps(looked).encode())
    finally:
        os._exit(0)


def _unreadable() -> str:
    """Say whether users can run this Python and read this program."""
    for path in (os.__file__, __file__):
        if not os.access(path, os.R_OK):
            return f"{path}: users cannot read it, so none of them can start a session"
    return ""
