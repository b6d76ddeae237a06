"""Run by `bindings` in a process of its own: print the jobs that pyslurm knows, as JSON.

Importing pyslurm without a usable slurm.conf ends the interpreter, and a controller that is
down holds a call for 10 s or more: neither may happen to anybody else.
"""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

# The attributes of pyslurm.Job in the order in which `bindings` reads them.
ATTRIBUTES = (
    "id", "user_name", "user_id", "name", "comment", "state", "state_reason", "partition",
    "allocated_nodes", "time_limit", "submit_time", "start_time", "end_time",
)  # fmt: skip


def jobs() -> list[list[Any]]:
    """Return a row for each job of the cluster."""
    pyslurm = import_module("pyslurm")
    return [[getattr(job, name) for name in ATTRIBUTES] for job in pyslurm.Jobs.load().values()]


if __name__ == "__main__":
    print(json.dumps(jobs()))
