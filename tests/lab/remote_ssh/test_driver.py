"""The driver takes a session from its first byte to a window on the real server."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.integration.vscode import server
from tests.integration.vscode.client import Client
from tests.lab.remote_ssh.driver import RemoteSsh, RemoteSshError
from tests.lab.remote_ssh.result import Platform, Result, Shell
from tests.lab.remote_ssh.scripts import Layout, Script
from tests.run import eventually

if TYPE_CHECKING:
    from tests.lab.remote_ssh.conftest import Account

EXEC_LAYOUTS = [layout for layout in Layout if not layout.legacy]


def script(layout: Layout, *extra: str, interval: float = 180) -> Script:
    return Script(layout, server.commit(), interval, extra)


def window(result: Result) -> Client:
    assert result.exit_code == 0
    assert result.endpoint is not None
    return Client(result.endpoint, result.token, server.commit())


def node(account: Account) -> psutil.Process:
    """Return the only main node of the account's servers."""
    (found,) = account.processes("/server-main.js", "/node ")
    return found


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("layout", Layout)
def test_a_session_leads_to_windows_on_the_server(account: Account, layout: Layout) -> None:
    account.lay_out(layout)
    file = account.home / "file"
    file.write_bytes(b"content \xff")
    with account.session(script(layout)) as session:
        result = session.connect()
        with window(result) as first, window(result) as second:
            assert first.read_file(file) == b"content \xff"
            first.extension_host()
            second.extension_host()
            assert len(account.processes("--type=extensionHost")) == 2
            assert first.alive
            assert second.alive


def test_the_shell_is_greeted_first(account: Account) -> None:
    account.lay_out(Layout.EXEC)
    with account.session(script(Layout.EXEC)) as session:
        session.connect()
        assert session.expect(Platform).text.startswith("Linux ")
        assert session.expect(Shell).text == "bash"
        assert session.stderr == ""


def test_a_script_alone_is_enough(account: Account) -> None:
    account.lay_out(Layout.EXEC)
    with account.session(script(Layout.EXEC)) as session:
        assert session.connect(greet=False).exit_code == 0


def test_the_result_has_the_keys_of_its_layout(account: Account) -> None:
    account.lay_out(Layout.LEGACY)
    account.lay_out(Layout.EXEC)
    with account.session(script(Layout.LEGACY)) as session:
        legacy = session.connect().values
    with account.session(script(Layout.EXEC)) as session:
        current = session.connect().values
    assert re.fullmatch("[0-9]+", legacy["listeningOn"])
    assert re.fullmatch("[0-9a-f]{32}", legacy["connectionToken"])
    assert re.fullmatch("127.0.0.1:[0-9]+", current["listeningOn"])
    assert re.fullmatch("[0-9a-f-]{36}", current["execServerToken"])
    assert current["serverStartTime"].isdecimal()
    assert legacy["tmpDir"] == current["tmpDir"] == str(account.home / ".run")


def test_a_socket_lies_in_the_runtime_directory(account: Account) -> None:
    account.lay_out(Layout.LEGACY_SOCKET)
    with account.session(script(Layout.LEGACY_SOCKET)) as session:
        endpoint = session.connect().endpoint
    assert isinstance(endpoint, Path)
    assert endpoint.parent == account.home / ".run"
    assert re.fullmatch("vscode-ssh-remote-server-sock-[0-9]+", endpoint.name)


def test_a_second_connection_finds_the_running_legacy_server(account: Account) -> None:
    account.lay_out(Layout.LEGACY)
    with account.session(script(Layout.LEGACY)) as first:
        before = first.connect()
        pid = node(account).pid
        with account.session(script(Layout.LEGACY)) as second:
            after = second.connect()
            second.expect_progress("Found running server")
            assert (after.endpoint, after.token) == (before.endpoint, before.token)
            assert node(account).pid == pid
            with window(after) as connected:
                assert connected.management().alive


def test_a_dead_servers_traces_are_not_believed(account: Account) -> None:
    account.lay_out(Layout.LEGACY)
    with account.session(script(Layout.LEGACY)) as first:
        before = first.connect()
    account.end()
    with account.session(script(Layout.LEGACY)) as second:
        after = second.connect()
        assert after.token != before.token
        with window(after) as connected:
            assert connected.management().alive


