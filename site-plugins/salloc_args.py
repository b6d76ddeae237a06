"""Say which arguments of salloc a site adds, insists on, and lets users give.

`salloc_args` and `[limits]` of proxy.toml need no plugin; this one adds what they cannot say.

    plugins = ["salloc_args"]
    [plugin.salloc_args]
    default = ["--partition=interactive"]             # before the user's own, which win
    forced = ["--qos=interactive"]                    # after the user's own, and win
    allowed = ["partition", "time", "cpus-per-task"]  # what users may give; default: anything
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vscadmin.sites import SessionRequest, hookimpl


@hookimpl
def default_settings() -> Mapping[str, Any]:
    return {"default": [], "forced": [], "allowed": []}


@hookimpl
def settings_problems(settings: Mapping[str, Any]) -> Sequence[str]:
    return [
        f'allowed: write "{name.lstrip("-")}", the long name without dashes'
        for name in settings["allowed"]
        if name.startswith("-")
    ]


@hookimpl
def salloc_arguments(request: SessionRequest) -> Sequence[str]:
    arguments: Sequence[str] = request.settings["default"]
    return arguments


@hookimpl
def forced_arguments(request: SessionRequest) -> Sequence[str]:
    arguments: Sequence[str] = request.settings["forced"]
    return arguments


@hookimpl
def refuse(request: SessionRequest) -> str | None:
    allowed = request.settings["allowed"]
    for name in request.user_options if allowed else ():
        if name not in allowed:
            words = ", ".join(f"--{each}" for each in allowed)
            return f"-S --{name} is not allowed here; allowed are {words}"
    return None
