"""Direct mode, and compute nodes on which there is no Python: how far a session gets there."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from tests.integration.proxy import (
    NO_BACKEND,
    SHELL,
    Proxy,
    accept,
    connect,
    server,
    silent,
    site,
)

DIRECT = 'mode = "direct"\n'
ALLOWED = "allow_direct = true\n"
# Stands for the editor's server: it says where it was told to bind.
SERVER = 'server.sh() { echo "got $*"; }; server.sh --start-server --host=127.0.0.1 --port=0\n'


@pytest.fixture
def nodes_without_python(root: None) -> tuple[str, ...]:
    """Return what a launcher is wrapped in so that its step finds no Python that runs."""
    pythons = {os.path.realpath(path) for path in _pythons()}
    masks = "; ".join(f"mount --bind /dev/null {path}" for path in sorted(pythons))
    return ("unshare", "--mount", "sh", "-c", f'{masks}; exec "$@"', "sh")


def _pythons() -> list[str]:
    places = ["/usr/bin", "/usr/libexec", *os.environ["PATH"].split(":")]
    names = [f"{place}/{name}" for place in places for name in ("python3", "platform-python")]
    return [name for name in names if os.path.exists(name)]


class TestDirect:
    def test_a_server_is_told_to_bind_where_the_login_node_reaches_it(self, tmp_path: Path) -> None:
        config = f'{SHELL}{DIRECT}direct_bind = "any"\n'
        with Proxy(tmp_path, "-vv", config=config) as proxy:
            proxy.send(SERVER)
            proxy.expect(rb"got --start-server --host=0\.0\.0\.0 --port=0\n")
            assert "--host=127.0.0.1" in proxy.said("bind host changed: .* -> ")

    def test_it_is_dialled_as_soon_as_it_listens(self, tmp_path: Path) -> None:
        with (
            Proxy(tmp_path, config=SHELL + DIRECT) as proxy,
            silent() as backend,
            connect(proxy.port_for(backend)) as client,
        ):
            client.sendall(b"early")
            time.sleep(0.3)
            backend.listen()
            with accept(backend) as inside:
                assert inside.recv(10) == b"early"

    def test_a_socket_that_it_cannot_reach_is_said_to_both(self, tmp_path: Path) -> None:
        with Proxy(tmp_path, config=SHELL + DIRECT) as proxy:
            assert proxy.announce("/tmp/code-1234") == "127.0.0.1:1"
            proxy.said("unix socket, which direct mode cannot reach")

    def test_the_agent_still_sees_to_status_and_end(self, tmp_path: Path) -> None:
        with Proxy(tmp_path, config=SHELL + DIRECT) as proxy:
            proxy.pids()
            proxy.send("sleep 1000; sleep 1000\n")
            proxy.drop()
            proxy.gone(5)
        with Proxy(tmp_path, config=SHELL + DIRECT) as proxy:
            assert proxy.run("exit 7\n") == 7


class TestWithoutPython:
    def test_relay_mode_says_which_node_and_why_and_touches_no_stdin(
        self, tmp_path: Path, nodes_without_python: tuple[str, ...]
    ) -> None:
        config = site(tmp_path, *nodes_without_python, more='contact = "hpc@example.edu"\n')
        with Proxy(tmp_path, config=config) as proxy:
            assert proxy.run("touch $HOME/ran\n") == NO_BACKEND
            words = f"{os.uname().nodename} has no Python from 3.6 on that the proxy could use"
            assert proxy.said(words).endswith("; please tell hpc@example.edu")
            assert proxy.stdout == b""
        assert not (proxy.home / "ran").exists()

    def test_where_direct_mode_is_allowed_the_session_goes_on(
        self, tmp_path: Path, nodes_without_python: tuple[str, ...]
    ) -> None:
        config = site(tmp_path, *nodes_without_python, more=ALLOWED)
        proxy = Proxy(tmp_path, config=config)
        (proxy.home / ".bash_profile").write_text("echo noise; cat; export SET=yes\n")
        with proxy, server() as backend:
            proxy.send("command -v python3 >/dev/null && python3 -V; echo $SET\n")
            proxy.expect(rb"^yes\n")
            with connect(proxy.port_for(backend)) as client, accept(backend) as inside:
                client.sendall(b"question")
                assert inside.recv(100) == b"question"
            assert proxy.run("printf 'no newline'; exit 7\n") == 7
            assert proxy.stdout.endswith(b"==\nno newline")

    def test_what_is_set_in_the_job_is_nobody_elses_to_see(
        self, tmp_path: Path, nodes_without_python: tuple[str, ...]
    ) -> None:
        """Arguments are everybody's: `ps` shows them."""
        value = """it's a "secret" \\n """
        environment = f"{ALLOWED}[environment]\nPASSWORD = {json.dumps(value)}\n"
        config = site(tmp_path, *nodes_without_python, more=environment)
        with Proxy(tmp_path, config=config) as proxy:
            proxy.send("printf '<%s>' \"$PASSWORD\"\n")
            assert proxy.expect(rb"<([^>]*)>")[1] == value.encode()
            arguments = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in proxy.processes()]
        assert [line for line in arguments if b"getent passwd" in line]  # the step's script
        assert not [line for line in arguments if b"secret" in line]

    def test_its_end_is_the_end_of_everything_there_too(
        self, tmp_path: Path, nodes_without_python: tuple[str, ...]
    ) -> None:
        config = site(tmp_path, *nodes_without_python, more=ALLOWED)
        with Proxy(tmp_path, config=config) as proxy:
            proxy.send("echo ready; sleep 1000 & sleep 1000\n")
            proxy.expect(rb"ready\n")
            proxy.drop()
            proxy.gone(5)

    @pytest.mark.parametrize("status", ["99", "126", "127"])
    def test_a_python_that_does_not_start_is_passed_over(self, tmp_path: Path, status: str) -> None:
        """Too old, for another kind of machine, without its libraries."""
        broken = tmp_path / "python"
        broken.write_text(f"#!/bin/sh\nexit {status}\n")
        broken.chmod(0o755)
        config = f'{SHELL}python = ["{broken}", "{tmp_path}/missing"]\n'
        with Proxy(tmp_path, config=config) as proxy:
            assert proxy.run("exit 7\n") == 7

    def test_the_sites_python_comes_first(self, tmp_path: Path) -> None:
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\necho chosen >&2\nexec {shutil.which("python3")} "$@"\n')
        python.chmod(0o755)
        with Proxy(tmp_path, config=f'{SHELL}python = ["{python}"]\n') as proxy:
            assert proxy.run("exit 7\n") == 7
            assert proxy.stderr == "chosen\n"