@pytest.mark.parametrize("layout", [Layout.LEGACY, Layout.EXEC])
def test_options_reach_the_server(account: Account, layout: Layout) -> None:
    account.lay_out(layout)
    with account.session(script(layout, "--reconnection-grace-time=20")) as session:
        session.connect()
        assert "--reconnection-grace-time=20" in node(account).cmdline()


def test_a_killed_session_leaves_the_server(account: Account) -> None:
    account.lay_out(Layout.LEGACY)
    with account.session(script(Layout.LEGACY)) as session:
        result = session.connect()
        session.kill()
        assert session.wait() == -signal.SIGKILL
    with window(result) as connected:
        connected.extension_host()


@pytest.mark.parametrize("layout", [Layout.EXEC, Layout.EXEC_SOCKET])
def test_the_cli_ends_with_its_bootstrap_and_leaves_the_server(
    account: Account, layout: Layout
) -> None:
    account.lay_out(layout)
    with account.session(script(layout)) as session:
        result = session.connect()
        with window(result) as connected:
            connected.management()
            (cli,) = account.processes("command-shell")
            psutil.Process(cli.ppid()).kill()
            eventually(lambda: is_gone(cli.pid), bool)
        assert node(account).is_running()
    if isinstance(result.endpoint, Path):
        assert not result.endpoint.exists()


def test_blanks_follow_the_result(account: Account) -> None:
    account.lay_out(Layout.EXEC)
    with account.session(script(Layout.EXEC, interval=0.1)) as session:
        session.connect()
        session.expect_blanks(3)
        assert session.blanks >= 3


@pytest.mark.parametrize("layout", Layout)
def test_a_server_that_is_not_there_is_a_failure(account: Account, layout: Layout) -> None:
    with account.session(script(layout)) as session:
        result = session.connect()
        assert next(iter(result.values.items())) == ("exitCode", "32")
        assert result.values["listeningOn"] == ""
        assert (result.exit_code, result.endpoint) == (32, None)
        session.expect_progress("Server did not start")


def test_a_server_that_ends_at_once_is_a_failure(account: Account) -> None:
    account.lay_out(Layout.LEGACY)
    with account.session(script(Layout.LEGACY, "--version")) as session:
        result = session.connect()
        assert (result.exit_code, result.values["listeningOn"]) == (32, "")


def stand_in(command: str, seconds: float = 20) -> RemoteSsh:
    """Return a session with *command* where the editor's ssh would be."""
    return RemoteSsh(["sh", "-c", command], Script(Layout.EXEC, "0" * 40), seconds=seconds)


def test_what_was_said_last_is_in_the_error() -> None:
    """Both that a wait is over, and why it may have been in vain."""
    session = stand_in("echo Welcome; echo 'queued \x1b' >&2; exec sleep 600", seconds=3)
    with session, pytest.raises(RemoteSshError, match=r"(?s)too late: no Ready.*Welcome.*queued"):
        session.connect()


def test_an_end_is_noticed_at_once() -> None:
    began = time.monotonic()
    session = stand_in("read -r line; echo no access >&2; exit 7")
    with session, pytest.raises(RemoteSshError, match=r"session ended|takes no input"):
        session.connect()
    assert session.wait() == 7
    assert session.stderr == "no access\n"
    assert time.monotonic() - began < 10


def test_input_that_nobody_takes_is_an_error() -> None:
    with stand_in("exec sleep 600", seconds=0.5) as session:
        with pytest.raises(RemoteSshError, match="no Ready"):
            session.connect()
        with pytest.raises(RemoteSshError, match="takes no input"):
            session.send(bytes(1_000_000))


@pytest.mark.parametrize("trap", ["", "trap '' TERM; "])
def test_the_child_and_what_it_runs_end_with_the_session(trap: str) -> None:
    with stand_in(f"{trap}sleep 600 & echo 'below' $!; wait; wait", seconds=0.5) as session:
        with pytest.raises(RemoteSshError, match="no Ready"):
            session.connect()
        below = int(session.expect_progress("below", 20).split()[1])
    assert is_gone(session.pid)
    eventually(lambda: is_gone(below), bool)
