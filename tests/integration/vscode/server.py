"""Lay out and run a real VS Code server as its clients do, for one user in one home."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

EXEC_SERVER_TOKEN: Final = "remotessh"  # noqa: S105  # every CLI's server has it

_CHECKOUT: Final = Path(__file__).resolve().parents[3]
_MARK: Final = "VSCADMIN_TEST_SERVER"
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.02
_LISTENING: Final = re.compile(rb"Extension host agent listening on (\S+)")
_CLI_LISTENING: Final = re.compile(rb"^Listening on 127\.0\.0\.1:(\d+)$", re.MULTILINE)


class ServerFailedError(Exception):
    """A server did not start, or would not end."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that accepts clients.

    *launcher* is the root of its tree: the launcher's `sh`, or the CLI. *mark* is in
    the environment of all its processes, so that those it lost can be found as well.
    """

    launcher: subprocess.Popen[bytes]
    node_pid: int
    endpoint: tuple[str, int] | Path
    token: str
    commit: str
    home: Path
    log: Path
    mark: str
    backend: Path | None = None

    @property
    def port(self) -> int | None:
        """The TCP port for clients, if that is where they come in."""
        return self.endpoint[1] if isinstance(self.endpoint, tuple) else None

    @property
    def socket_path(self) -> Path | None:
        """The unix socket of the server itself; with an exec server it is behind the CLI."""
        return self.endpoint if isinstance(self.endpoint, Path) else self.backend

    def processes(self) -> list[psutil.Process]:
        """Return all its live processes, those included that were re-parented."""
        return list(_marked(self.mark))

    def extension_hosts(self) -> list[psutil.Process]:
        """Return its live extension hosts."""
        return [p for p in self.processes() if "--type=extensionHost" in _argv(p)]


def installed() -> Path | None:
    """Return the installed server (its lib/vscode), if install.sh has finished."""
    cache = os.environ.get("VSCADMIN_VSCODE_CACHE") or _CHECKOUT / ".cache" / "vscode"
    server = Path(cache) / "server"
    return server / "vscode" if (server / ".stamp").is_file() else None


def commit() -> str:
    """Return the commit that the server reports."""
    product: dict[str, Any] = json.loads((_installed() / "product.json").read_bytes())
    found = product["commit"]
    if not isinstance(found, str) or not re.fullmatch("[0-9a-f]{40}", found):
        raise ServerFailedError(f"not a commit: {found!r}")
    return found


def folder(home: Path, *, exec_server: bool) -> Path:
    """Return the folder that clients of either kind look for the server in."""
    data = home / ".vscode-server"
    if exec_server:
        return data / "cli" / "servers" / f"Stable-{commit()}" / "server"
    return data / "bin" / commit()


def lay_out_legacy(home: Path, uid: int, gid: int) -> Path:
    """Put the server where clients without an exec server do; return its folder."""
    target = folder(home, exec_server=False)
    _lay_out(target, home, uid, gid)
    return target


def lay_out_exec_server(home: Path, uid: int, gid: int) -> Path:
    """Put the server and the stand-in for the CLI where the CLI does; return its folder."""
    target = folder(home, exec_server=True)
    _lay_out(target, home, uid, gid)
    cli = home / ".vscode-server" / f"code-{commit()}"
    if not cli.exists():
        shutil.copy2(_installed().parent / "code-cli", cli)
        _give(cli, uid, gid)
    return target


def start_legacy(home: Path, uid: int, gid: int, *extra: str) -> RunningServer:
    """Start a server on a TCP port of 127.0.0.1."""
    return _start_legacy(home, uid, gid, ("--host=127.0.0.1", "--port=0", *extra))


def start_legacy_socket(
    home: Path, uid: int, gid: int, socket_path: Path, *extra: str
) -> RunningServer:
    """Start a server on the unix socket *socket_path* (shorter than 108 bytes)."""
    return _start_legacy(home, uid, gid, (f"--socket-path={socket_path}", *extra))


def start_exec_server(home: Path, uid: int, gid: int, *extra: str) -> RunningServer:
    """Start the stand-in for the CLI, which starts its server; clients come in by TCP."""
    lay_out_exec_server(home, uid, gid)
    data = home / ".vscode-server"
    log = data / f".cli.{commit()}.log"
    argv: tuple[str, ...] = (str(data / f"code-{commit()}"), "command-shell")
    argv += ("--cli-data-dir", str(data / "cli"), "--parent-process-id", str(os.getpid()))
    argv += ("--on-host=127.0.0.1", "--on-port", *extra)
    with _spawned(argv, home, log, uid, gid) as (cli, mark):
        port = int(_await(_CLI_LISTENING, log, cli))
        backend = Path(os.fsdecode(_await(_LISTENING, log, cli)))
        return RunningServer(
            launcher=cli,
            node_pid=_node(cli, depth=2),
            endpoint=("127.0.0.1", port),
            token=EXEC_SERVER_TOKEN,
            commit=commit(),
            home=home,
            log=log,
            mark=mark,
            backend=backend,
        )


def stop(server: RunningServer) -> None:
    """End every process of *server*, wherever it hangs now, and remove its socket."""
    _end(server.launcher, server.mark)
    if server.socket_path is not None:
        server.socket_path.unlink(missing_ok=True)


def _start_legacy(home: Path, uid: int, gid: int, where: tuple[str, ...]) -> RunningServer:
    target = lay_out_legacy(home, uid, gid)
    log = home / ".vscode-server" / f".{commit()}.log"
    token_file = home / ".vscode-server" / f".{commit()}.token"
    token = secrets.token_hex(16)
    _write_private(token_file, token, uid, gid)
    argv = (str(target / "bin" / "code-server"), "--start-server", *where)
    argv += ("--accept-server-license-terms", "--telemetry-level", "off")
    argv += ("--connection-token-file", str(token_file))
    with _spawned(argv, home, log, uid, gid) as (launcher, mark):
        place = os.fsdecode(_await(_LISTENING, log, launcher))
        return RunningServer(
            launcher=launcher,
            node_pid=_node(launcher, depth=1),
            endpoint=("127.0.0.1", int(place)) if place.isdecimal() else Path(place),
            token=token,
            commit=commit(),
            home=home,
            log=log,
            mark=mark,
        )


def _installed() -> Path:
    if (server := installed()) is None:
        raise ServerFailedError("no server is installed: run install.sh")
    return server


def _lay_out(target: Path, home: Path, uid: int, gid: int) -> None:
    _refuse_links(target, home)
    if (target / "node").exists():
        return
    server = _installed()
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(server, target, copy_function=_link, symlinks=True, dirs_exist_ok=True)
    # Directories only: the files are the cache's as well, and need only be readable.
    for directory, _, _ in os.walk(home / ".vscode-server"):
        _give(directory, uid, gid)
    _link(server.parent / "node", target / "node")


def _refuse_links(target: Path, home: Path) -> None:
    """Refuse a home where a link would lead what root does to *target* elsewhere."""
    for each in (target, *target.parents):
        if each == home:
            return
        if each.is_symlink():
            raise ServerFailedError(f"{each} is a link")


def _link(source: str | Path, target: str | Path) -> None:
    """Link, or copy where that is not possible: another file system or another's file."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _give(path: str | Path, uid: int, gid: int) -> None:
    if os.geteuid() == 0:
        os.chown(path, uid, gid, follow_symlinks=False)


