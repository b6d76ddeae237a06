"""The bootstrap scripts have the forms that the real ones have."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.lab.remote_ssh.scripts import Layout, Script

HOST_FORMS = {
    Layout.LEGACY: b' --host=127.0.0.1 --port=0 .* &> "$VSCH_LOGFILE" < /dev/null &\n',
    Layout.LEGACY_SOCKET: b' --socket-path="$VSCH_SOCKET" .* &> "$VSCH_LOGFILE" < /dev/null &\n',
    Layout.EXEC_2023: b'\n$CLI_PATH command-shell .* --on-port --require-token .* &> "$CLI_LOG_',
    Layout.EXEC_2024: b'"$CLI_PATH" command-shell .* --on-port --on-host=127.0.0.1 --parent-',
    Layout.EXEC: b'\nLISTEN_ARGS="--on-host=127.0.0.1 --on-port"\n',
    Layout.EXEC_PORT_FIRST: b'\nLISTEN_ARGS="--on-port --on-host=127.0.0.1"\n',
    Layout.EXEC_SOCKET: b'\nLISTEN_ARGS="--on-socket"\n',
}


def rendered(layout: Layout, interval: float = 180) -> bytes:
    return Script(layout, "0" * 40, interval).render()


@pytest.mark.parametrize("layout", Layout)
def test_the_script_is_one_for_its_shell(layout: Layout) -> None:
    checked = subprocess.run(
        [layout.shell, "-n"], input=rendered(layout), capture_output=True, timeout=20, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, b"")


@pytest.mark.parametrize("layout", Layout)
def test_the_script_is_bytes_with_bare_line_feeds(layout: Layout) -> None:
    script = rendered(layout)
    assert b"\r" not in script
    assert not re.search(rb"@[A-Z_]+@", script)
    with pytest.raises(UnicodeDecodeError):
        script.decode()


@pytest.mark.parametrize("layout", Layout)
def test_the_bind_host_is_passed_as_it_was_then(layout: Layout) -> None:
    form = re.escape(HOST_FORMS[layout]).replace(rb"\.\*", b".*")
    assert len(re.findall(form, rendered(layout))) == 1


def test_the_legacy_script_echoes_its_command_line() -> None:
    lines = rendered(Layout.LEGACY).splitlines()
    started = [line for line in lines if b"--start-server --host=127.0.0.1" in line]
    assert len(started) == 2
    assert started[1].strip().removesuffix(b" &") in started[0]
    assert started[0].strip().startswith(b"echo ")


def test_the_last_line_never_ends() -> None:
    last = b"\nwhile true; do sleep 180; printf ' '; done\n"
    assert rendered(Layout.EXEC).endswith(last)
    assert rendered(Layout.EXEC, interval=0.2).endswith(last.replace(b"180", b"0.2"))


def test_each_connection_has_an_id_of_its_own() -> None:
    first, second = Script(Layout.EXEC, "0" * 40), Script(Layout.EXEC, "0" * 40)
    assert first.script_id != second.script_id
    assert re.fullmatch("[0-9a-f]{12}", first.script_id)
