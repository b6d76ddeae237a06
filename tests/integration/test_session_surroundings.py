"""What a node may lack or bring along: locales, shells, processes, a whole Python."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.integration.as_user import _python as users_python
from tests.integration.proxy import NO_BACKEND, SHELL, Proxy, connect, server, site
from tests.integration.pythons import ROOT, python_without
from tests.integration.small_slurm import SmallSlurm
from vscadmin.proxy.status import directory

MAIN = "from vscadmin.cli.shell_proxy import main; main()"
UIDS = count(100_000 + 100 * os.getpid())  # nobody's: all processes of a user count
WITHOUT_LOCALE = ("env", "-u", "LANG", "-u", "LC_ALL")
LOCALE = "env | grep -E '^(LC_|LANG)' | sort | tr '\\n' ' '; echo end\n"


class TestTheLocale:
    """Python sets an LC_CTYPE of its own where there is no locale (PEP 538)."""

    @pytest.mark.parametrize("given", [None, "UTF-8", "C"])
    def test_the_job_has_what_the_user_had(self, tmp_path: Path, given: str | None) -> None:
        """A Mac sends LC_CTYPE=UTF-8, which no Linux knows."""
        environment = {} if given is None else {"LC_CTYPE": given}
        with Proxy(tmp_path, before=WITHOUT_LOCALE, **environment) as proxy:
            assert proxy.run(LOCALE) == 0
        expected = "" if given is None else f"LC_CTYPE={given} "
        assert proxy.stdout.decode() == f"{expected}end\n"

    def test_what_is_asked_for_is_set(self, tmp_path: Path) -> None:
        with Proxy(tmp_path, "-e", "LC_CTYPE=C.UTF-8", before=WITHOUT_LOCALE) as proxy:
            assert proxy.run(LOCALE) == 0
        assert proxy.stdout == b"LC_CTYPE=C.UTF-8 end\n"

    def test_the_launcher_has_what_the_user_had(self, tmp_path: Path) -> None:
        config = site(tmp_path, "sh", "-c", 'env | grep LC_ >&2; exec "$@"', "sh")
        with Proxy(tmp_path, config=config, before=WITHOUT_LOCALE) as proxy:
            assert proxy.run("exit 7\n") == 7
        assert proxy.stderr == ""

    @pytest.mark.parametrize("name", ["X", "HOME"])
    def test_a_value_beyond_the_nodes_locale_arrives_as_it_is(
        self, tmp_path: Path, name: str
    ) -> None:
        """What Python 3.6 does in the C locale, and every other one without its UTF-8 mode."""
        value = tmp_path / "Bücher"
        value.mkdir()
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} -X utf8=0 "$@"\n')
        python.chmod(0o755)
        config = f'{SHELL}python = ["{python}"]\n[environment]\n{name} = "{value}"\nLC_ALL = "C"\n'
        wrapped = site(tmp_path, "env", "LC_ALL=C").removeprefix(SHELL)
        with Proxy(tmp_path, config=config.replace("python =", f"{wrapped}python =", 1)) as proxy:
            assert proxy.run(f"printf %s ${name}\n") == 0
        assert (proxy.stdout, proxy.stderr) == (os.fsencode(value), "")


@pytest.fixture
def passwd(tmp_path: Path, root: None) -> tuple[str, ...]:
    """Return what a launcher is wrapped in to get a passwd of its own, *tmp_path*/passwd."""
    nsswitch = tmp_path / "nsswitch.conf"
    nsswitch.write_text("passwd: files\n")
    mounts = f"mount --bind {tmp_path}/passwd /etc/passwd"
    mounts += f"; mount --bind {nsswitch} /etc/nsswitch.conf"
    return ("unshare", "--mount", "sh", "-c", f'{mounts}; exec "$@"', "sh")


class TestTheShell:
    @pytest.mark.parametrize("has_python", [True, False], ids=["agent", "no Python"])
    @pytest.mark.parametrize(
        ("of_node", "given", "expected"),
        [
            ("/usr/sbin/nologin", "/bin/bash", "/bin/bash"),
            ("/bin/false", "/bin/bash", "/bin/bash"),
            ("/opt/missing/zsh", "/bin/bash", "/bin/bash"),
            ("/etc", "/bin/bash", "/bin/bash"),
            (None, "/bin/bash", "/bin/bash"),
            ("/usr/sbin/nologin", "/opt/missing/zsh", "/bin/sh"),
            ("/usr/sbin/nologin", "/bin/false", "/bin/sh"),
            (None, "", "/bin/sh"),
            ("/bin/bash", "/bin/sh", "/bin/bash"),
            ("", "/bin/bash", "/bin/bash"),
        ],
    )
    def test_the_editors_terminals_get_one_that_runs(
        self,
        tmp_path: Path,
        passwd: tuple[str, ...],
        has_python: bool,
        of_node: str | None,
        given: str,
        expected: str,
    ) -> None:
        """On a compute node passwd may say nologin, or not know the user."""
        line = f"u:x:{os.getuid()}:0::/root:{of_node}\n" if of_node is not None else ""
        (tmp_path / "passwd").write_text(f"{line}other:x:4711:4711::/:/bin/sh\n")
        wrap = passwd if has_python else (*passwd, *_masking_pythons())
        config = site(tmp_path, *wrap, more="allow_direct = true\n")
        with Proxy(tmp_path, config=config, SHELL=given) as proxy:
            assert proxy.run("echo $SHELL\n") == 0
            assert proxy.stdout.decode() == f"{expected}\n"
            assert "profile" not in proxy.stderr


def _masking_pythons() -> tuple[str, ...]:
    places = ["/usr/bin", "/usr/libexec", *os.environ["PATH"].split(":")]
    names = [f"{place}/{name}" for place in places for name in ("python3", "platform-python")]
    pythons = {os.path.realpath(name) for name in names if os.path.exists(name)}
    masks = "; ".join(f"mount --bind /dev/null {path}" for path in sorted(pythons))
    return ("sh", "-c", f'{masks}; exec "$@"', "sh")


def test_a_kernel_that_does_not_tell_whose_a_connection_is_is_said(tmp_path: Path) -> None:
    """Else every connection of the editor would be reset without a word."""
    filtered = (sys.executable, str(Path(__file__).with_name("no_sock_diag.py")))
    with Proxy(tmp_path, before=filtered) as proxy, server() as backend:
        port = proxy.port_for(backend)
        for _ in range(3):
            with pytest.raises(ConnectionError):
                _ask(port)
        words = "this node cannot tell whose a connection is (tcp_diag); all of them are refused"
        assert proxy.run("exit 7\n") == 7
        assert proxy.stderr == f"vscode-shell-proxy: {words}\n"


def _ask(port: int) -> bytes:
    with connect(port) as client:
        client.sendall(b"question")
        return client.recv(10)


@pytest.fixture
def place() -> Iterator[Path]:
    """Yield a directory that every user may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


