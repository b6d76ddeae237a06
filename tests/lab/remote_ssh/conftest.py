"""An account on this machine where the editor's ssh would lead to."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
import pytest

from tests.integration.vscode import server
from tests.integration.vscode.fixtures import vscode_server_installed, vscode_user
from tests.lab.remote_ssh.driver import RemoteSsh
from tests.lab.remote_ssh.scripts import Layout, Script

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.vscode.fixtures import EditorUser

__all__ = ["vscode_server_installed", "vscode_user"]

_MARK: Final = "VSCADMIN_TEST_SESSION"
_END_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Account:
    """A user and a home; all that the user's sessions start carries *mark*."""

    uid: int
    gid: int
    home: Path
    mark: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def environment(self) -> dict[str, str]:
        """What a login gives."""
        runtime = self.home / ".run"
        env = {"HOME": str(self.home), "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
        return {**env, "XDG_RUNTIME_DIR": str(runtime), _MARK: self.mark}

    def session(self, script: Script) -> RemoteSsh:
        """Return a session whose shell, as behind an sshd, has a session of its own."""
        argv = ["setsid", "--fork", "--wait", "bash"]
        if os.geteuid() == 0:
            user = [f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]
            argv = ["setpriv", *user, *argv]
        return RemoteSsh(argv, script, env=self.environment, seconds=60)

    def lay_out(self, layout: Layout) -> None:
        """Put the server where *layout*'s script looks for it."""
        put = server.lay_out_legacy if layout.legacy else server.lay_out_exec_server
        put(self.home, self.uid, self.gid)

    def processes(self, *words: str) -> list[psutil.Process]:
        """Return the sessions' live processes that have all *words* in their arguments."""
        return [p for p in self._processes() if all(word in _line(p) for word in words)]

    def end(self) -> None:
        """Kill until nothing is left, each by its pid, and remove the exec servers' sockets."""
        deadline = time.monotonic() + _END_SECONDS
        while left := self.processes():
            assert time.monotonic() < deadline, left
            for process in left:
                _kill(process)
            time.sleep(0.02)

    def _processes(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(_MARK) == self.mark:
                    yield process


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        listening = {str(c.laddr) for c in process.net_connections("unix")}
        process.kill()
        for path in listening:
            if path.startswith("/tmp/code-"):
                Path(path).unlink(missing_ok=True)


@pytest.fixture
def account(vscode_server_installed: Path, vscode_user: EditorUser) -> Iterator[Account]:
    """Lend an account, and leave none of its processes behind."""
    lent = Account(*vscode_user)
    runtime = lent.home / ".run"
    runtime.mkdir(mode=0o700)
    os.chown(runtime, lent.uid, lent.gid)
    try:
        yield lent
    finally:
        lent.end()
