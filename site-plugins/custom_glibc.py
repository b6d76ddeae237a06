"""Let VS Code's server run on compute nodes whose glibc is too old for it (before 2.28).

The server patches itself to use a newer glibc, if these name one on the compute nodes:

    plugins = ["custom_glibc"]
    [plugin.custom_glibc]
    path = "/opt/glibc-2.28/lib:/opt/gcc-10/lib64"           # directories of libraries
    linker = "/opt/glibc-2.28/lib/ld-linux-x86-64.so.2"
    patchelf = "/opt/patchelf-0.18/bin/patchelf"             # 0.18 or newer
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vscadmin.sites import SessionRequest, hookimpl

_VARIABLES = {
    "path": "VSCODE_SERVER_CUSTOM_GLIBC_PATH",
    "linker": "VSCODE_SERVER_CUSTOM_GLIBC_LINKER",
    "patchelf": "VSCODE_SERVER_PATCHELF_PATH",
}


@hookimpl
def default_settings() -> Mapping[str, Any]:
    return dict.fromkeys(_VARIABLES, "")


@hookimpl
def settings_problems(settings: Mapping[str, Any]) -> Sequence[str]:
    return [
        f'{key}: "{path}" must be an absolute path'
        for key in _VARIABLES
        for path in settings[key].split(":")
        if not path.startswith("/")
    ]


@hookimpl
def job_environment(request: SessionRequest) -> Mapping[str, str | None]:
    return {variable: request.settings[key] for key, variable in _VARIABLES.items()}