class Limited(Proxy):
    """A session of a user of its own, who may have *most* processes: root has no such limit."""

    def __init__(self, place: Path, most: int, **known: Any) -> None:
        self._uid = str(next(UIDS))
        user = ("setpriv", f"--reuid={self._uid}", f"--regid={self._uid}", "--clear-groups")
        code = f"import sys; sys.path[:0] = {[str(ROOT), sysconfig.get_path('purelib')]!r}; {MAIN}"
        run = ("prlimit", f"--nproc={most}", *user, users_python(), "-I", "-c", code)
        super().__init__(place, command="vscode-shell-proxy", before=run, **known)

    def status_files(self) -> list[Path]:
        place = Path(directory({}, int(self._uid)))
        found = list(place.glob("*"))
        shutil.rmtree(place, ignore_errors=True)
        return found


@pytest.mark.usefixtures("root")
class TestAtTheLimitOfProcesses:
    def test_it_is_said_where_not_even_the_preparation_has_room(self, place: Path) -> None:
        slurm = SmallSlurm(place / "slurm")
        with Limited(place, 1, config=slurm.CONFIG, PATH=slurm.path) as proxy:
            assert proxy.wait() == NO_BACKEND
            words = "vscode-shell-proxy: you have too many processes on this node (ulimit -u)\n"
            assert (proxy.stdout, proxy.stderr, slurm.state) == (b"", words, "")

    @pytest.mark.parametrize("most", range(2, 5))
    def test_without_room_for_a_guardian_the_session_goes_on(self, place: Path, most: int) -> None:
        """How far depends on salloc, which starts processes itself."""
        slurm = SmallSlurm(place / "slurm")
        (place / "slurm").chmod(0o777)
        with Limited(place, most, config=slurm.CONFIG, PATH=slurm.path) as proxy:
            proxy.said("queued|Slurm does not answer|no job was started|Cannot fork")
            proxy.process.send_signal(signal.SIGTERM)
            assert proxy.wait() in {128 + signal.SIGTERM, NO_BACKEND}
            assert not re.search("a bug|Traceback|Error", proxy.stderr)
        assert proxy.status_files() == []

    def test_without_room_for_a_shell_that_is_said(self, place: Path) -> None:
        """There is some for the proxy, its guardian, the boot script and the agent."""
        with Limited(place, 4) as proxy:
            proxy.close_stdin()
            assert proxy.wait() == NO_BACKEND
            words = f"you have too many processes on {os.uname().nodename} (ulimit -u)"
            assert proxy.stderr == f"vscode-shell-proxy: no shell could be started: {words}\n"
        assert proxy.status_files() == []

    @pytest.mark.parametrize("most", [2, 3, 5])
    def test_whatever_has_no_room_is_no_bug(self, place: Path, most: int) -> None:
        with Limited(place, most) as proxy:
            proxy.close_stdin()
            assert proxy.wait() in {0, NO_BACKEND}
            assert not re.search("a bug|Traceback|Error", proxy.stderr)
        assert proxy.status_files() == []

    def test_a_profile_without_room_for_its_programs_is_gone_without(self, place: Path) -> None:
        """What it said last and the news of its end may arrive at once: neither may block."""
        for _ in range(6):
            with Limited(place, 5) as proxy:
                proxy.send("exit 7\n")
                assert proxy.wait() == 7


def test_a_python_without_ctypes_is_named(tmp_path: Path) -> None:
    """As one that was built where libffi was missing."""
    slurm = SmallSlurm(tmp_path / "slurm")
    python = Path(python_without("_ctypes", tmp_path / "venv"))
    command = str(python.with_name("vscode-shell-proxy"))
    shutil.copy(ROOT / "vscadmin" / "launchers" / "vscode-shell-proxy", command)
    with Proxy(tmp_path, config=slurm.CONFIG, command=command, PATH=slurm.path) as proxy:
        assert proxy.wait() == NO_BACKEND
        assert proxy.stderr.startswith("vscode-shell-proxy: the job could not be started: ")
        assert "_ctypes" in proxy.stderr
        assert (slurm.state, proxy.stderr.count("\n")) == ("", 1)
