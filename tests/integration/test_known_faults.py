"""Faults that were observed in the proxy that this one replaces, by the numbers of their list.

docs/relay-hazards.md says of each what ours does instead, and which other tests show it.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest

from tests.integration.proxy import (
    COMMAND,
    LOCALHOST,
    NO_BACKEND,
    Proxy,
    accept,
    connect,
    read_all,
    server,
    silent,
    site,
)
from tests.integration.small_slurm import JOB, SmallSlurm
from tests.integration.test_session import unique_memory
from tests.run import eventually
from vscadmin.proxy.settings import DEFAULT

CORPUS = Path(__file__).parents[1] / "corpus" / "bootstraps"
MEGABYTE = 10**6
MOST_MEMORY = 10 * MEGABYTE
MOST_THREADS = 3


@pytest.fixture
def slurm(tmp_path: Path) -> SmallSlurm:
    return SmallSlurm(tmp_path / "slurm")


class Test01TheStatus:
    def test_exit_7_is_7(self, tmp_path: Path) -> None:
        with Proxy(tmp_path) as proxy:
            assert proxy.run("exit 7\n") == 7

    def test_exit_7_in_a_job_is_7(self, tmp_path: Path, slurm: SmallSlurm) -> None:
        slurm.become("RUNNING")
        with Proxy(tmp_path, config=slurm.CONFIG, PATH=slurm.path) as proxy:
            assert proxy.run("echo $SLURM_JOB_ID; exit 7\n") == 7
            assert proxy.stdout == b"%d\n" % JOB

    @pytest.mark.parametrize(
        ("state", "words"), [("TIMEOUT", "its time was over"), ("CANCELLED", "was cancelled")]
    )
    def test_salloc_that_ends_with_0_for_a_job_that_was_ended_is_no_success(
        self, tmp_path: Path, slurm: SmallSlurm, state: str, words: str
    ) -> None:
        with Proxy(tmp_path, config=slurm.CONFIG, PATH=slurm.path) as proxy:
            proxy.said(f"job {JOB} submitted")
            slurm.become(state)
            assert proxy.wait() == NO_BACKEND
            assert proxy.said(f"vscode-shell-proxy: the job ended: job {JOB} .*{words}")


def test_02_the_end_of_a_script_on_stdin_ends_nothing(tmp_path: Path) -> None:
    with Proxy(tmp_path) as proxy:
        assert proxy.run("sleep 0.5; seq 200000; exit 3\n", 30) == 3
        assert proxy.stdout == b"".join(b"%d\n" % number for number in range(1, 200001))


class Test03BytesThatAreNoText:
    def test_output_goes_on_behind_one(self, tmp_path: Path) -> None:
        with Proxy(tmp_path) as proxy:
            proxy.send(r"printf 'caf\351\n'; echo more" + "\n")
            proxy.expect(rb"caf\xe9\nmore\n")

    def test_input_goes_on_behind_one_and_the_end_is_noticed(self, tmp_path: Path) -> None:
        with Proxy(tmp_path) as proxy:
            proxy.send(b"echo caf\xe9\necho more\n")
            proxy.expect(rb"caf\xe9\nmore\n")
            proxy.drop()
            proxy.gone(5)


class Test04LineEnds:
    def test_cr_and_crlf_stay(self, tmp_path: Path) -> None:
        with Proxy(tmp_path) as proxy:
            assert proxy.run(r"printf 'one\r\ntwo\rthree\n'" + "\n") == 0
            assert proxy.stdout == b"one\r\ntwo\rthree\n"

    def test_text_without_a_newline_comes_at_once(self, tmp_path: Path) -> None:
        """Prompts, and the blanks by which the bootstrap keeps a connection alive."""
        with Proxy(tmp_path) as proxy:
            proxy.send("printf 'login01$ '; read -r line; printf ' '; read -r line\n")
            proxy.expect(rb"login01\$ $")
            proxy.send("\n")
            proxy.expect(rb"^ $")


def test_05_what_comes_after_a_half_close_arrives(tmp_path: Path) -> None:
    with (
        Proxy(tmp_path) as proxy,
        server() as backend,
        connect(proxy.port_for(backend)) as client,
        accept(backend) as inside,
    ):
        client.shutdown(socket.SHUT_WR)
        assert read_all(inside) == b""
        inside.sendall(b"the reply")
        inside.close()
        assert read_all(client) == b"the reply"


def test_06_four_hundred_connections_at_once_all_get_through_in_seconds(tmp_path: Path) -> None:
    with Proxy(tmp_path) as proxy, server() as backend:
        port, began = proxy.port_for(backend), time.monotonic()
        clients = [connect(port) for _ in range(400)]
        for _ in clients:
            with accept(backend) as inside:
                inside.sendall(b"served")
        assert {read_all(client) for client in clients} == {b"served"}
        assert time.monotonic() - began < 5
        for client in clients:
            client.close()


def test_07_two_sessions_never_share_a_port(tmp_path: Path) -> None:
    """Sixteen requests each, and each in its own job; a port that is fixed is the first one's."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with Proxy(tmp_path / "one") as one, server() as ones, server() as twos:
        port = one.port_for(ones)
        with Proxy(tmp_path / "two") as two:
            for here, backend in ((port, ones), (two.port_for(twos), twos)) * 16:
                with connect(here), accept(backend):
                    pass
        with Proxy(tmp_path / "two", "-p", str(port)) as two:
            two.send(f"echo listeningOn=={twos.getsockname()[1]}==; sleep 1000\n")
            assert two.wait() == NO_BACKEND
        with connect(port), accept(ones):
            pass


