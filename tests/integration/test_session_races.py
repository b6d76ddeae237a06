"""What comes at the same moment, or late: signals to all of a step, output behind the shell."""

from __future__ import annotations

import array
import fcntl
import os
import signal
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.integration.proxy import NO_BACKEND, SHELL, Proxy, site
from tests.integration.small_slurm import JOB, SmallSlurm
from tests.integration.step import Step, login
from tests.run import eventually
from vscadmin.proxy import wire

LINES = 20_000
SIZE = 2_000_000
PIPE = 1 << 16  # bytes, pipe(7)
WAITING = "while true; do sleep 180; done\n"

# What srun, slurmstepd and the network between them are to output: all that comes is held.
HOLDER = """
import os, queue, threading
held = queue.SimpleQueue()
def read():
    while data := os.read(0, 65536):
        held.put(data)
    held.put(b"")
threading.Thread(target=read).start()
while data := held.get():
    while data:
        data = data[os.write(1, data):]
"""
# The session as it is, but for how long it waits: half a minute is too much for a test.
IMPATIENT = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from vscadmin.cli.shell_proxy import main
from vscadmin.proxy import ending
ending._STILL = ending._CANCEL = 0.5
main()
"""
BLOCKING = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD, signal.SIGTERM))
os.execv(sys.argv[1], sys.argv[1:])
"""


@contextmanager
def standing(agent: int) -> Iterator[None]:
    """Keep the agent from the processor, as a busy node does."""
    os.kill(agent, signal.SIGSTOP)
    eventually(psutil.Process(agent).status, lambda status: status == psutil.STATUS_STOPPED)
    yield
    os.kill(agent, signal.SIGCONT)


def terminate(shell: int, agent: int) -> None:
    """Signal all of the step at once, as Slurm does at the end of a job."""
    processes = [psutil.Process(pid) for pid in (agent, shell)]
    processes += eventually(processes[1].children, bool)
    with standing(agent):
        for process in processes:
            process.terminate()
        eventually(lambda: any(map(is_alive, processes[1:])), lambda is_one: not is_one)


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return False


class TestAllOfAStepIsSignalled:
    def test_the_shells_end_by_it_is_no_status_of_its_own(self, tmp_path: Path) -> None:
        with Step(login(tmp_path)) as step:
            step.start()
            step.send(b"echo $$ $PPID\n" + WAITING.encode())
            shell, agent = map(int, step.read_until(b"\n").split())
            terminate(shell, agent)
            with pytest.raises(AssertionError, match="the agent hung up"):
                step.frame(wire.EXIT)
            assert step.process.wait(10) == NO_BACKEND

    def test_the_session_says_why_the_job_ended(self, tmp_path: Path) -> None:
        slurm = SmallSlurm(tmp_path / "slurm")
        slurm.become("RUNNING")
        with Proxy(tmp_path, config=slurm.CONFIG, PATH=slurm.path) as proxy:
            pids = proxy.pids()
            proxy.send(WAITING)
            slurm.become("TIMEOUT")
            terminate(*pids)
            assert proxy.wait() == NO_BACKEND
            assert f"job {JOB} was ended by Slurm: its time was over" in proxy.stderr


def test_what_a_filter_still_has_of_the_shells_output_comes(tmp_path: Path) -> None:
    """It takes its time, but never as long as there would be nothing more to come."""
    filtering = "while read l; do echo got $l; case $l in *000) sleep 0.02 ;; esac; done"
    with Proxy(tmp_path) as proxy:
        assert proxy.run(f"exec > >({filtering}); seq {LINES}\n") == 0
        assert proxy.stdout.splitlines() == [b"got %d" % each for each in range(1, LINES + 1)]


