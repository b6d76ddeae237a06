"""A user's editor on the laptop: Remote-SSH by the real ssh, and windows that a test can kill."""

from __future__ import annotations

import itertools
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.integration.vscode import client, server
from tests.lab.cluster import Cluster
from tests.lab.remote_ssh.driver import RemoteSsh
from tests.lab.remote_ssh.result import Result
from tests.lab.remote_ssh.scripts import Layout, Script
from tests.lab.topology import USERS

_CLIENT: Final = "/usr/local/lib/vscode-client.py"
_UIDS: Final = {user.name: user.uid for user in USERS}
_PORTS: Final = itertools.count(20000)
_KEEP_ALIVE_SECONDS: Final = 1.0  # the real script's blanks come every 180


class EditorError(Exception):
    """A window did not open."""


@dataclass(slots=True)
class Editor:
    """One remote connection of *user*, from the laptop to *host*, a node or the common name."""

    cluster: Cluster
    user: str
    host: str
    layout: Layout = Layout.LEGACY
    extra: tuple[str, ...] = ()
    ssh_options: tuple[str, ...] = ()
    # What the client asks for where no RemoteCommand is set. Not sh: dash reads ahead, and
    # would take the head of the script from the shell that is nested in it.
    remote_command: str = "bash"
    session: RemoteSsh = field(init=False)
    result: Result = field(init=False)
    _cleanup: ExitStack = field(init=False, default_factory=ExitStack)

    def __enter__(self) -> Editor:
        lay_out(self.cluster, self.user, self.layout)
        port = next(_PORTS)
        ssh = ("-T", "-D", str(port), *self.ssh_options, self.host)
        argv = self.cluster.ssh_argv(self.user, *ssh, self.remote_command)
        script = Script(self.layout, server.commit(), _KEEP_ALIVE_SECONDS, self.extra)
        self.session = self._cleanup.enter_context(RemoteSsh(argv, script, socks_port=port))
        try:
            self.result = self.session.connect()
        except BaseException:
            self._cleanup.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    @contextmanager
    def window(self, *options: str) -> Iterator[Window]:
        """Open a window with an extension host, and close it as its user would."""
        assert isinstance(self.result.endpoint, tuple), "a socket is reached by -L, not by -D"
        assert self.session.socks is not None
        self.cluster.laptop.copy(Path(client.__file__), _CLIENT)
        process = self.cluster.laptop.start(
            *("/usr/bin/python3", "-I", _CLIENT, "--port", str(self.result.endpoint[1])),
            *("--socks", "{}:{}".format(*self.session.socks), "--token", self.result.token),
            *("--commit", server.commit(), "--extension-host", *options),
            user=self.user,
            stderr=subprocess.STDOUT,
        )
        with process:
            try:
                yield Window.opened(process)
            finally:
                if process.poll() is None and process.stdin and not process.stdin.closed:
                    process.stdin.close()
                    process.wait(30)

    def lose(self) -> None:
        """End the ssh client as a crash of the laptop's editor does."""
        self.session.kill()


@dataclass(frozen=True, slots=True)
class Window:
    """An open window; *said* is what the client said until it was connected."""

    process: subprocess.Popen[bytes]
    said: tuple[str, ...]

    @classmethod
    def opened(cls, process: subprocess.Popen[bytes]) -> Window:
        """Wait until the window is connected."""
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line.decode(errors="replace").strip())
            if said[-1] == "connected":
                return cls(process, tuple(said))
        raise EditorError(" ".join(said) or "the window's process said nothing")

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


def lay_out(cluster: Cluster, user: str, layout: Layout) -> Path:
    """Put the server into the user's home on the cluster, as *layout* has it."""
    put = server.lay_out_legacy if layout.legacy else server.lay_out_exec_server
    return put(cluster.home(user), _UIDS[user], _UIDS[user])
