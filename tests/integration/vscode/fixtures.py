"""Fixtures for tests with a real VS Code server."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.integration.vscode import client, server

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNPRIVILEGED = pwd.getpwnam("nobody").pw_uid  # has a name, as every user of a cluster


class EditorUser(NamedTuple):
    """Who runs the server, and the home it lies in."""

    uid: int
    gid: int
    home: Path


@pytest.fixture(scope="session")
def vscode_server_installed() -> Path:
    """Return the installed server; where tests must be complete its absence is a failure."""
    if (folder := server.installed()) is not None:
        return folder
    reason = "no VS Code server: run tests/integration/vscode/install.sh"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def vscode_user() -> Iterator[EditorUser]:
    """Return an unprivileged user (as root; else ourselves) with an empty home.

    The home is not below pytest's own directory, which only its owner can traverse.
    """
    root = os.geteuid() == 0
    uid, gid = (_UNPRIVILEGED, _UNPRIVILEGED) if root else (os.getuid(), os.getgid())
    home = Path(tempfile.mkdtemp(prefix="vscode-home-", dir="/tmp"))
    if root:
        os.chown(home, uid, gid)
    try:
        yield EditorUser(uid, gid, home)
    finally:
        shutil.rmtree(home)


@contextlib.contextmanager
def stopped_afterwards(running: server.RunningServer) -> Iterator[server.RunningServer]:
    """Lend *running*, and leave none of its processes behind."""
    try:
        yield running
    finally:
        server.stop(running)


@contextlib.contextmanager
def window(running: server.RunningServer) -> Iterator[subprocess.Popen[bytes]]:
    """Open an editor's window in a process of its own, that a test can kill."""
    where = (
        ["--port", str(running.port)]
        if running.port is not None
        else ["--socket", str(running.socket_path)]
    )
    argv = [sys.executable, client.__file__, *where, "--token", running.token]
    argv += ["--commit", running.commit, "--extension-host"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        try:
            assert program.stdout.readline() == b"connected\n"
            yield program
        finally:
            program.kill()
            program.wait(10)


@pytest.fixture
def legacy_server(
    vscode_server_installed: Path, vscode_user: EditorUser
) -> Iterator[server.RunningServer]:
    """Run a server of the legacy layout on a TCP port."""
    uid, gid, home = vscode_user
    with stopped_afterwards(server.start_legacy(home, uid, gid)) as running:
        yield running


@pytest.fixture
def exec_server(
    vscode_server_installed: Path, vscode_user: EditorUser
) -> Iterator[server.RunningServer]:
    """Run a server of the exec-server layout behind the stand-in for the CLI."""
    uid, gid, home = vscode_user
    with stopped_afterwards(server.start_exec_server(home, uid, gid)) as running:
        yield running
