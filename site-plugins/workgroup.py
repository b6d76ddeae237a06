"""Run the job for one of the user's workgroups, through the site's command `workgroup`.

Adds -g, --group and --workgroup. Without one of them the group is `default` of the settings,
else the first that `workgroup -q workgroups` names, which prints pairs of number and name.

    plugins = ["workgroup"]
    [plugin.workgroup]
    command = "/usr/local/bin/workgroup"   # default: workgroup, looked up in PATH
    default = ""                           # default: the user's first group
"""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from vscadmin.sites import Options, SessionRequest, UsageError, hookimpl

_LONGEST_LOOKUP = 15  # seconds; a group service that takes longer is down
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@hookimpl
def options(options: Options) -> None:
    flags = ("-g", "--group", "--workgroup")
    options.add(*flags, name="group", metavar="GROUP", meaning="workgroup that the job is for")


@hookimpl
def default_settings() -> Mapping[str, Any]:
    return {"command": "workgroup", "default": ""}


@hookimpl
def refuse(request: SessionRequest) -> str | None:
    return None if _group(request) else "you are a member of no workgroup, and jobs need one"


@hookimpl
def wrap_launcher(request: SessionRequest, command: Sequence[str]) -> list[str]:
    return [request.settings["command"], "-g", _group(request), "--command", "@", "--", *command]


def _group(request: SessionRequest) -> str:
    asked: str | None = request.options["group"]
    if asked is not None and not _NAME.fullmatch(asked):
        raise UsageError(f'-g: "{asked}" is no name of a workgroup')
    return asked or request.settings["default"] or _first_group(request.settings["command"])


@functools.cache
def _first_group(command: str) -> str:
    """Ask the site's command; "" where the user is in no group."""
    found = subprocess.run(
        [command, "-q", "workgroups"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
        timeout=_LONGEST_LOOKUP,
        encoding="utf-8",
    )
    pair = re.match(r"\s*[0-9]+\s+(\S+)", found.stdout)
    return pair[1] if pair and _NAME.fullmatch(pair[1]) else ""
