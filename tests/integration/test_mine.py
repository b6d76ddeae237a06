from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from click.testing import CliRunner

from tests.integration.as_user import as_user
from tests.integration.lookalike import Lookalike
from tests.integration.vscode.fixtures import EditorUser
from tests.run import COMMAND, eventually, vscadmin
from vscadmin.cli import survey
from vscadmin.cli.main import cli

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")


class Running(NamedTuple):
    """A server's lookalike, and what is connected to it."""

    launcher: subprocess.Popen[bytes]
    client: socket.socket

    @property
    def pid(self) -> str:
        return str(self.launcher.pid)

    @property
    def is_alive(self) -> bool:
        return self.launcher.poll() is None


@contextlib.contextmanager
def running(
    user: EditorUser, body: str = "", *, client: bool = False, uid: int | None = None
) -> Iterator[Running]:
    """Start a lookalike as *user*, with a client connected to it or not."""
    lookalike = Lookalike(user.home, body.replace("{home}", str(user.home)))
    root = os.geteuid() == 0
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as ours:
        held = [listener]
        if client:
            ours.connect(listener.getsockname())
            held.append(listener.accept()[0])
        launcher = lookalike.start(
            pass_fds=[each.fileno() for each in held],
            start_new_session=True,
            user=(user.uid if uid is None else uid) if root else None,
            group=user.gid if root else None,
            extra_groups=[] if root else None,
        )
        for each in held:
            each.close()
        try:
            eventually(lambda: len(psutil.Process(launcher.pid).children()), lambda n: n == 1)
            yield Running(launcher, ours)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(launcher.pid, signal.SIGKILL)
            launcher.wait(10)


def shown(*arguments: str) -> dict[str, Any]:
    done = as_user("mine", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def is_over(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_an_ordinary_user_sees_their_own_servers(vscode_user: EditorUser) -> None:
    with running(vscode_user) as server:
        trees = {tree["pid"]: tree for tree in shown()["trees"]}
        assert trees[server.launcher.pid]["clients"] == []
        assert {tree["uid"] for tree in trees.values()} == {vscode_user.uid}
        (line,) = [x for x in as_user("mine").stdout.splitlines() if x.split()[0] == server.pid]
        assert " no " in line


def test_a_server_with_a_client_is_shown_as_in_use(vscode_user: EditorUser) -> None:
    with running(vscode_user, client=True) as server:
        (line,) = [x for x in as_user("mine").stdout.splitlines() if x.split()[0] == server.pid]
        assert " yes " in line


def test_stop_ends_it_all(vscode_user: EditorUser) -> None:
    with running(vscode_user) as server:
        (node,) = psutil.Process(server.launcher.pid).children()
        done = as_user("mine", "--stop", server.pid)
        assert done.returncode == 0, done.stderr
        assert f"pid {server.pid} (VS Code, Remote-SSH, 2 processes): ended" in done.stdout
        assert server.launcher.wait(5) is not None
        assert is_over(node)


def test_any_pid_in_it_names_it(vscode_user: EditorUser) -> None:
    with running(vscode_user) as server:
        (node,) = psutil.Process(server.launcher.pid).children()
        stopped = shown("--stop", str(node.pid))["stopped"]
        assert stopped == {
            "pid": server.launcher.pid,
            "result": "ended",
            "survivors": [],
            "words": [],
        }


def test_one_in_use_is_not_ended(vscode_user: EditorUser) -> None:
    with running(vscode_user, client=True) as server:
        done = as_user("mine", "--stop", server.pid)
        assert done.returncode == 10
        assert "not ended:\n- client: " in done.stdout
        assert done.stdout.endswith("--even-in-use\n")
        assert server.is_alive


def test_even_in_use_it_is_if_that_is_wanted(vscode_user: EditorUser) -> None:
    """Also what ignores SIGTERM, and still has its client when it is looked at again."""
    with running(vscode_user, "trap '' TERM\n", client=True) as server:
        done = as_user("mine", "--stop", server.pid, "--even-in-use")
        assert done.returncode == 0, done.stdout
        assert server.launcher.wait(5) is not None


TMUX = 'cp "$(command -v sleep)" {home}/tmux\n{home}/tmux 600 &\n'


def test_work_inside_keeps_it(vscode_user: EditorUser) -> None:
    with running(vscode_user, TMUX) as server:
        eventually(lambda: _names_below(server.launcher.pid), lambda names: "tmux" in names)
        done = as_user("mine", "--stop", server.pid)
        assert done.returncode == 10
        assert 'tmux 600) is "tmux*"' in done.stdout
        assert server.is_alive
        done = as_user("mine", "--stop", server.pid, "--even-in-use")
        assert done.returncode == 0
        assert "ends with it: pid " in done.stderr


def _names_below(pid: int) -> list[str]:
    names = []
    for each in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            names.append(each.name())
    return names


@needs_root
def test_another_users_server_is_not_theirs(vscode_user: EditorUser) -> None:
    with running(vscode_user, uid=61_234) as server:
        done = as_user("mine", "--stop", server.pid, "--even-in-use")
        assert done.returncode == 77
        assert done.stderr == (
            f"vscadmin: pid {server.pid} is in a server of #61234, not in yours\n"
        )
        assert server.is_alive
        assert server.launcher.pid not in {tree["pid"] for tree in shown()["trees"]}


@needs_root
def test_root_ends_nothing_here(vscode_user: EditorUser) -> None:
    with running(vscode_user) as server:
        done = vscadmin("mine", "--stop", server.pid)
        assert done.returncode == 77
        assert "--stop: is for ordinary users" in done.stderr
        assert server.is_alive


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--stop", "4194304999"), "there is no such process"),
        (("--stop", str(os.getpid())), "is this command or an ancestor of it"),
        (("--stop", "nope"), "'nope' is not a valid integer"),
        (("--even-in-use",), "goes with --stop PID"),
    ],
)
def test_what_is_no_server_of_theirs_is_wrong_usage(arguments: tuple[str, ...], said: str) -> None:
    done = as_user("mine", *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_the_server_in_whose_terminal_it_runs_is_left_out(vscode_user: EditorUser) -> None:
    """It could not be ended without ending who ends it."""
    out = vscode_user.home / "out"
    ourselves = vscode_user._replace(uid=os.geteuid(), gid=os.getegid())
    with running(ourselves, f'"{COMMAND}" mine > "{out}.new" 2>&1\nmv "{out}.new" "{out}"\n'):
        eventually(out.exists, bool)
        assert "Left out: the server in whose terminal this runs (pid " in out.read_text()


@pytest.mark.parametrize("text", ["version = 1\nmod = 2\n", 'version = 1\n[scope]\nuid_min = "x"'])
def test_a_policy_that_is_wrong_keeps_nobody_from_their_servers(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(text)
    monkeypatch.setattr(survey, "DEFAULT_POLICY", str(policy))
    done = CliRunner().invoke(cli, ["mine", "--json"], catch_exceptions=False)
    assert json.loads(done.stdout)["kind"] == "mine"
    assert f"warning: {policy}: " in done.stderr
    assert ": not used" in done.stderr