def _write_private(path: Path, text: str, uid: int, gid: int) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(text)
    _give(path, uid, gid)


@contextlib.contextmanager
def _spawned(
    argv: tuple[str, ...], home: Path, log: Path, uid: int, gid: int
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Start *argv* as the user; end it and all it started if the block fails.

    Its sockets lie below *home*, which must be shorter than 50 bytes for that.
    """
    mark = str(uuid.uuid4())
    runtime = home / ".run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    _give(runtime, uid, gid)
    _write_private(log, "", uid, gid)
    env = {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    root = os.geteuid() == 0
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            env={**env, "XDG_RUNTIME_DIR": str(runtime), _MARK: mark},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            user=uid if root else None,
            group=gid if root else None,
            extra_groups=[] if root else None,
        )
    try:
        yield process, mark
    except BaseException:
        _end(process, mark)
        raise


def _await(line: re.Pattern[bytes], log: Path, process: subprocess.Popen[bytes]) -> bytes:
    """Return the group of *line* once it stands in *log*."""
    deadline = time.monotonic() + _START_SECONDS
    while (found := line.search(log.read_bytes())) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise ServerFailedError(f"{process.args!r}: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(_POLL_SECONDS)
    return bytes(found[1])


def _node(launcher: subprocess.Popen[bytes], depth: int) -> int:
    """Return the pid of the server's main node, *depth* generations below *launcher*."""
    process = psutil.Process(launcher.pid)
    for _ in range(depth):
        (process,) = process.children()
    return process.pid


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        # Gone meanwhile, a zombie (which has none), or another user's: not ours to end.
        with contextlib.suppress(psutil.Error):
            if process.environ().get(_MARK) == mark:
                yield process


def _argv(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _end(launcher: subprocess.Popen[bytes], mark: str) -> None:
    """Kill until nothing is left: a process may start another one before it dies."""
    deadline = time.monotonic() + _STOP_SECONDS
    while left := list(_marked(mark)):
        if time.monotonic() > deadline:
            raise ServerFailedError(f"would not end: {[p.pid for p in left]}")
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(_POLL_SECONDS)
    launcher.wait(_STOP_SECONDS)
