"""One job of Slurm's, for tests: a session of alice's, on c1 for two hours."""

from __future__ import annotations

from typing import Any

from vscadmin.slurm.job import Job


def job(**facts: Any) -> Job:
    """Return the job with *facts* instead."""
    known: dict[str, Any] = {
        "id": 12,
        "user": "alice",
        "uid": 20001,
        "name": "vscode-shell-proxy",
        "comment": "vscode-shell-proxy 0123abcd login1:77",
        "state": "RUNNING",
        "reason": "None",
        "partition": "devel",
        "node": "c1",
        "time_limit": 7200,
        "submit": 1_795_276_800,
        "start": 1_795_276_801,
        "end": 1_795_284_001,
    }
    return Job(**{**known, **facts})
