"""Start the session with srun instead of salloc and a step in its allocation.

The shell is there 3 seconds sooner where PrologFlags is set, and users see one step less; but
an srun in the job gets one task only. `launcher = "srun"` of proxy.toml does the same without
arguments of its own.

    plugins = ["srun_shell"]
    [plugin.srun_shell]
    arguments = ["--qos=interactive", "--mem-per-cpu=4G"]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vscadmin.sites import SessionRequest, hookimpl


@hookimpl
def default_settings() -> Mapping[str, Any]:
    return {"arguments": []}


@hookimpl
def allocation_command(request: SessionRequest) -> list[str]:
    one_shell = ["srun", "--overlap", "--unbuffered", "--mpi=none", "--nodes=1", "--ntasks=1"]
    return [*one_shell, *request.settings["arguments"], *request.salloc_args]
