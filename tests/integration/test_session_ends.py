"""Whatever ends a session ends all of it, in time, and says so by its status."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.integration.proxy import LOCALHOST, NO_BACKEND, Proxy, accept, connect, server, site
from tests.run import eventually
from vscadmin.proxy.status import directory

SECONDS = 5.0  # to end everything by a signal of ours or the client's end
KILLED_SECONDS = 10.0  # when we were given no time to
# A shell as bad as it gets: it hears nothing, and neither does what it left in the background.
DEAF = "trap '' HUP INT TERM; sleep 1000 & sleep 1000\n"
WITHOUT_STATUS = "vscode-shell-proxy: the shell ended without a status\n"
SLOW_PROFILE = "echo started > $HOME/started; sleep 1000; sleep 1000\n"

both_kinds = pytest.mark.parametrize("stdio", ["pipes", "sockets"])
signals = pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])


def begin(proxy: Proxy) -> tuple[int, int, str]:
    """Have all there can be of a session; return shell, agent and the path of its socket."""
    shell, agent = proxy.pids()
    with server() as backend, connect(proxy.port_for(backend)), accept(backend):
        path = proxy.announce(f"{proxy.home}/sock")
    assert os.path.exists(path)
    proxy.send(DEAF)
    eventually(lambda: len(psutil.Process(shell).children()), lambda count: count == 2)
    return shell, agent, path


def nothing_left(proxy: Proxy, path: str, seconds: float) -> None:
    proxy.gone(seconds)
    assert not os.path.lexists(os.path.dirname(path))


def status_files(proxy: Proxy) -> list[Path]:
    place = Path(directory(os.environ | {"XDG_RUNTIME_DIR": ""}, os.getuid()))
    return list(place.glob(f"{proxy.process.pid}-*"))


class TestTheClient:
    @both_kinds
    def test_its_end_is_the_end_of_everything(self, tmp_path: Path, stdio: str) -> None:
        with Proxy(tmp_path, stdio=stdio) as proxy:
            _, _, path = begin(proxy)
            proxy.drop()
            nothing_left(proxy, path, SECONDS)
            assert proxy.process.wait(10) == 128 + signal.SIGHUP

    @both_kinds
    def test_its_end_is_noticed_while_a_profile_takes_its_time(
        self, tmp_path: Path, stdio: str
    ) -> None:
        with in_its_profile(tmp_path, stdio=stdio) as proxy:
            proxy.drop()
            proxy.gone(SECONDS)

    @both_kinds
    def test_its_end_is_noticed_before_a_node_says_hello(self, tmp_path: Path, stdio: str) -> None:
        config = site(tmp_path, "sh", "-c", "sleep 1000; sleep 1000")
        with Proxy(tmp_path, config=config, stdio=stdio) as proxy:
            eventually(proxy.processes, lambda pids: len(pids) >= 3)
            proxy.drop()
            proxy.gone(SECONDS)

    def test_that_it_says_no_more_ends_nothing(self, tmp_path: Path) -> None:
        with Proxy(tmp_path, stdio="sockets") as proxy:
            assert proxy.run("sleep 0.5; cat; echo later; exit 3\n") == 3
            assert proxy.stdout == b"later\n"


class TestSignals:
    @signals
    def test_the_first_one_ends_everything(self, tmp_path: Path, number: signal.Signals) -> None:
        with Proxy(tmp_path) as proxy:
            _, _, path = begin(proxy)
            proxy.process.send_signal(number)
            nothing_left(proxy, path, SECONDS)
            assert proxy.wait() == 128 + number

    @both_kinds
    def test_a_client_that_does_not_read_keeps_nothing_alive(
        self, tmp_path: Path, stdio: str
    ) -> None:
        with Proxy(tmp_path, stdio=stdio) as proxy:
            proxy.pids()
            proxy.send("yes\n")
            time.sleep(0.5)
            proxy.process.send_signal(signal.SIGTERM)
            proxy.gone(SECONDS + 2)  # it is given all but half a second of them by design
            assert proxy.process.wait(10) == 128 + signal.SIGTERM

    @signals
    def test_the_first_one_ends_a_session_without_a_shell(
        self, tmp_path: Path, number: signal.Signals
    ) -> None:
        with in_its_profile(tmp_path) as proxy:
            proxy.process.send_signal(number)
            proxy.gone(SECONDS)
            assert proxy.wait() == 128 + number

    def test_more_of_them_change_nothing(self, tmp_path: Path) -> None:
        with Proxy(tmp_path) as proxy:
            _, _, path = begin(proxy)
            numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            for number in numbers:
                proxy.process.send_signal(number)
            nothing_left(proxy, path, SECONDS)
            assert proxy.wait() in {128 + number for number in numbers}

    @signals
    def test_it_is_heard_by_a_launcher_that_wraps_another(
        self, tmp_path: Path, number: signal.Signals
    ) -> None:
        """A site's wrapper may pass no signal on."""
        config = site(tmp_path, "sh", "-c", '"$@"; exit $?', "sh")
        with Proxy(tmp_path, config=config) as proxy:
            proxy.pids()
            proxy.process.send_signal(number)
            proxy.gone(SECONDS)
            assert proxy.wait() == 128 + number


