"""One run of vscode-shell-proxy as a user has it: by a real ssh from the laptop."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import Final, Self

from tests.lab.cluster import Cluster
from tests.lab.errors import SessionError
from tests.lab.node import Node
from tests.lab.remote_ssh.pipes import Pipes

COMMAND: Final = "vscode-shell-proxy"

_SECONDS: Final = 30.0
_END_SECONDS: Final = 10.0
_WHERE: Final = 'printf "at %s %s %s:\\n" "$SLURM_JOB_ID" "$(hostname)" $$\n'
_AT: Final = rb"at (\d*) (\w+) (\d+):\n"
# Of the laptop's own, and below the ports that its kernel gives away: nobody else has them.
_PORTS: Final = itertools.count(20001)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session's shell runs: *pid* in the node's own numbers, *job* 0 if it is in none."""

    job: int
    node: str
    pid: int


class Session:
    """A session of *user* on the login node *host*; *arguments* are the proxy's, *ssh* ssh's.

    Leaving the block ends the client as a closed window does.
    """

    def __init__(
        self,
        cluster: Cluster,
        user: str,
        host: str = "login1",
        *arguments: str,
        ssh: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
    ) -> None:
        self.cluster = cluster
        self.user = user
        self.host = host
        self.socks_port = next(_PORTS)
        self._ssh = ssh
        self._env = env
        self._command = shlex.join([COMMAND, *arguments])
        self._changed = threading.Condition()
        self._stdout = bytearray()
        self._at_end = False

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            self._argv(), stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True
        )
        self._pipes = Pipes(self._process, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        self._end(signal.SIGTERM)
        self._pipes.close()

    @property
    def stdout(self) -> bytes:
        """All that came on stdout."""
        with self._changed:
            return bytes(self._stdout)

    @property
    def stderr(self) -> str:
        """What came on stderr, where the user reads it."""
        return self._pipes.stderr.decode(errors="backslashreplace")

    @property
    def login_node(self) -> Node:
        """The node that ssh was sent to; not for the round-robin name."""
        return self.cluster[self.host]

    def send(self, text: str | bytes) -> None:
        """Write *text* to the shell's stdin."""
        self._pipes.write(text.encode() if isinstance(text, str) else text, _SECONDS)

    def close_stdin(self) -> None:
        """Let the shell read an end of file."""
        self._pipes.close_stdin()

    def expect(self, pattern: bytes, seconds: float = _SECONDS) -> re.Match[bytes]:
        """Wait until *pattern* is found in stdout; return its first match."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while (found := re.search(pattern, bytes(self._stdout))) is None:
                left = deadline - time.monotonic()
                if self._at_end or left <= 0:
                    why = "the session ended" if self._at_end else f"nothing after {seconds:g} s"
                    raise self._error(f"{why}: no {pattern!r}")
                self._changed.wait(left)
            return found

    def place(self) -> Place:
        """Ask the shell where it is; this waits until there is one."""
        self.send(_WHERE)
        job, node, pid = self.expect(_AT).groups()
        return Place(int(job or 0), node.decode(), int(pid))

    def said(self, pattern: str, seconds: float = _SECONDS) -> str:
        """Wait for a line of stderr in which *pattern* is found; return the first."""
        deadline = time.monotonic() + seconds
        while (found := re.search(f"(?m)^.*(?:{pattern}).*$", self.stderr)) is None:
            if time.monotonic() > deadline:
                raise self._error(f"nothing after {seconds:g} s: no {pattern!r} on stderr")
            time.sleep(0.02)
        return found[0]

    def wait(self, seconds: float = _END_SECONDS) -> int:
        """Wait until ssh ends by itself; return its status, which is the remote command's."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise self._error(f"still there after {seconds:g} s") from None
        self._pipes.close()  # takes in the last it said
        return status

    def kill(self) -> None:
        """End the ssh client as a crash of the laptop's editor does."""
        self._end(signal.SIGKILL)

    def _argv(self) -> list[str]:
        ssh = ["ssh", "-T", "-D", str(self.socks_port), *self._ssh, self.host, self._command]
        return self.cluster.laptop.argv(*ssh, user=self.user, env=self._env)

    def _end(self, signum: signal.Signals) -> None:
        """Signal ssh and what entered the laptop for it, as long as that holds its number."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signum)
            self._process.wait(_END_SECONDS)

    def _take(self, data: bytes) -> None:
        with self._changed:
            self._stdout += data
            self._at_end = not data
            self._changed.notify_all()

    def _error(self, what: str) -> SessionError:
        tail = bytes(self._stdout[-1000:]).decode(errors="backslashreplace")
        status = self._process.poll()
        return SessionError(f"{what} (status {status})\nstdout: {tail}\nstderr: {self.stderr}")
