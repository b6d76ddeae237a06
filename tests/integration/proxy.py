"""One run of vscode-shell-proxy on this machine: the launcher `shell`, and the test as its client.

All of the data path is real: boot script, agent and relay run here as they do in a job.
"""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from tests.integration.step import login

COMMAND: Final = os.path.join(os.path.dirname(sys.executable), "vscode-shell-proxy")
SHELL: Final = 'version = 1\nlauncher = "shell"\n'
NO_BACKEND: Final = 69
LOCALHOST: Final = "127.0.0.1"

_SECONDS: Final = 10.0
_READ: Final = 1 << 16


class Proxy:
    """A session whose files and home are in *place*; *arguments* are the proxy's.

    *config* is its proxy.toml, None the machine's own; *stdio* "pipes", or "sockets" as sshd
    gives them; *before* what runs the proxy. Whoever belongs to the session inherits a pipe's
    end: the end of that pipe is the end of them all.
    """

    def __init__(
        self,
        place: Path,
        *arguments: str,
        config: str | None = SHELL,
        command: str = COMMAND,
        stdio: str = "pipes",
        before: Sequence[str] = (),
        **environment: str,
    ) -> None:
        self.home = place / "home"
        self.home.mkdir(exist_ok=True)
        self._argv = [*before, command, *arguments]
        if config is not None:
            (place / "proxy.toml").write_text(config)
            self._argv += ["--config", str(place / "proxy.toml")]
        self._environment = login(self.home, **environment)
        self._stdio = stdio
        self._out, self._err = bytearray(), bytearray()
        self._seen = 0

    def __enter__(self) -> Self:
        alive, theirs = os.pipe()
        ours, stdio = _sockets() if self._stdio == "sockets" else _pipes()
        self._stdin, self._stdout, self._stderr = ours
        self._open = [self._stdout, self._stderr]
        self._alive = alive
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            self._argv, stdin=stdio[0], stdout=stdio[1], stderr=stdio[2], pass_fds=[theirs],
            env=self._environment, cwd="/", start_new_session=True,
        )  # fmt: skip
        for fd in {theirs, *stdio}:
            os.close(fd)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        self.drop()
        survivors = [] if self._is_over(_SECONDS) else self.processes()
        left = [_argv(pid) for pid in survivors]
        for pid in survivors:
            os.kill(pid, signal.SIGKILL)
        self.process.wait(_SECONDS)
        os.close(self._alive)
        assert kind or not left, left

    @property
    def stdout(self) -> bytes:
        """All that came on stdout by now."""
        return bytes(self._out)

    @property
    def stderr(self) -> str:
        """All that came on stderr by now."""
        return self._err.decode(errors="backslashreplace")

    def send(self, data: str | bytes) -> None:
        """Write to the session's stdin."""
        left = data.encode() if isinstance(data, str) else data
        while left:
            left = left[os.write(self._stdin, left) :]

    def send_what_fits(self, most: int, seconds: float) -> int:
        """Write zeros until nothing has moved for so many seconds; return how many went."""
        os.set_blocking(self._stdin, False)
        sent = 0
        while sent < most and select.select([], [self._stdin], [], seconds)[1]:
            sent += os.write(self._stdin, bytes(_READ))
        os.set_blocking(self._stdin, True)
        return sent

    def close_stdin(self) -> None:
        """Say that no more comes, as `ssh host < script` does."""
        if self._stdin == self._stdout:
            with socket.socket(fileno=os.dup(self._stdin)) as both:
                both.shutdown(socket.SHUT_WR)
        else:
            os.close(self._stdin)
        self._stdin = -1

    def drop(self) -> None:
        """Be gone, as a client whose connection broke."""
        for fd in {self._stdin, self._stdout, self._stderr} - {-1}:
            os.close(fd)
        self._stdin = self._stdout = self._stderr = -1
        self._open = []

    def expect(self, pattern: bytes, seconds: float = _SECONDS) -> re.Match[bytes]:
        """Return the first match in stdout behind the last one."""
        end = time.monotonic() + seconds
        while (found := re.search(pattern, self._out[self._seen :])) is None:
            assert self._pump(end), f"no {pattern!r} in {self._out[-500:]!r}; {self.stderr}"
        self._seen += found.end()
        return found

    def said(self, pattern: str, seconds: float = _SECONDS) -> str:
        """Return the first line of stderr in which *pattern* is found."""
        end = time.monotonic() + seconds
        while (found := re.search(f"(?m)^.*(?:{pattern}).*$", self.stderr)) is None:
            assert self._pump(end), f"no {pattern!r} in {self.stderr}"
        return found[0]

    def wait(self, seconds: float = _SECONDS) -> int:
        """Read to the end of both outputs; return the exit status."""
        end = time.monotonic() + seconds
        while self._pump(end):
            pass
        return self.process.wait(max(0.1, end - time.monotonic()))

    def run(self, script: str | bytes, seconds: float = _SECONDS) -> int:
        """Do as `ssh host < script` does."""
        self.send(script)
        self.close_stdin()
        return self.wait(seconds)

    def pids(self) -> tuple[int, int]:
        """Return the pids of shell and agent, once there is a shell."""
        self.send("echo pids $$ $PPID:\n")
        shell, agent = self.expect(rb"pids (\d+) (\d+):\n").groups()
        return int(shell), int(agent)

    def announce(self, address: str) -> str:
        """Announce a server at *address* as the editor's script does; return what came out."""
        self.send(f"echo 'listeningOn=={address}=='\n")
        return self.expect(rb"listeningOn==(.*)==\r?\n")[1].decode()

    def port_for(self, server: socket.socket) -> int:
        """Announce *server*; return the port where the client finds it."""
        host, _, port = self.announce(f"{LOCALHOST}:{server.getsockname()[1]}").rpartition(":")
        assert host == LOCALHOST
        return int(port)

    def gone(self, seconds: float) -> None:
        """Fail if any process of the session is left after so many seconds."""
        assert self._is_over(seconds), [_argv(pid) for pid in self.processes()]

    def processes(self) -> list[int]:
        """Return the session's pids: all that hold the pipe's other end."""
        wanted = os.readlink(f"/proc/self/fd/{self._alive}")
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return [pid for pid in pids if pid != os.getpid() and wanted in _open_files(pid)]

    def _is_over(self, seconds: float) -> bool:
        return bool(select.select([self._alive], [], [], seconds)[0])

    def _pump(self, end: float) -> bool:
        """Read what comes; False at the end of both outputs, or of the time."""
        if not self._open:
            return False
        ready, _, _ = select.select(self._open, [], [], max(0.0, end - time.monotonic()))
        for fd in ready:
            data = _read(fd)
            if not data:
                self._open.remove(fd)
            elif fd == self._stdout:
                self._out += data
            else:
                self._err += data
        return bool(ready)