def test_08_a_listener_that_cannot_be_had_ends_the_session_and_is_said(tmp_path: Path) -> None:
    with Proxy(tmp_path, "-H", "192.0.2.1") as proxy, server() as backend:
        proxy.send(f"echo listeningOn=={backend.getsockname()[1]}==; sleep 1000\n")
        assert proxy.wait() == NO_BACKEND
        assert "no listener for the editor: 192.0.2.1:0: " in proxy.stderr
        proxy.gone(5)


class Test09Announcements:
    @pytest.mark.parametrize(
        ("printed", "expected"),
        [
            ("listeningOn=={}==", rb"listeningOn==(\d+)==\n"),
            ("listeningOn==0.0.0.0:{}==", rb"listeningOn==127\.0\.0\.1:(\d+)==\n"),
            ("listeningOn==127.0.0.1:{}==x==y==", rb"listeningOn==127\.0\.0\.1:(\d+)==x==y==\n"),
            (r"listeningOn==127.0.0.1:{}==\r", rb"listeningOn==127\.0\.0\.1:(\d+)==\r\n"),
            ("first\nlisteningOn==localhost:{}==", rb"first\nlisteningOn==127\.0\.0\.1:(\d+)==\n"),
        ],
    )
    def test_every_form_of_the_line_leads_to_the_server(
        self, tmp_path: Path, printed: str, expected: bytes
    ) -> None:
        with Proxy(tmp_path) as proxy, server() as backend:
            text = printed.format(backend.getsockname()[1]).replace("\n", r"\n")
            proxy.send(f"printf '{text}\\n'\n")
            with connect(int(proxy.expect(expected)[1])), accept(backend):
                pass

    def test_a_server_on_ipv6_is_reached(self, tmp_path: Path) -> None:
        with Proxy(tmp_path) as proxy, socket.create_server(("::1", 0), family=10) as backend:
            backend.settimeout(10)
            where = proxy.announce(f"[::1]:{backend.getsockname()[1]}")
            with connect(int(where.removeprefix("127.0.0.1:"))), accept(backend):
                pass

    def test_one_that_names_no_server_passes_and_so_does_the_next_one(self, tmp_path: Path) -> None:
        with Proxy(tmp_path) as proxy, server() as backend:
            proxy.send("echo listeningOn====\n")
            proxy.expect(rb"^listeningOn====\n")
            with connect(proxy.port_for(backend)), accept(backend):
                pass


