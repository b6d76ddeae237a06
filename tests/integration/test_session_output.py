"""What a session writes: all of the shell's output, and all of what is the user's on stderr."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.integration.proxy import Proxy, site
from tests.integration.small_slurm import SmallSlurm

_SIZE = 3_000_000

# What srun, slurmstepd and the network between them are to output: a buffer.
_BUFFER = """
import os, select
os.set_blocking(1, False)
held, ended = b"", False
while held or not ended:
    ready, room, _ = select.select([] if ended else [0], [1] if held else [], [])
    if ready:
        data = os.read(0, 65536)
        held, ended = held + data, not data
    if room:
        held = held[os.write(1, held[:65536]):]
"""


def test_help_is_help_and_a_wrong_configuration_a_warning(tmp_path: Path) -> None:
    with Proxy(tmp_path, "--help", config='version = 1\ndefault_profile = "nix"\n') as proxy:
        assert proxy.wait() == 0
        assert proxy.stdout.startswith(b"usage: vscode-shell-proxy [options]\n")
        line = f"warning: {tmp_path}/proxy.toml: default_profile: there is no [profile.nix]; "
        assert proxy.stderr.startswith(f"vscode-shell-proxy: {line}no session can start: ")


def test_a_slow_client_gets_all_that_the_shell_wrote(tmp_path: Path) -> None:
    """The shell has long ended: what holds its output must not be ended before it is out."""
    buffer = tmp_path / "buffer.py"
    buffer.write_text(_BUFFER)
    wrapper = ("sh", "-c", f'"$@" | {sys.executable} {buffer}', "sh")
    with Proxy(tmp_path, config=site(tmp_path, *wrapper)) as proxy:
        proxy.send(f"head -c {_SIZE} /dev/zero; exit 0\n")
        time.sleep(4)  # the client reads nothing for longer than a launcher has to end
        assert proxy.wait() == 0
        assert len(proxy.stdout) == _SIZE


@pytest.mark.parametrize(
    "line",
    [
        "srun: error: c1: task 0: Exited with exit code 3",
        "srun: job 99 queued and waiting for resources",
        "salloc: Granted job allocation 12",
    ],
)
def test_what_the_users_own_srun_says_is_the_users(tmp_path: Path, line: str) -> None:
    slurm = SmallSlurm(tmp_path / "slurm")
    slurm.become("RUNNING")
    with Proxy(tmp_path, config=slurm.CONFIG, PATH=slurm.path) as proxy:
        assert proxy.run(f"echo '{line}' >&2\n") == 0
        assert f"{line}\n" in proxy.stderr


def test_what_slurm_says_of_an_end_that_is_no_news_is_kept_back(tmp_path: Path) -> None:
    slurm = SmallSlurm(tmp_path / "slurm")
    slurm.become("RUNNING")
    with Proxy(tmp_path, config=slurm.CONFIG, PATH=slurm.path) as proxy:
        assert proxy.run("exit 7\n") == 7
        assert "salloc:" not in proxy.stderr
        assert "srun:" not in proxy.stderr


def test_a_last_line_without_its_end_and_bare_returns_are_kept(tmp_path: Path) -> None:
    slurm = SmallSlurm(tmp_path / "slurm")
    slurm.become("RUNNING")
    with Proxy(tmp_path, config=slurm.CONFIG, PATH=slurm.path) as proxy:
        assert proxy.run("printf 'srun: 50%%\\rsrun: 100%%\\rdone\\nsal' >&2\n") == 0
        assert "srun: 50%\rsrun: 100%\rdone\nsal" in proxy.stderr


def test_an_agent_that_is_killed_is_said(tmp_path: Path) -> None:
    slurm = SmallSlurm(tmp_path / "slurm")
    slurm.become("RUNNING")
    with Proxy(tmp_path, config=slurm.CONFIG, PATH=slurm.path) as proxy:
        proxy.send("kill -9 $PPID\n")
        assert proxy.wait() == 69
        assert "vscode-shell-proxy: the connection to the job was lost" in proxy.stderr or (
            "vscode-shell-proxy: the job ended" in proxy.stderr
        )