@contextmanager
def in_its_profile(place: Path, stdio: str = "pipes") -> Iterator[Proxy]:
    """Yield a session whose shell is busy with its profile."""
    proxy = Proxy(place, stdio=stdio)
    (proxy.home / ".bash_profile").write_text(SLOW_PROFILE)
    with proxy:
        eventually((proxy.home / "started").exists, bool)
        yield proxy


class TestSigkill:
    def test_of_the_proxy(self, tmp_path: Path) -> None:
        with Proxy(tmp_path) as proxy:
            _, _, path = begin(proxy)
            (status,) = status_files(proxy)
            proxy.process.kill()
            nothing_left(proxy, path, KILLED_SECONDS)
            assert not status.exists()

    def test_of_the_proxy_while_a_profile_takes_its_time(self, tmp_path: Path) -> None:
        with in_its_profile(tmp_path) as proxy:
            proxy.process.kill()
            proxy.gone(KILLED_SECONDS)

    def test_of_the_agent(self, tmp_path: Path) -> None:
        with Proxy(tmp_path) as proxy:
            _, agent = proxy.pids()
            os.kill(agent, signal.SIGKILL)
            assert proxy.wait() == NO_BACKEND
            assert proxy.stderr.count("vscode-shell-proxy: ") == 1
            proxy.gone(KILLED_SECONDS)

    def test_of_the_launcher(self, tmp_path: Path) -> None:
        with Proxy(tmp_path) as proxy:
            _, agent, path = begin(proxy)
            os.kill(psutil.Process(agent).ppid(), signal.SIGKILL)
            assert proxy.wait() == NO_BACKEND
            assert proxy.stderr == WITHOUT_STATUS
            nothing_left(proxy, path, KILLED_SECONDS)


class TestTheLauncher:
    def test_one_that_fails_is_no_success_and_has_its_say(self, tmp_path: Path) -> None:
        config = site(tmp_path, "sh", "-c", "echo no such account >&2; exit 1")
        with Proxy(tmp_path, config=config) as proxy:
            assert proxy.wait() == NO_BACKEND
            assert proxy.stderr == f"no such account\n{WITHOUT_STATUS}"

    def test_one_that_ends_well_without_a_shell_is_no_success(self, tmp_path: Path) -> None:
        """As salloc does when its job is revoked."""
        with Proxy(tmp_path, config=site(tmp_path, "true")) as proxy:
            assert proxy.run("echo out\n") == NO_BACKEND
            assert proxy.stdout == b""

    def test_what_a_prolog_prints_is_swallowed(self, tmp_path: Path) -> None:
        noise = r"echo welcome; echo listeningOn==1==; printf '\377 no newline'"
        config = site(tmp_path, "sh", "-c", f'{noise}; exec "$@"', "sh")
        with Proxy(tmp_path, config=config) as proxy:
            assert proxy.run("echo out\n") == 0
            assert proxy.stdout == b"out\n"

    def test_one_that_prints_without_end_is_stopped(self, tmp_path: Path) -> None:
        with Proxy(tmp_path, config=site(tmp_path, "sh", "-c", "exec yes")) as proxy:
            assert proxy.wait() == NO_BACKEND
            assert "output of the job's prolog has no end" in proxy.stderr
            proxy.gone(SECONDS)


def test_the_listeners_are_closed_with_the_session(tmp_path: Path) -> None:
    with Proxy(tmp_path) as proxy, server() as backend:
        port = proxy.port_for(backend)
        proxy.run("exit\n")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((LOCALHOST, port), 1).close()