def connect(port: int) -> socket.socket:
    """Connect as the editor's client does."""
    made = socket.create_connection((LOCALHOST, port), _SECONDS)
    made.settimeout(_SECONDS)
    return made


def server(backlog: int = 1024) -> socket.socket:
    """Listen as the editor's server does."""
    made = socket.create_server((LOCALHOST, 0), backlog=backlog)
    made.settimeout(_SECONDS)
    return made


def silent() -> socket.socket:
    """Have a port as a server that is about to listen on it: until `listen` it refuses."""
    made = socket.socket()
    made.bind((LOCALHOST, 0))
    made.settimeout(_SECONDS)
    return made


def accept(listener: socket.socket) -> socket.socket:
    """Take one connection, with a time limit of its own."""
    made = listener.accept()[0]
    made.settimeout(_SECONDS)
    return made


def read_all(connection: socket.socket) -> bytes:
    """Read to the end."""
    data = b""
    while more := connection.recv(_READ):
        data += more
    return data


def site(place: Path, *wrapper: str, more: str = "") -> str:
    """Return a proxy.toml whose site wraps the launcher in *wrapper*, by a plugin of its own."""
    plugin = f"""from vscadmin.sites import hookimpl


@hookimpl
def wrap_launcher(request, command):
    return [*{wrapper!r}, *command]
"""
    folder = place / "site-plugins"
    folder.mkdir(exist_ok=True)
    (folder / "wrapping.py").write_text(plugin)
    return f'{SHELL}plugins = ["wrapping"]\nplugin_dirs = ["{folder}"]\n{more}'


def without(name: str, place: Path) -> str:
    """Return a PATH with all of ours but the command *name*."""
    folder = place / f"without-{name}"
    folder.mkdir()
    for where in reversed(os.environ["PATH"].split(":")):
        for each in os.listdir(where) if os.path.isdir(where) else ():
            if each != name:
                (folder / each).unlink(missing_ok=True)
                (folder / each).symlink_to(f"{where}/{each}")
    return str(folder)


def _pipes() -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    (stdin, to_stdin), (from_stdout, stdout), (from_stderr, stderr) = (
        os.pipe(),
        os.pipe(),
        os.pipe(),
    )
    return (to_stdin, from_stdout, from_stderr), (stdin, stdout, stderr)


def _sockets() -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return one pair for stdin and stdout, and one for stderr, as sshd makes them."""
    (ours, theirs), (our_err, their_err) = socket.socketpair(), socket.socketpair()
    both, err = ours.detach(), our_err.detach()
    inside = theirs.detach()
    return (both, both, err), (inside, inside, their_err.detach())


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _READ)
    except ConnectionResetError:
        return b""


def _open_files(pid: int) -> set[str]:
    found = set()
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            found.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    except OSError:  # it ended, or is another user's
        pass
    return found


def _argv(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace")[:200]
    except OSError:
        return ""
