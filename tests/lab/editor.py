"""A user's editor on the laptop: Remote-SSH by the real ssh, and windows that a test can kill."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.integration.vscode import client, server
from tests.lab.cluster import Cluster
from tests.lab.errors import EditorError
from tests.lab.remote_ssh.driver import RemoteSsh
from tests.lab.remote_ssh.result import Result
from tests.lab.remote_ssh.scripts import Layout, Script
from tests.run import eventually

_CLIENT: Final = "/usr/local/lib/vscode-client.py"
_KEEP_ALIVE_SECONDS: Final = 1.0  # the real script's blanks come every 180
_OPEN_SECONDS: Final = 60.0
_CLOSE_SECONDS: Final = 30.0
_FREE_PORT: Final = """
import socket
with socket.create_server(("127.0.0.1", 0)) as probe:
    print(probe.getsockname()[1])
"""
# Copied by the user, who may have put anything in its way.
_LAY_OUT: Final = """
from=/opt/vscode-server folder=$1 cli=$HOME/.vscode-server/code-$2
[ -e "$folder/node" ] || {
  mkdir -p "$folder"
  cp -R --reflink=auto "$from/vscode/." "$folder"
  cp --reflink=auto "$from/node" "$folder/node"
}
case $folder in */cli/*) [ -e "$cli" ] || cp "$from/code-cli" "$cli" ;; esac
"""


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
        port = int(self.cluster.laptop.run("/usr/bin/python3", "-c", _FREE_PORT).stdout)
        forward = ("-T", "-D", str(port), "-o", "ExitOnForwardFailure=yes")
        argv = self.cluster.ssh_argv(
            self.user, *forward, *self.ssh_options, self.host, self.remote_command
        )
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
        self.cluster.laptop.copy(Path(client.__file__), _CLIENT)
        with self._way_in() as way:
            process = self.cluster.laptop.start(
                *("/usr/bin/python3", "-I", _CLIENT, *way, "--token", self.result.token),
                *("--commit", server.commit(), "--extension-host", *options),
                user=self.user,
                stderr=subprocess.STDOUT,
            )
            try:
                yield Window.opened(process)
            finally:
                _close(process)

    @contextmanager
    def _way_in(self) -> Iterator[tuple[str, ...]]:
        """Yield how the client is told to connect: through -D, or to a socket by an ssh -L."""
        assert self.result.endpoint is not None, self.result.values
        if isinstance(self.result.endpoint, tuple):
            assert self.session.socks is not None
            socks = "{}:{}".format(*self.session.socks)
            yield "--port", str(self.result.endpoint[1]), "--socks", socks
            return
        path = f"/tmp/{self.result.endpoint.name}.{self.user}"
        forward = ("-N", "-L", f"{path}:{self.result.endpoint}")
        with self.cluster.laptop.start("ssh", *forward, self.host, user=self.user) as ssh:
            try:
                eventually(lambda: self.cluster.laptop.run("ls", path, check=False).stdout, bool)
                yield "--socket", path
            finally:
                ssh.kill()

    def lose(self) -> None:
        """End the ssh client as a crash of the laptop's editor does."""
        self.session.kill()


@dataclass(frozen=True, slots=True)
class Window:
    """An open window; *said* is what the client said until it was connected."""

    process: subprocess.Popen[bytes]
    said: tuple[str, ...]

    @classmethod
    def opened(cls, process: subprocess.Popen[bytes], seconds: float = _OPEN_SECONDS) -> Window:
        """Wait until the window is connected; kill it if it is not within *seconds*."""
        assert process.stdout is not None
        said = []
        with killed_after(process, seconds):
            for line in process.stdout:
                said.append(line.decode(errors="replace").strip())
                if said[-1] == "connected":
                    return cls(process, tuple(said))
        raise EditorError(" ".join(said) or "the window's process said nothing")

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


@contextmanager
def killed_after(process: subprocess.Popen[bytes], seconds: float) -> Iterator[None]:
    """Kill *process* if the block takes longer than *seconds*: what it waits for ends then."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def lay_out(cluster: Cluster, user: str, layout: Layout) -> Path:
    """Put the server into the user's home on the cluster, as *layout* has it.

    Return its folder as the nodes name it.
    """
    folder = server.folder(Path("/home", user), exec_server=not layout.legacy)
    cluster.login_nodes[0].run("sh", "-ec", _LAY_OUT, "sh", str(folder), server.commit(), user=user)
    return folder


def _close(process: subprocess.Popen[bytes]) -> None:
    """End a window: by the end of its input, or by force if that does not do."""
    with process:
        if process.stdin and not process.stdin.closed:
            process.stdin.close()
        try:
            process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
