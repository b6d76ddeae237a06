"""The tools for a real VS Code server do what other tests rely on."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.integration.vscode import client, server
from tests.integration.vscode.fixtures import (
    EditorUser,
    exec_server,
    legacy_server,
    stopped_afterwards,
    vscode_server_installed,
    vscode_user,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["exec_server", "legacy_server", "vscode_server_installed", "vscode_user"]


def window(running: server.RunningServer) -> client.Client:
    return client.Client(running.endpoint, running.token, running.commit)


def comes_true(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def has_no_extension_host(running: server.RunningServer) -> Callable[[], bool]:
    return lambda: not running.extension_hosts()


def reported_commit(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/version")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_the_server_reports_its_commit(legacy_server: server.RunningServer) -> None:
    assert legacy_server.port is not None
    assert reported_commit(legacy_server.port) == server.commit()


def test_the_tree_is_a_shell_with_a_node_below(legacy_server: server.RunningServer) -> None:
    folder = legacy_server.home / ".vscode-server" / "bin" / legacy_server.commit
    node = psutil.Process(legacy_server.node_pid)
    shell = psutil.Process(legacy_server.launcher.pid)
    assert shell.cmdline()[:2] == ["sh", str(folder / "bin" / "code-server")]
    assert node.ppid() == shell.pid
    assert node.exe() == str(folder / "node")
    assert node.cmdline()[:2] == [str(folder / "node"), str(folder / "out" / "server-main.js")]
    assert set(node.uids()) == {folder.parent.stat().st_uid}


def test_a_window_connects_and_disconnects(legacy_server: server.RunningServer) -> None:
    with window(legacy_server) as connected:
        connected.management()
        assert connected.alive
        environment = connected.call("remoteextensionsenvironment", "getEnvironmentData", {})
        assert environment["pid"] == legacy_server.node_pid


def test_a_window_reads_a_file(legacy_server: server.RunningServer) -> None:
    content = os.urandom(300_000)
    path = legacy_server.home / "a file.bin"
    path.write_bytes(content)
    with window(legacy_server) as connected:
        assert connected.read_file(path) == content
        with pytest.raises(client.ConnectionRefusedByServerError, match="EntryNotFound"):
            connected.read_file(path.with_name("absent"))


def test_the_program_reads_a_file_from_wherever_it_lies(
    legacy_server: server.RunningServer, tmp_path: Path
) -> None:
    program = shutil.copy(client.__file__, tmp_path)
    path = legacy_server.home / "file"
    path.write_bytes(b"text\n")
    digest = hashlib.sha256(b"text\n").hexdigest()
    argv = [sys.executable, "-I", "-S", program, "--port", str(legacy_server.port)]
    argv += ["--token", legacy_server.token, "--commit", legacy_server.commit, "--read", str(path)]
    done = subprocess.run(argv, input="", capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == (f"connected\nread 5 {digest}\nclosed\n", "")


def test_a_proxy_reaches_no_unix_socket() -> None:
    window = client.Client(Path("/tmp/sock"), "token", "0" * 40, ("127.0.0.1", 1080))
    with pytest.raises(ValueError, match="SOCKS reaches TCP ports only"):
        window.management()


def test_a_wrong_token_is_refused(legacy_server: server.RunningServer) -> None:
    stranger = client.Client(legacy_server.endpoint, "guess", legacy_server.commit)
    with pytest.raises(client.ConnectionRefusedByServerError, match="auth mismatch"):
        stranger.management()


def test_a_wrong_commit_is_refused(legacy_server: server.RunningServer) -> None:
    stranger = client.Client(legacy_server.endpoint, legacy_server.token, "0" * 40)
    with pytest.raises(client.ConnectionRefusedByServerError, match="version mismatch"):
        stranger.management()


def test_a_closed_window_takes_its_extension_host_along(
    legacy_server: server.RunningServer,
) -> None:
    with window(legacy_server) as connected:
        connected.extension_host()
        (host,) = legacy_server.extension_hosts()
        assert host.ppid() == legacy_server.node_pid
    assert comes_true(has_no_extension_host(legacy_server), 10)
    assert psutil.pid_exists(legacy_server.node_pid)


def test_a_killed_window_leaves_its_extension_host(legacy_server: server.RunningServer) -> None:
    """For three hours the server waits for that window to come back."""
    argv = [sys.executable, client.__file__, "--port", str(legacy_server.port), "--extension-host"]
    argv += ["--token", legacy_server.token, "--commit", legacy_server.commit]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"connected\n"
        (host,) = legacy_server.extension_hosts()
        assert comes_true(lambda: connections(host) == 1, 5)
        program.send_signal(signal.SIGKILL)
    assert comes_true(lambda: connections(host) == 0, 10)
    assert legacy_server.extension_hosts() == [host]


def connections(process: psutil.Process) -> int:
    return sum(c.status == psutil.CONN_ESTABLISHED for c in process.net_connections("tcp"))


def test_the_program_closes_cleanly_at_the_end_of_its_input(
    legacy_server: server.RunningServer,
) -> None:
    argv = [sys.executable, client.__file__, "--port", str(legacy_server.port), "--extension-host"]
    argv += ["--token", legacy_server.token, "--commit", legacy_server.commit]
    done = subprocess.run(argv, input=b"", capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"connected\nclosed\n", b"")
    assert comes_true(has_no_extension_host(legacy_server), 10)


def test_a_unix_socket_serves_as_well(
    vscode_server_installed: Path, vscode_user: EditorUser
) -> None:
    uid, gid, home = vscode_user
    path = home / "server.sock"
    started = server.start_legacy_socket(home, uid, gid, path, "--enable-remote-auto-shutdown")
    with stopped_afterwards(started) as running:
        assert running.endpoint == path
        with window(running) as connected:
            connected.extension_host()
            assert len(running.extension_hosts()) == 1
        assert comes_true(has_no_extension_host(running), 10)
    assert not path.exists()


def test_the_exec_server_stands_between(exec_server: server.RunningServer) -> None:
    cli = psutil.Process(exec_server.launcher.pid)
    program = str(exec_server.home / ".vscode-server" / f"code-{exec_server.commit}")
    assert cli.exe() == cli.cmdline()[0] == program
    assert exec_server.port is not None
    assert reported_commit(exec_server.port) == exec_server.commit
    with window(exec_server) as connected:
        connected.extension_host()
        (host,) = exec_server.extension_hosts()
        assert host.parents()[:3] == [psutil.Process(exec_server.node_pid), cli.children()[0], cli]
    assert comes_true(has_no_extension_host(exec_server), 10)


def test_the_exec_server_ends_when_told(exec_server: server.RunningServer) -> None:
    exec_server.launcher.terminate()
    assert exec_server.launcher.wait(10) == -signal.SIGTERM


def test_stop_finds_what_was_reparented(
    vscode_server_installed: Path, vscode_user: EditorUser
) -> None:
    uid, gid, home = vscode_user
    with stopped_afterwards(server.start_legacy(home, uid, gid)) as running:
        running.launcher.kill()
        running.launcher.wait(10)
        assert psutil.Process(running.node_pid).ppid() != os.getpid()
        assert [p.pid for p in running.processes()] == [running.node_pid]
        server.stop(running)
        assert running.processes() == []


@pytest.mark.parametrize("part", [".vscode-server", ".vscode-server/bin"])
def test_a_home_with_a_link_in_the_way_is_refused(
    vscode_server_installed: Path, vscode_user: EditorUser, tmp_path: Path, part: str
) -> None:
    """Root would copy, and give away, what the link names."""
    uid, gid, home = vscode_user
    (link := home / part).parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path)
    with pytest.raises(server.ServerFailedError, match="is a link"):
        server.lay_out_legacy(home, uid, gid)
    assert (list(tmp_path.iterdir()), tmp_path.stat().st_uid) == ([], os.getuid())


def test_the_exec_server_listens_where_it_is_told(
    vscode_server_installed: Path, vscode_user: EditorUser
) -> None:
    data = vscode_user.home / "cli"
    cli = shutil.copy(vscode_server_installed.parent / "code-cli", vscode_user.home / "code-x")
    argv = [cli, "command-shell", "--cli-data-dir", str(data), "--on-port", "--on-host"]
    with subprocess.Popen(
        [*argv, "127.0.0.9"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as listening:
        try:
            assert listening.stdout is not None
            assert listening.stdout.readline().startswith(b"Listening on 127.0.0.9:")
        finally:
            listening.kill()
    done = subprocess.run([*argv, "login"], capture_output=True, check=False, timeout=20)
    assert (done.returncode, done.stderr) == (2, b"not an IPv4 address: login\n")
