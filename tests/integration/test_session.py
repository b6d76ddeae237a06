"""A whole session on this machine: its status, its three streams, and what it leaves on disk."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.integration.proxy import NO_BACKEND, Proxy, site, without
from vscadmin.proxy.status import directory

UUID = "5c2b7a90-0d1e-4f7b-9a3c-d2f0c1b2a3e4"
HOLDING_SECONDS = 0.2  # what a process that holds stdout may delay the end by
MEBIBYTE = 1 << 20

both_kinds = pytest.mark.parametrize("stdio", ["pipes", "sockets"])


class TestStatus:
    @pytest.mark.parametrize("status", [0, 1, 69, 99, 126, 127, 255])
    def test_any_status_is_the_shells(self, tmp_path: Path, status: int) -> None:
        """Also those that mean something to the boot script, or to a shell that calls it."""
        with Proxy(tmp_path) as proxy:
            assert proxy.run(f"echo out; exit {status}\n") == status
            assert (proxy.stdout, proxy.stderr) == (b"out\n", "")

    def test_a_shell_that_a_signal_ends_has_128_and_its_number(self, tmp_path: Path) -> None:
        with Proxy(tmp_path) as proxy:
            assert proxy.run("kill -KILL $$\n") == 128 + signal.SIGKILL

    def test_a_launcher_that_is_missing_is_named(self, tmp_path: Path) -> None:
        config = 'version = 1\nlauncher = "salloc"\n'
        with Proxy(tmp_path, config=config, PATH=without("salloc", tmp_path)) as proxy:
            assert proxy.wait() == NO_BACKEND
            words = "the job could not be started: salloc: there is no such command on PATH"
            assert proxy.stderr == f"vscode-shell-proxy: {words}\n"


class TestStreams:
    @both_kinds
    def test_every_byte_passes_both_ways(self, tmp_path: Path, stdio: str) -> None:
        data = bytes(range(256)) * 300 + b"\r\n\rlast"
        with Proxy(tmp_path, stdio=stdio) as proxy:
            assert proxy.run(b"exec cat\n" + data) == 0
            assert proxy.stdout == data

    @both_kinds
    def test_stderr_is_apart_and_as_it_is(self, tmp_path: Path, stdio: str) -> None:
        with Proxy(tmp_path, stdio=stdio) as proxy:
            assert proxy.run("printf 'no newline' >&2; echo out\n") == 0
            assert (proxy.stdout, proxy.stderr) == (b"out\n", "no newline")

    def test_a_client_that_does_not_read_holds_the_shell_up_and_not_our_memory(
        self, tmp_path: Path
    ) -> None:
        size = 100 * MEBIBYTE
        with Proxy(tmp_path) as proxy:
            proxy.pids()
            before = unique_memory(proxy.process.pid)
            proxy.send(f"head -c {size} /dev/zero; exit 3\n")
            time.sleep(0.7)
            assert unique_memory(proxy.process.pid) - before < 2 * MEBIBYTE
            assert proxy.wait(60) == 3
            assert proxy.stdout.count(0) == size

    def test_a_shell_that_does_not_read_holds_the_client_up_and_not_our_memory(
        self, tmp_path: Path
    ) -> None:
        with Proxy(tmp_path) as proxy:
            proxy.pids()
            proxy.send("until [ -e go ]; do sleep 0.1; done; wc -c\n")
            before = unique_memory(proxy.process.pid)
            sent = proxy.send_what_fits(100 * MEBIBYTE, 0.5)
            assert unique_memory(proxy.process.pid) - before < 2 * MEBIBYTE
            assert sent < 4 * MEBIBYTE
            (proxy.home / "go").touch()
            proxy.close_stdin()
            assert proxy.wait() == 0
            assert int(proxy.stdout.splitlines()[-1]) == sent

    def test_who_holds_stdout_in_the_background_delays_the_end_by_200_ms_at_most(
        self, tmp_path: Path
    ) -> None:
        """In turns: where the machine gets busy in between, that is so for both."""
        scripts = ("exit 5", "sleep 1000 & exit 5")
        pairs = [[_ending(tmp_path, script) for script in scripts] for _ in range(5)]
        alone, held = map(min, zip(*pairs, strict=True))
        assert held - alone <= HOLDING_SECONDS

    def test_it_takes_no_time_of_the_processor_while_nothing_moves(self, tmp_path: Path) -> None:
        with Proxy(tmp_path) as proxy:
            both = (proxy.process.pid, proxy.pids()[1])
            before = sum(map(_ticks, both))
            time.sleep(2)
            assert sum(map(_ticks, both)) - before <= 2  # of 200; what just was may end in one


class TestFiles:
    def test_copies_and_log_are_the_users_alone_and_hold_no_token(self, tmp_path: Path) -> None:
        options = zip(
            ("--tee-stdin", "--tee-stdout", "--tee-stderr", "--log-file"),
            ("in", "out", "err", "log"),
            strict=True,
        )
        arguments = [word for option, name in options for word in (option, f"{tmp_path}/{name}")]
        with Proxy(tmp_path, "-vvv", *arguments) as proxy:
            line = f"echo execServerToken=={UUID}=="
            assert proxy.run(f"VSCODE_CLI_REQUIRE_TOKEN={UUID} {line}; {line} >&2\n") == 0
            assert proxy.stdout == f"execServerToken=={UUID}==\n".encode()
        written = {name: (tmp_path / name).read_text() for name in ("in", "out", "err", "log")}
        assert not [name for name, text in written.items() if UUID in text]
        assert written["out"] == written["err"] == "execServerToken==[redacted]==\n"
        assert "VSCODE_CLI_REQUIRE_TOKEN=[redacted]" in written["in"]
        assert "the shell ended with status 0" in written["log"]
        assert {(tmp_path / name).stat().st_mode & 0o777 for name in written} == {0o600}

    def test_a_pid_in_a_name_is_the_sessions(self, tmp_path: Path) -> None:
        with Proxy(tmp_path, "--log-file", f"{tmp_path}/log.[PID]", "-vv") as proxy:
            proxy.run("exit\n")
            assert (tmp_path / f"log.{proxy.process.pid}").exists()

    @pytest.mark.parametrize(
        "option", ["--log-file", "--tee-stdin", "--tee-stdout", "--tee-stderr"]
    )
    def test_a_file_that_cannot_be_written_is_named_before_anything_starts(
        self, tmp_path: Path, option: str
    ) -> None:
        path, started = f"{tmp_path}/missing/out", tmp_path / "started"
        config = site(tmp_path, "sh", "-c", 'touch "$0"; exec "$@"', str(started))
        with Proxy(tmp_path, option, path, config=config) as proxy:
            assert proxy.wait() == 78
            words = f"vscode-shell-proxy: {option} {path}: No such file or directory\n"
            assert (proxy.stdout, proxy.stderr) == (b"", words)
        assert not started.exists()

    def test_what_vscadmin_sessions_shows_is_there_until_the_end(self, tmp_path: Path) -> None:
        with Proxy(tmp_path) as proxy:
            proxy.pids()
            place = Path(directory(os.environ | {"XDG_RUNTIME_DIR": ""}, os.getuid()))
            (file,) = place.glob(f"{proxy.process.pid}-*")
            assert (place.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
            proxy.run("exit\n")
        assert not file.exists()


def _ending(place: Path, script: str) -> float:
    """Return the seconds from the shell's last command to the end of the session."""
    with Proxy(place) as proxy:
        proxy.pids()
        began = time.monotonic()
        proxy.send(f"{script}\n")
        assert proxy.wait() == 5
        return time.monotonic() - began


def _ticks(pid: int) -> int:
    """Return the processor's time that a process has used, in clock ticks of 10 ms."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return int(fields[11]) + int(fields[12])


def unique_memory(pid: int) -> int:
    """Return the bytes that only this process has (USS)."""
    return int(psutil.Process(pid).memory_full_info().uss)
