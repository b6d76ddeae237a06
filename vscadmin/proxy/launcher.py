"""The launcher: what starts the job, with our pipes for its stdin, stdout and stderr."""

from __future__ import annotations

import os
from typing import NamedTuple

from vscadmin.proxy import boot
from vscadmin.proxy.child import spawn
from vscadmin.proxy.descriptors import raise_file_limit
from vscadmin.proxy.launch import Launch

_OF_THIS_NODE = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK")
_OF_THE_DISPLAY = ("DISPLAY", "XAUTHORITY")  # unless Slurm forwards it


class Launcher(NamedTuple):
    """A launcher that runs."""

    pid: int
    mark: str
    """What begins its hello; no secret: it is among the launcher's arguments."""
    stdin: int
    stdout: int
    stderr: int
    """Our ends of its pipes."""


def start(launch: Launch) -> Launcher:
    """Start what *launch* says; raises OSError where that cannot be started."""
    mark = os.urandom(16).hex()
    script = boot.script(mark, launch.pythons)
    *command, _ = launch.command
    command += script[1:] if command[-1] == script[0] else script
    pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
    (stdin, to_stdin), (from_stdout, stdout), (from_stderr, stderr) = pipes
    theirs = (stdin, stdout, stderr)
    limits = raise_file_limit()
    is_tied = launch.uses_slurm  # a shell of this machine hears of our end from its agent
    pid = spawn(command, launch.environment, theirs, is_tied=is_tied, limits=limits)
    for fd in theirs:
        os.close(fd)
    for fd in (from_stdout, from_stderr):  # what was ready may have been read to its end meanwhile
        os.set_blocking(fd, False)
    return Launcher(pid, mark, to_stdin, from_stdout, from_stderr)


def job_environment(launch: Launch) -> dict[str, str | None]:
    """Return what is set and unset in the job: what means this machine means nothing there."""
    if not launch.uses_slurm:
        return launch.job_environment
    here = _OF_THIS_NODE if launch.x11 else _OF_THIS_NODE + _OF_THE_DISPLAY
    return dict.fromkeys(here) | launch.job_environment