class Test10StartCommands:
    @pytest.mark.parametrize("script", sorted(CORPUS.glob("*.sh")), ids=lambda path: path.stem)
    def test_relay_mode_changes_none_and_needs_to_know_none(
        self, tmp_path: Path, script: Path
    ) -> None:
        text = script.read_bytes()
        with Proxy(tmp_path) as proxy:
            assert proxy.run(b"exec cat\n" + text) == 0
            assert proxy.stdout.count(b"\n") == text.count(b"\n")
            assert proxy.stdout == text or b"listeningOn==" in text

    def test_direct_mode_says_so_of_one_that_it_does_not_know(self, tmp_path: Path) -> None:
        text = (CORPUS / "host-in-a-variable.sh").read_bytes()
        with Proxy(tmp_path, "--mode", "direct", "-vv") as proxy:
            assert proxy.run(b"exec cat >/dev/null\n" + text) == 0
            proxy.said("binds it in a way that is not known here")
            assert "bind host changed" not in proxy.stderr


def test_11_the_server_in_the_job_stays_on_its_loopback(tmp_path: Path) -> None:
    """Other users are in test_session_strangers.py."""
    with Proxy(tmp_path) as proxy:
        proxy.send('server.sh() { echo "got $*"; }; server.sh --start-server --host=127.0.0.1\n')
        proxy.expect(rb"got --start-server --host=127\.0\.0\.1\n")
        listening = psutil.Process(proxy.process.pid).net_connections("tcp")
        assert {each.laddr.ip for each in listening} == {LOCALHOST}


@pytest.mark.parametrize("mode", ["relay", "direct"])
class Test12Servers:
    def test_one_that_does_not_listen_yet_is_waited_for(self, tmp_path: Path, mode: str) -> None:
        with (
            Proxy(tmp_path, "--mode", mode) as proxy,
            silent() as backend,
            connect(proxy.port_for(backend)) as client,
        ):
            client.sendall(b"early")
            time.sleep(0.5)
            backend.listen()
            with accept(backend) as inside:
                assert inside.recv(10) == b"early"

    def test_one_that_died_is_a_clear_line(self, tmp_path: Path, mode: str) -> None:
        with Proxy(tmp_path, "--mode", mode) as proxy:
            with server() as backend:
                port = proxy.port_for(backend)
                with connect(port), accept(backend):
                    pass
            with connect(port) as client, pytest.raises(ConnectionResetError):
                client.recv(1)
            proxy.said("the editor's server on .* does not listen any more")


class Test13TheNode:
    def test_a_profile_that_reads_stdin_eats_nothing(self, tmp_path: Path) -> None:
        proxy = Proxy(tmp_path)
        (proxy.home / ".bash_profile").write_text("read -r line; cat; export SET=yes\n")
        with proxy:
            assert proxy.run('echo "$SET"; read -r line; echo "$line"\nfor the shell\n') == 0
            assert proxy.stdout == b"yes\nfor the shell\n"

    @pytest.mark.usefixtures("root")
    @pytest.mark.parametrize("mode", ["relay", "direct"])
    def test_a_name_that_cannot_be_looked_up_is_not_looked_up(
        self, tmp_path: Path, mode: str
    ) -> None:
        rename = 'hostname no-such-node.invalid; exec "$@"'
        config = site(tmp_path, "unshare", "--uts", "sh", "-c", rename, "sh")
        with Proxy(tmp_path, "--mode", mode, config=config) as proxy, server() as backend:
            proxy.send("uname -n\n")
            proxy.expect(rb"no-such-node\.invalid\n")
            with connect(proxy.port_for(backend)), accept(backend):
                pass


