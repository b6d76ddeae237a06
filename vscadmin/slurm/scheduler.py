"""The scheduler in one interface: who implements it asks Slurm by a short process."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from typing import Protocol

from vscadmin.errors import Exit, VscadminError
from vscadmin.escape import printable
from vscadmin.slurm.job import Job

PATIENCE = 15.0  # seconds for an answer: MessageTimeout is 10 where a site has not changed it


class SchedulerError(VscadminError):
    """Slurm could not be asked: it is not installed, does not answer, or answers nonsense."""

    exit_code = Exit.INCOMPLETE


class Scheduler(Protocol):
    """Knows the jobs of the cluster."""

    def jobs(self, uid: int | None = None) -> tuple[Job, ...]:
        """Return the jobs that are not over, of *uid* or of everybody whose jobs we may see.

        Raises SchedulerError.
        """


def ask(argv: Sequence[str], environment: Mapping[str, str], patience: float) -> bytes:
    """Run *argv* for at most *patience* seconds, and return what it prints.

    Raises SchedulerError where it is not there, fails or takes too long.
    """
    program = argv[0]
    try:
        done = subprocess.run(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SchedulerError(f"{program}: no answer from Slurm in {patience:.0f} s") from None
    except OSError as error:
        raise SchedulerError(f"{program}: {error.strerror}") from None
    if done.returncode != 0:
        last = done.stderr.strip().rpartition(b"\n")[2]
        said = printable(last.removeprefix(f"{program}: ".encode()))
        raise SchedulerError(f"{program}: {said or f'exit {done.returncode}'}")
    return done.stdout
