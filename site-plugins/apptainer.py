"""Run the user's shell, and with it the editor's server, inside a container image.

Adds --image. The session's own agent stays outside, so that the image needs no Python.

    plugins = ["apptainer"]
    [plugin.apptainer]
    command = "/usr/bin/apptainer"               # default: apptainer, looked up in PATH
    image = "/shared/images/devel.sif"           # without --image; default: no container
    allowed = ["/shared/images/*.sif"]           # patterns of images; default: any
    binds = ["/scratch", "/shared:/shared:ro"]   # on the compute node; default: none
    arguments = ["--nv"]                         # more arguments of `apptainer exec`
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from vscadmin.sites import Options, SessionRequest, UsageError, hookimpl


@hookimpl
def options(options: Options) -> None:
    words = "container image that your shell and the editor's server run in"
    options.add("--image", name="image", metavar="IMAGE", meaning=words)


@hookimpl
def default_settings() -> Mapping[str, Any]:
    return {"command": "apptainer", "image": "", "allowed": [], "binds": [], "arguments": []}


@hookimpl
def refuse(request: SessionRequest) -> str | None:
    image, allowed = _image(request), request.settings["allowed"]
    if not image or not allowed or any(fnmatchcase(image, pattern) for pattern in allowed):
        return None
    return f"--image {image} is not allowed here; allowed are {', '.join(allowed)}"


@hookimpl
def wrap_shell(request: SessionRequest, command: Sequence[str]) -> list[str]:
    image, settings = _image(request), request.settings
    if not image:
        return list(command)
    binds = [word for each in settings["binds"] for word in ("--bind", each)]
    return [settings["command"], "exec", *binds, *settings["arguments"], image, *command]


def _image(request: SessionRequest) -> str:
    """Return the image without `..`, so that a pattern means the directory it names."""
    asked: str = request.options["image"] or request.settings["image"]
    if asked.startswith("-"):
        raise UsageError(f"--image: {asked} is no image")
    if not asked or "://" in asked:
        return asked
    return os.path.normpath(asked)