@pytest.mark.parametrize("fd", [1, 2])
def test_a_client_that_stands_still_gets_what_the_launcher_holds(tmp_path: Path, fd: int) -> None:
    holder = tmp_path / "holder.py"
    holder.write_text(HOLDER)
    held = f"{sys.executable} {holder}"
    wrapper = {1: f'"$@" | {held}', 2: f'{{ "$@" 2>&1 >&3 | {held} >&2; }} 3>&1'}[fd]
    config = site(tmp_path, "sh", "-c", wrapper, "sh")
    impatient = (sys.executable, "-I", "-c", IMPATIENT)
    with Proxy(tmp_path, config=config, before=impatient) as proxy:
        shell, _ = proxy.pids()
        proxy.send(f"yes | head -c {SIZE} >&{fd}; exit 5\n")
        eventually(lambda: psutil.pid_exists(shell), lambda is_there: not is_there)
        time.sleep(1.5)  # for longer than the launcher may be silent, and then has to end
        assert proxy.wait() == 5
        assert (proxy.stdout if fd == 1 else proxy.stderr.encode()).count(b"y\n") == SIZE // 2


class TestPreparation:
    def test_an_interrupt_ends_it_without_a_trace(self, tmp_path: Path) -> None:
        began = tmp_path / "began"
        does = f"open({str(began)!r}, 'w').close(); time.sleep(1000)"
        with Proxy(tmp_path, config=preparing(tmp_path, does)) as proxy:
            eventually(began.exists, bool)
            os.killpg(proxy.process.pid, signal.SIGINT)  # as a terminal does
            assert proxy.wait() == 128 + signal.SIGINT
            assert (proxy.stdout, proxy.stderr) == (b"", "")

    def test_a_signal_that_ends_it_is_named(self, tmp_path: Path) -> None:
        config = preparing(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
        with Proxy(tmp_path, config=config) as proxy:
            assert proxy.wait() == NO_BACKEND
            words = "the session could not be prepared: killed by signal 9"
            assert proxy.stderr == f"vscode-shell-proxy: {words}\n"


def preparing(place: Path, does: str) -> str:
    """Return a proxy.toml with a site's plugin that does this."""
    lines = ("import os, signal, time", "from vscadmin.sites import hookimpl", "", "", "@hookimpl")
    hook = ("def wrap_launcher(request, command):", f"    {does}", "    return command", "")
    (place / "busy.py").write_text("\n".join(lines + hook))
    return f'{SHELL}plugins = ["busy"]\nplugin_dirs = ["{place}"]\n'


class Halved(Proxy):
    """A session whose client may let go of stderr alone."""

    def unread(self) -> int:
        """Return how many bytes of stderr wait for us."""
        count = array.array("i", [0])
        fcntl.ioctl(self._stderr, termios.FIONREAD, count)
        return count[0]

    def drop_stderr(self) -> None:
        os.close(self._stderr)
        self._open.remove(self._stderr)
        self._stderr = -1


def test_a_shell_goes_on_whose_stderr_nobody_reads_any_more(tmp_path: Path) -> None:
    with Halved(tmp_path) as proxy:
        proxy.pids()
        proxy.send(f"head -c {SIZE} /dev/zero >&2; echo done\n")
        eventually(proxy.unread, lambda count: count >= PIPE)
        time.sleep(0.3)  # for all before it to be full as well
        proxy.drop_stderr()
        proxy.expect(b"done\n")
        proxy.send("exit 4\n")
        proxy.close_stdin()
        assert proxy.wait() == 4


class TestSignalsThatWereBlocked:
    """As whoever started us had them: a mask outlives exec(2)."""

    def test_the_end_of_the_shell_is_noticed(self, tmp_path: Path) -> None:
        with Proxy(tmp_path, before=(sys.executable, "-I", "-c", BLOCKING)) as proxy:
            assert proxy.run("exit 3\n") == 3

    def test_a_session_can_be_ended(self, tmp_path: Path) -> None:
        with Proxy(tmp_path, before=(sys.executable, "-I", "-c", BLOCKING)) as proxy:
            proxy.pids()
            proxy.process.terminate()
            assert proxy.wait() == 128 + signal.SIGTERM