class Test14Ends:
    """Those of a session that runs are in test_session_ends.py."""

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_the_first_signal_takes_the_job_from_the_queue(
        self, tmp_path: Path, slurm: SmallSlurm, number: signal.Signals
    ) -> None:
        with Proxy(tmp_path, config=slurm.CONFIG, PATH=slurm.path) as proxy:
            proxy.said(f"job {JOB} submitted")
            proxy.process.send_signal(number)
            proxy.gone(5)
            assert proxy.wait() == 128 + number
        assert slurm.state == "CANCELLED"

    def test_sigkill_of_the_proxy_takes_it_too(self, tmp_path: Path, slurm: SmallSlurm) -> None:
        with Proxy(tmp_path, config=slurm.CONFIG, PATH=slurm.path) as proxy:
            proxy.said(f"job {JOB} submitted")
            proxy.process.kill()
            proxy.gone(10)
        assert slurm.state == "CANCELLED"

    def test_sigkill_of_salloc_takes_it_too(self, tmp_path: Path, slurm: SmallSlurm) -> None:
        with Proxy(tmp_path, config=slurm.CONFIG, PATH=slurm.path) as proxy:
            proxy.said(f"job {JOB} submitted")
            (salloc,) = (
                each
                for each in psutil.Process(proxy.process.pid).children()
                if any("salloc" in word for word in each.cmdline())
            )
            salloc.kill()
            assert proxy.wait() == NO_BACKEND
        eventually(lambda: slurm.state, lambda state: state == "CANCELLED", 5)

    def test_a_laptop_that_went_away_leaves_no_job_behind(
        self, tmp_path: Path, slurm: SmallSlurm
    ) -> None:
        slurm.become("RUNNING")
        with Proxy(tmp_path, config=slurm.CONFIG, PATH=slurm.path, stdio="sockets") as proxy:
            proxy.pids()
            proxy.drop()
            proxy.gone(5)
        assert slurm.state == "CANCELLED"


class Test15TheEnvironment:
    def test_it_is_that_of_a_login_where_the_launcher_leaves_none(self, tmp_path: Path) -> None:
        wrapper = ("env", "-i", f"PATH={os.environ['PATH']}")
        with Proxy(tmp_path, config=site(tmp_path, *wrapper)) as proxy:
            proxy.send('echo "for $HOME $USER $LOGNAME $SHELL:"\n')
            home, user, name, shell = proxy.expect(rb"for (.*):\n")[1].decode().split(" ")
        user_here = psutil.Process().username()
        assert (home, user, name) == (os.path.expanduser(f"~{user_here}"), user_here, user_here)
        assert os.access(shell, os.X_OK)

    def test_a_lower_case_name_comes_along(self, tmp_path: Path) -> None:
        with Proxy(tmp_path, "-e", "lower", "-e", "given=a b", lower="case") as proxy:
            assert proxy.run('echo "$lower, $given"\n') == 0
            assert proxy.stdout == b"case, a b\n"


def test_16_what_the_queue_is_waiting_for_is_said(tmp_path: Path, slurm: SmallSlurm) -> None:
    with Proxy(tmp_path, config=slurm.CONFIG, PATH=slurm.path) as proxy:
        line = proxy.said(f"job {JOB} submitted, queued: ")
        assert "Priority" in line
        slurm.become("RUNNING")
        proxy.pids()
        assert proxy.said(f"job {JOB} runs on {os.uname().nodename}")


def test_17_copies_and_log_are_private_from_the_first_byte(tmp_path: Path) -> None:
    """What is in them is in test_session.py."""
    arguments = ("-vv", "-1", f"{tmp_path}/out", "-l", f"{tmp_path}/log")
    with Proxy(tmp_path, *arguments, before=("sh", "-c", 'umask 0; exec "$@"', "sh")) as proxy:
        assert proxy.run("echo connectionToken==secret==\n") == 0
    for name in ("out", "log"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
        assert "secret" not in (tmp_path / name).read_text()


@pytest.mark.skipif(os.path.exists(DEFAULT), reason=f"with {DEFAULT} there is no such file")
def test_18_a_site_file_that_others_can_write_is_not_run(tmp_path: Path) -> None:
    link = tmp_path / "bin" / "vscode-shell-proxy"
    link.parent.mkdir()
    link.symlink_to(COMMAND)
    local = link.parent / "vscode-shell-proxy-local.py"
    local.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    local.chmod(0o666)
    with Proxy(tmp_path, config=None, command=str(link)) as proxy:
        assert proxy.wait() == 78
        assert f"{local}: its group or others can write it" in proxy.stderr
    assert not (tmp_path / "ran").exists()


def test_19_an_idle_session_takes_little(tmp_path: Path) -> None:
    """Unique memory is what one more session costs, so there is another one."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with Proxy(tmp_path / "one") as one, Proxy(tmp_path / "two") as two, server() as backend:
        for proxy in (one, two):
            with connect(proxy.port_for(backend)), accept(backend):
                pass
        for pid in (one.process.pid, one.pids()[1]):
            assert unique_memory(pid) <= MOST_MEMORY
            assert psutil.Process(pid).num_threads() <= MOST_THREADS
