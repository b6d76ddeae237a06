"""A window comes in as the editor's does: through the dynamic forwarding of a real ssh."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
import pytest

from tests.integration.vscode import client, server
from tests.integration.vscode.client import Client, ConnectionLostError
from tests.lab.remote_ssh.driver import RemoteSsh
from tests.lab.remote_ssh.result import Result
from tests.lab.remote_ssh.scripts import Layout, Script
from tests.run import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.remote_ssh.conftest import Account

SSHD: Final = Path("/usr/sbin/sshd")
CONFIG: Final = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
AllowTcpForwarding yes
UseDNS no
"""


@dataclass(frozen=True, slots=True)
class Sshd:
    """A running sshd for the user that runs the tests."""

    port: int
    folder: Path

    def session(self, account: Account, layout: Layout) -> RemoteSsh:
        """Return a session over ssh; what sshd starts lives in the account's home."""
        socks = free_port()
        words = [f"{key}={value}" for key, value in account.environment.items()]
        remote = shlex.join(["exec", "env", *words, "bash"])
        argv = ["ssh", "-F", "none", "-T", "-D", f"127.0.0.1:{socks}", *self.options()]
        argv += [f"{getpass.getuser()}@127.0.0.1", remote]
        script = Script(layout, server.commit(), interval=0.2)
        return RemoteSsh(argv, script, socks_port=socks, seconds=30)

    def options(self) -> list[str]:
        """Return what lets ssh in here, and have it know nobody else."""
        known = f"UserKnownHostsFile={self.folder}/known_hosts"
        options = ("BatchMode=yes", "StrictHostKeyChecking=accept-new", "IdentitiesOnly=yes", known)
        words = [
            word for option in (*options, "ExitOnForwardFailure=yes") for word in ("-o", option)
        ]
        return ["-p", str(self.port), "-i", f"{self.folder}/user_key", "-a", *words]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def missing(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    """Run an sshd on loopback with keys of its own."""
    if not SSHD.exists() or shutil.which("ssh") is None:
        missing("no sshd or no ssh: install OpenSSH's server and client")
    if os.geteuid() == 0:  # what its service would make
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host_key", "user_key"):
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(keygen, check=True, timeout=20)
    port = free_port()
    config, log = tmp_path / "sshd_config", tmp_path / "log"
    config.write_text(CONFIG.format(port=port, folder=tmp_path))
    argv = [str(SSHD), "-D", "-f", str(config), "-E", str(log)]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: listens(port) or process.poll() is not None, bool)
            assert process.poll() is None, log.read_text()
            yield Sshd(port, tmp_path)
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End sshd and the sessions it still has, each by its pid."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for session in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                session.kill()
    process.kill()
    process.wait(10)


def window(session: RemoteSsh, result: Result) -> Client:
    assert result.endpoint is not None
    return Client(result.endpoint, result.token, server.commit(), session.socks)


@pytest.mark.parametrize("layout", [Layout.LEGACY, Layout.EXEC])
def test_a_window_comes_in_through_socks(account: Account, sshd: Sshd, layout: Layout) -> None:
    account.lay_out(layout)
    file = account.home / "file"
    file.write_bytes(b"content")
    with sshd.session(account, layout) as session:
        result = session.connect()
        session.expect_blanks(2)
        with window(session, result) as first, window(session, result) as second:
            assert first.read_file(file) == b"content"
            second.extension_host()
            assert len(account.processes("--type=extensionHost")) == 1


def test_the_program_comes_in_through_socks(account: Account, sshd: Sshd) -> None:
    account.lay_out(Layout.EXEC)
    with sshd.session(account, Layout.EXEC) as session:
        result = session.connect()
        assert isinstance(result.endpoint, tuple)
        argv = [sys.executable, client.__file__, "--port", str(result.endpoint[1])]
        argv += ["--socks", f"127.0.0.1:{session.socks_port}", "--extension-host"]
        argv += ["--token", result.token, "--commit", server.commit(), "--read", "/etc/hostname"]
        done = subprocess.run(argv, input=b"", capture_output=True, timeout=60, check=False)
    length, digest = measured(Path("/etc/hostname"))
    assert done.stdout.decode().splitlines() == ["connected", f"read {length} {digest}", "closed"]


def measured(path: Path) -> tuple[int, str]:
    content = path.read_bytes()
    return len(content), hashlib.sha256(content).hexdigest()


def test_a_window_is_lost_with_its_ssh(account: Account, sshd: Sshd) -> None:
    account.lay_out(Layout.LEGACY)
    with sshd.session(account, Layout.LEGACY) as session:
        result = session.connect()
        with window(session, result) as lost:
            lost.extension_host()
            session.kill()
            eventually(lambda: lost.alive, lambda alive: not alive)
        assert len(account.processes("--type=extensionHost")) == 1
    with sshd.session(account, Layout.LEGACY) as again:
        assert again.connect().endpoint == result.endpoint


def test_a_port_where_nobody_listens_is_a_lost_connection(account: Account, sshd: Sshd) -> None:
    account.lay_out(Layout.EXEC)
    with sshd.session(account, Layout.EXEC) as session:
        session.connect()
        nobody = Client(("127.0.0.1", free_port()), "token", "0" * 40, session.socks)
        with pytest.raises((ConnectionLostError, ConnectionResetError)):
            nobody.management()
