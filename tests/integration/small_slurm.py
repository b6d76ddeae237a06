"""Slurm at its smallest: salloc, squeue and scancel of one job on this machine, as scripts.

For what a session does with Slurm where no Slurm is needed to see it; tests/lab has a real one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

JOB: Final = 4711

# The lines are those of Slurm 22.05. The job's state is in a file, and only scancel, salloc and
# the test change it.
_SALLOC: Final = f"""#!/bin/sh
cd "${{0%/*}}"
say() {{ echo "salloc: $*" >&2; }}
trap 'say "Job allocation {JOB} has been revoked."; echo CANCELLED >state; exit 0' TERM
[ -e state ] || echo PENDING >state
say 'Pending job allocation {JOB}'
say 'job {JOB} queued and waiting for resources'
while [ "$(cat state)" = PENDING ]; do sleep 0.05; done
[ "$(cat state)" = RUNNING ] || {{ say 'Job allocation {JOB} has been revoked.'; exit 0; }}
say 'Granted job allocation {JOB}'
while [ "$1" != /bin/sh ]; do shift; done
export SLURM_JOB_ID={JOB} SLURM_LAUNCH_NODE_IPADDR=127.0.0.1
"$@"
status=$?
echo 'srun: launch/slurm: _step_signal: Terminating StepId={JOB}.interactive' >&2
say 'Relinquishing job allocation {JOB}'
say 'Job allocation {JOB} has been revoked.'
exit $status
"""
_SQUEUE: Final = f"""#!/bin/sh
cd "${{0%/*}}"
[ -e state ] && echo "{JOB}|$(id -u)|$(cat state)|N/A|N/A|1:00:00|devel||1|Priority"
"""
_SCANCEL: Final = """#!/bin/sh
cd "${0%/*}"
case $(cat state) in PENDING | RUNNING) echo CANCELLED >state ;; esac
"""


class SmallSlurm:
    """The three commands in *place*; `path` is a PATH on which they come first."""

    CONFIG: Final = 'version = 1\nlauncher = "salloc"\n'

    def __init__(self, place: Path) -> None:
        place.mkdir()
        for name, text in (("salloc", _SALLOC), ("squeue", _SQUEUE), ("scancel", _SCANCEL)):
            (place / name).write_text(text)
            (place / name).chmod(0o755)
        self.path = f"{place}:{os.environ['PATH']}"
        self._state = place / "state"

    @property
    def state(self) -> str:
        """The job's, "" where none was submitted."""
        return self._state.read_text().strip() if self._state.exists() else ""

    def become(self, state: str) -> None:
        """Change the job's state, as Slurm does; before it is submitted: how it begins."""
        self._state.with_suffix(".new").write_text(f"{state}\n")
        self._state.with_suffix(".new").rename(self._state)
