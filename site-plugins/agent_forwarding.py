"""Make the user's ssh agent reachable in the job, over the session's own channel.

`git push` in the editor's terminal then uses the keys of the user's own machine, if they
connect with ForwardAgent. Nobody else on the compute node can reach the socket, root aside.

    plugins = ["agent_forwarding"]
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Sequence

from vscadmin.sites import Forward, Options, SessionRequest, hookimpl

_VARIABLE = "SSH_AUTH_SOCK"
_LONGEST_ANSWER = 2  # seconds


@hookimpl
def options(options: Options) -> None:
    options.add("--no-agent", name="no_agent", meaning="keep your ssh agent out of the job")


@hookimpl
def forwards(request: SessionRequest) -> Sequence[Forward]:
    path = _wanted(request)
    return [Forward(_VARIABLE, path)] if path and not _problem(path) else []


@hookimpl
def notes(request: SessionRequest) -> Sequence[str]:
    path = _wanted(request)
    problem = _problem(path) if path else ""
    return [f"no ssh agent in this job: {_VARIABLE}={path}: {problem}"] if problem else []


def _wanted(request: SessionRequest) -> str:
    return "" if request.options["no_agent"] else request.environment.get(_VARIABLE, "")


@functools.cache
def _problem(path: str) -> str:
    """Say why the agent cannot be reached, or "" if it answers."""
    if not path.startswith("/"):
        return "is no absolute path"
    with socket.socket(socket.AF_UNIX) as agent:
        agent.settimeout(_LONGEST_ANSWER)
        try:
            agent.connect(path)
        except OSError as error:
            return error.strerror or str(error)
    return ""
