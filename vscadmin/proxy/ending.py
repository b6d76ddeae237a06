"""How a session ends: what was started is stopped, and why is said, in whatever order it comes.

The shell's end is told by its agent and is followed by its last output; the launcher's end is
seen by us; the control connection may break, the client go, a signal arrive.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from vscadmin.errors import Exit
from vscadmin.proxy import wire
from vscadmin.proxy.journal import Journal
from vscadmin.proxy.launch import Launch
from vscadmin.proxy.link import Control
from vscadmin.proxy.loop import Loop
from vscadmin.proxy.queue import Queue
from vscadmin.proxy.shell import status_of
from vscadmin.proxy.stdio import Stdio

_CANCEL = 1.5  # s the launcher has to end by itself before Slurm is asked to end the job
_KILL = 4.0  # s until it is killed: a signal of ours ends a job within 5 s
_LEAVE = 4.5  # s until we go after a signal, though the client has not taken all there is
_LATE_STATUS = 1.0  # s the shell's status may come later than the launcher's end
_STILL = 30.0  # s without a byte after which the rest of the shell's output is given up
_LOOK = 0.1  # s between two looks at what has come of it
_FLUSHED = 0.01, 0.5  # s between two looks whether the client has it all: at first, and later


class Ending:
    """Ends one session, once. *pid* is the launcher's, which leads a process group."""

    def __init__(
        self,
        loop: Loop,
        launch: Launch,
        pid: int,
        journal: Journal,
        queue: Queue,
    ) -> None:
        self._loop = loop
        self._launch = launch
        self._pid = pid
        self._journal = journal
        self._queue = queue
        self._stdio: Stdio | None = None
        self._is_explaining = False
        self._launcher_is_there = True
        self.control: Control | None = None
        self.is_on = False
        """Whether the session is being ended."""
        self.status: int | None = None
        """The exit status, as soon as it is known."""

    def of(self, stdio: Stdio) -> None:
        """Learn whose output has to be out before the end."""
        self._stdio = stdio

    # What happens.

    def shell_ended(self, status: int, output: int) -> None:
        """Take its status from the agent; *output* bytes of its stdout are here or on their way."""
        self.status = status
        self._journal.info(f"the shell ended with status {status}")
        self._queue.shell_ended(status)
        self._await_output(output, -1, _STILL)

    def _await_output(self, wanted: int, seen: int, patience: float) -> None:
        """Stop the launcher once its output is here: it would take along what it holds."""
        arrived = self._stdio.shell_bytes if self._stdio is not None else wanted
        is_flushed = self._stdio is None or self._stdio.is_flushed
        if (arrived >= wanted and is_flushed) or patience <= 0:
            self._loop.later(_CANCEL, self.stop)
        elif not self.is_on:  # while the client takes its time, so may what the launcher holds
            is_moving = arrived != seen or not is_flushed
            patience = _STILL if is_moving else patience - _LOOK
            self._loop.later(_LOOK, lambda: self._await_output(wanted, arrived, patience))

    def client_gone(self) -> None:
        """End because nobody reads stdout any more."""
        self._journal.info("the client is gone")
        self.end(128 + signal.SIGHUP)

    def signalled(self, number: int) -> None:
        """End for a signal that came to us."""
        self._journal.info(f"{signal.Signals(number).name} arrived")
        self.end(128 + number)
        self._loop.later(_LEAVE, self._loop.stop)

    def fail(self, line: str) -> None:
        """End because the session cannot go on, and say why."""
        if not self.is_on:
            self._journal.fail(line)
            self.end(Exit.NO_BACKEND)

    def lost(self, reason: str) -> None:
        """Take note that control ended; without a word, unless the shell did."""
        self._journal.info(f"the control connection ended: {reason}")
        if self.status is None and not self.is_on:
            self._explain(self._how_it_ended())

    def launcher_ended(self, waited: int) -> None:
        """Take note that the launcher is no more, and read what it left behind."""
        self._journal.info(f"the launcher ended with status {status_of(waited)}")
        if os.WIFSIGNALED(waited):
            self._signal_launcher(signal.SIGTERM)  # a srun may have outlived its salloc
        self._launcher_is_there = False
        if self._stdio is not None:
            self._stdio.drain()
        if self.status is not None and self._launch.job_is_ours and os.WIFSIGNALED(waited):
            self._queue.cancel()
        if self.status is not None or self.control is None or not self.control.is_open:
            self._wind_up()
        else:
            self._loop.later(_LATE_STATUS, self._wind_up)

    # What is done.

    def end(self, status: int) -> None:
        """End it all, with this status unless the shell's own is known."""
        if self.status is None:
            self.status = status
        self.stop()

    def stop(self) -> None:
        """Stop what was started, the first time gently."""
        if self.is_on:
            return
        self.is_on = True
        self._queue.end()
        if self.control is not None:
            self.control.send(wire.END)
        self._signal_launcher(signal.SIGTERM)
        self._loop.later(_CANCEL, self._cancel)
        self._loop.later(_KILL, self._kill)

    def _cancel(self) -> None:
        if self._launch.job_is_ours:
            self._queue.cancel()

    def _kill(self) -> None:
        self._signal_launcher(signal.SIGKILL)
        self._cancel()

    def _signal_launcher(self, number: int) -> None:
        """Signal the launcher and its process group: the children of a wrapper hear it too."""
        if self._launcher_is_there:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, number)

    def _explain(self, what: str) -> None:
        """Say why the session ends before anything of ours changes what Slurm says of it."""
        if not self._is_explaining:
            self._is_explaining = True
            self._queue.say_why(what, self._explained)

    def _explained(self) -> None:
        self._is_explaining = False
        if self.status is None:
            self.status = Exit.NO_BACKEND
        self._cancel()
        if self._launcher_is_there:
            self.stop()
        else:
            self._finish()

    def _wind_up(self) -> None:
        """Stop when the client has it all, and say why the launcher went if nobody knows."""
        if self.status is None and self._stdio is not None:
            self.status = self._stdio.trailing_status
        if self.status is None:
            self._explain(self._how_it_ended())
        else:
            self._finish()

    def _how_it_ended(self) -> str:
        if self._launcher_is_there:
            return "the connection to the job was lost"
        if self._launch.uses_slurm:
            return "the job ended" if self._queue.has_job else "no job was started"
        return "the shell ended without a status"

    def _finish(self, pause: float = _FLUSHED[0]) -> None:
        if self._is_explaining:
            return
        if self._stdio is None or self._stdio.is_flushed:
            self._loop.stop()
        else:
            longer = min(2 * pause, _FLUSHED[1])
            self._loop.later(pause, lambda: self._finish(longer))
