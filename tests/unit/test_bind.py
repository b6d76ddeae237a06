"""In direct mode the client's script starts a server that the login node can reach."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import IO

import pytest

from tests.corpus.sessions import BOOTSTRAPS, HOST, bound
from tests.lab.remote_ssh.scripts import Layout, Script
from vscadmin.proxy.bind import BindRewriter, Changed, Event, Unknown
from vscadmin.proxy.rewrite import Forward

# Stands where the editor's server is: notes how it was started, and says that it listens.
SERVER = """#!/bin/sh
printf '%s\\n' "$@" > "$HOME/arguments"
echo "Listening on 10.9.8.7:4242"
echo "Extension host agent listening on 4242"
"""
REWRITTEN = [
    (b"server.sh --host=127.0.0.1 --port=0\n", b"server.sh --host=10.9.8.7 --port=0\n"),
    (b"$SERVER_SCRIPT --host=127.0.0.1 --start-server -x\n",
     b"$SERVER_SCRIPT --host=10.9.8.7 --start-server -x\n"),
    (b"code-server --start-server --host localhost\n",
     b"code-server --start-server --host 10.9.8.7\n"),
    (b'code-server --start-server --host="::1" &\n',
     b'code-server --start-server --host="10.9.8.7" &\n'),
    (b"code-server --start-server --host '[::1]';\n",
     b"code-server --start-server --host '10.9.8.7';\n"),
    (b'echo "code --start-server --host=\\"0.0.0.0\\""\n',
     b'echo "code --start-server --host=\\"10.9.8.7\\""\n'),
    (b"LISTEN_ARGS=--on-host=127.0.0.1\n", b"LISTEN_ARGS=--on-host=10.9.8.7\n"),
    (b'LISTEN_ARGS="--on-port"\n', b'LISTEN_ARGS="--on-host=10.9.8.7 --on-port"\n'),
    (b"code command-shell --on-port=9100\n",
     b"code command-shell --on-host=10.9.8.7 --on-port=9100\n"),
    (b"code command-shell \\\n  --on-port \\\n  --on-host 127.0.0.1\n",
     b"code command-shell \\\n  --on-port \\\n  --on-host 10.9.8.7\n"),
    (b"code command-shell --on-port\\\\\\\\\n",
     b"code command-shell --on-host=10.9.8.7 --on-port\\\\\\\\\n"),
    (b"code command-shell --on-port", b"code command-shell --on-host=10.9.8.7 --on-port"),
    (b"code --start-server --host=127.0.0.1 # \xff\r\n",
     b"code --start-server --host=10.9.8.7 # \xff\r\n"),
]  # fmt: skip
UNTOUCHED = [
    b"curl --host=127.0.0.1 --on-host=127.0.0.1 --on-port\n",
    b"code --start-server --host=10.9.8.7 --port=0\n",
    b"code --start-server --socket-path=/tmp/s --port=0\n",
    b"ps -o args | grep -F -- --start-server\n",
    b"code command-shell --on-socket\n",
    b"code command-shell --on-portable\n",
    b"code command-shell ${LISTEN_ARGS}\n",
    b"code --start-server --host=10.9.8.7 --proxy-host=127.0.0.1\n",
]
UNKNOWN = [
    b"code --start-server --host=$SERVER_HOST --port=0",
    b'code --start-server --host "${SERVER_HOST}"',
    b"code --start-server --host=127.0.0.1.example.org",
    b"code --start-server --host \\\n  127.0.0.1",
    b"code --host=127.0.0.1 --start-server",
    b"code --start-server --port=0",
    b"code --start-server \\\n  --port=0",
    b"code --start-server $HOST_FLAG",
    b"code command-shell --on-port --on-host=$(hostname -i)",
]


def changes(events: list[Event]) -> list[tuple[bytes, bytes]]:
    return [(each.before, each.after) for each in events if isinstance(each, Changed)]


@pytest.mark.parametrize("name", BOOTSTRAPS)
def test_only_the_bind_host_of_a_real_script_is_changed(name: str) -> None:
    script, expected = BOOTSTRAPS[name]
    assert bound([script])[0] == expected


@pytest.mark.parametrize("name", BOOTSTRAPS)
def test_the_log_says_what_was_really_changed(name: str) -> None:
    script, _ = BOOTSTRAPS[name]
    out, events = bound([script])
    for before, after in changes(events):
        assert before != after
        assert script.count(before + b"\n") == 1
        script = script.replace(before + b"\n", after + b"\n")
    assert script == out


@pytest.mark.parametrize("name", BOOTSTRAPS)
def test_a_rewritten_script_is_one_for_the_shell(name: str) -> None:
    out, _ = bound([BOOTSTRAPS[name][0]])
    checked = subprocess.run(
        ["bash", "-n"], input=out, capture_output=True, timeout=20, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, b"")


@pytest.mark.parametrize(("command", "expected"), REWRITTEN)
def test_the_bind_host_is_set_in_every_form(command: bytes, expected: bytes) -> None:
    out, events = bound([b"cd /\n", command])
    assert out == b"cd /\n" + expected
    assert changes(events) == [(command.removesuffix(b"\n"), expected.removesuffix(b"\n"))]
    assert len(events) == 1


@pytest.mark.parametrize("command", UNTOUCHED)
def test_what_binds_no_other_host_passes_unchanged(command: bytes) -> None:
    assert bound([command]) == (command, [])


@pytest.mark.parametrize("command", UNKNOWN)
def test_an_unknown_form_is_reported_once_and_passes(command: bytes) -> None:
    """The script says it twice: in an echo, and when it starts the server."""
    text = b'echo "%b"\n%b\n' % (command, command)
    out, events = bound([text])
    assert out == text
    assert events == [Unknown(b'echo "%b"' % command)]


def test_a_host_in_a_variable_is_reported_where_the_server_is_started() -> None:
    (event,) = bound([BOOTSTRAPS["host-in-a-variable"][0]])[1]
    assert isinstance(event, Unknown)
    assert event.command.strip().startswith(b"$SERVER_SCRIPT --start-server --host=$SERVER_HOST")


def test_a_command_that_is_partly_known_is_changed_and_reported() -> None:
    events = bound([b"x --start-server --host=127.0.0.1 --host=$HOST\n"])[1]
    after = b"x --start-server --host=10.9.8.7 --host=$HOST"
    assert [type(each) for each in events] == [Changed, Unknown]
    assert events[1] == Unknown(after)


@pytest.mark.parametrize("text", [b"ls", b"cat --", b"./server", b"\xff\x00", b"--start-serve"])
def test_a_partial_line_is_not_delayed(text: bytes) -> None:
    assert BindRewriter(HOST).receive_data(text) == [Forward(text)]


def test_a_command_is_held_from_its_first_word_to_its_end() -> None:
    rewriter = BindRewriter(HOST)
    assert rewriter.receive_data(b"x --start-ser") == [Forward(b"x --start-ser")]
    assert rewriter.receive_data(b"ver --host=127.0.0.1 \\\n") == [Forward(b"ver")]
    assert rewriter.receive_data(b" -y") == []
    changed, released = rewriter.receive_data(b"\n")
    assert isinstance(changed, Changed)
    assert released == Forward(b" --host=10.9.8.7 \\\n -y\n")
    assert rewriter.receive_data(b"ls") == [Forward(b"ls")]


def test_a_command_that_is_too_long_passes_unchanged_and_is_reported() -> None:
    script = b"x --start-server --host=127.0.0.1 %b --host=127.0.0.1\nls\n" % (b"y" * 20_000)
    out, events = bound([script])
    assert out == script
    assert [type(each) for each in events] == [Unknown]
    assert bound([each.to_bytes() for each in script]) == (out, events)


@pytest.mark.parametrize("host", [b"", b"$(id)", b"a b", b"10.0.0.1;", b"-x", b"[::1]", b"\xff"])
def test_a_host_that_the_shell_would_take_apart_is_refused(host: bytes) -> None:
    with pytest.raises(ValueError, match="neither a name nor an address"):
        BindRewriter(host)


@pytest.mark.parametrize("host", [b"0.0.0.0", b"fe80::1", b"::1", b"node17.cluster", b"10.9.8.7"])
def test_a_rewritten_script_is_not_rewritten_again(host: bytes) -> None:
    for script, _ in BOOTSTRAPS.values():
        once, _ = bound([script], host)
        twice, events = bound([once], host)
        assert twice == once
        assert not changes(events)


@pytest.mark.parametrize("layout", [each for each in Layout if "socket" not in each])
def test_the_server_is_started_with_the_host_once(layout: Layout, tmp_path: Path) -> None:
    """The shell has the last word: the arguments are those that a started server was given."""
    commit = "0" * 40
    folder = tmp_path / ".vscode-server"
    for path in (folder / f"bin/{commit}/bin/code-server", folder / f"code-{commit}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SERVER)
        path.chmod(0o755)
    script = tmp_path / "script"
    script.write_bytes(bound([Script(layout, commit, interval=60).render()])[0])
    run_until_its_result(layout.shell, script)
    arguments = (tmp_path / "arguments").read_text().splitlines()
    option = "--host" if layout.legacy else "--on-host"
    assert [each for each in arguments if each.startswith(option)] == [f"{option}=10.9.8.7"]


def run_until_its_result(shell: str, script: Path) -> None:
    environment = {"HOME": str(script.parent), "PATH": os.environ["PATH"]}
    with (
        script.open("rb") as stdin,
        subprocess.Popen(
            [shell], stdin=stdin, stdout=subprocess.PIPE, env=environment, start_new_session=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            assert b"listeningOn==" in printed_until_end(process.stdout)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def printed_until_end(stdout: IO[bytes]) -> bytes:
    lines = []
    for line in stdout:
        lines.append(line)
        if line.endswith(b": end\n"):
            return b"".join(lines)
    raise AssertionError(b"".join(lines))
