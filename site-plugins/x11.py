"""Let programs of the job open windows on the user's own screen, where that can work.

Adds --x11 to salloc if DISPLAY is one that Slurm can forward: over the network (ssh -X makes
such a one), with a cookie, and answering. Where it is not, the job starts without, and one
line says why; without it salloc would fail, or every window in the job. A user's own
`-S --x11` stays, and fails.

    plugins = ["x11"]
    [plugin.x11]
    always = true   # false: only for users who say --x11
"""

from __future__ import annotations

import functools
import re
import socket
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from vscadmin.sites import Options, SessionRequest, hookimpl

_FIRST_PORT = 6000  # of display 0, by the X protocol
_LONGEST_ANSWER = 3  # seconds


@hookimpl
def options(options: Options) -> None:
    options.add("--x11", name="x11", meaning="show windows of the job on your own screen")


@hookimpl
def default_settings() -> Mapping[str, Any]:
    return {"always": True}


@hookimpl
def salloc_arguments(request: SessionRequest) -> Sequence[str]:
    wanted = _is_wanted(request) and "x11" not in request.user_options
    return ["--x11"] if wanted and not _problem(request) else []


@hookimpl
def notes(request: SessionRequest) -> Sequence[str]:
    if not _is_wanted(request) or not (problem := _problem(request)):
        return []
    if "x11" in request.user_options:  # which is no plugin's to take back
        return [f"-S --x11 starts no job: {problem}; --x11 without -S starts one without windows"]
    return [f"no X11 windows from this job: {problem}"]


def _is_wanted(request: SessionRequest) -> bool:
    if request.launcher == "shell":
        return False
    by_itself = request.settings["always"] and "DISPLAY" in request.environment
    return bool(request.options["x11"] or "x11" in request.user_options or by_itself)


def _problem(request: SessionRequest) -> str:
    """Say why DISPLAY cannot be forwarded, or "" if it can."""
    environment = request.environment
    return _problem_of(environment.get("DISPLAY", ""), environment.get("XAUTHORITY", ""))


@functools.cache
def _problem_of(display: str, authority: str) -> str:
    if not display:
        return 'DISPLAY is not set; enable "Remote.SSH: Enable X11 Forwarding" and ForwardX11'
    parts = re.fullmatch(r"([^:/]+):([0-9]{1,4})(?:\.[0-9]+)?", display)
    if not parts:
        return f"DISPLAY={display} is a screen of this machine, not of yours"
    if not _has_cookie(display, authority):
        return f"xauth knows no cookie for DISPLAY={display}"
    address = parts[1], _FIRST_PORT + int(parts[2])
    try:
        socket.create_connection(address, timeout=_LONGEST_ANSWER).close()
    except OSError as error:
        return f"DISPLAY={display} does not answer: {error.strerror or error}"
    return ""


def _has_cookie(display: str, authority: str) -> bool:
    """Ask xauth, by which Slurm too gets the cookie."""
    command = ["xauth", *(["-f", authority] if authority else []), "-n", "list", display]
    try:
        found = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False,
            timeout=_LONGEST_ANSWER,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return bool(found.stdout.strip())
