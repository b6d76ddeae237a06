"""The agent and its shell, started by the real boot script on this machine."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.step import KEY, MARK, Step, login
from tests.run import eventually
from vscadmin.proxy import boot, wire
from vscadmin.proxy.link import tcp, unix

CONTROL = wire.greeting(wire.CONTROL)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def test_the_shells_status_comes_back(home: Path) -> None:
    with Step(login(home)) as step:
        assert step.run(b"echo out; echo err >&2; exit 7\n") == (7, b"out\n", b"err\n")
    assert step.process.returncode == 7


def test_a_shell_that_a_signal_ends_has_128_and_its_number(home: Path) -> None:
    with Step(login(home)) as step:
        assert step.run(b"kill -9 $$\n")[0] == 137


def test_every_byte_passes_as_it_is(home: Path) -> None:
    every = bytes(range(256)) * 300
    with Step(login(home)) as step:
        step.start()
        step.send(b"head -c %d; echo; echo end\n" % len(every))
        step.send(every)
        assert step.read_until(b"\nend\n") == every + b"\nend\n"
        step.close_stdin()
        step.frame(wire.EXIT)


def test_a_prompt_without_a_newline_comes_at_once(home: Path) -> None:
    with Step(login(home)) as step:
        step.start()
        step.send(b"printf 'login01$ '; read -r answer; echo \"<$answer>\"\n")
        assert step.read_until(b"$ ") == b"login01$ "
        step.send(b"yes\n")
        assert step.read_until(b">\n") == b"<yes>\n"
        step.close_stdin()
        step.frame(wire.EXIT)


def test_a_profile_may_print_and_read_as_it_likes(home: Path) -> None:
    (home / ".bash_profile").write_text(
        "echo welcome; cat; read -r x; export FROM_PROFILE=yes; umask 027; cd /tmp\n"
    )
    with Step(login(home)) as step:
        status, out, err = step.run(b"echo $FROM_PROFILE; umask; pwd\n")
    assert (status, out) == (0, b"yes\n0027\n/tmp\n")
    assert err == b"welcome\n"


def test_a_profile_that_becomes_another_shell_is_gone_without(home: Path) -> None:
    """Where chsh is not allowed, users write `exec zsh` into their profile."""
    (home / ".bash_profile").write_text("exec sh\n")
    with Step(login(home)) as step:
        status, out, _ = step.run(b"echo here; exit 3\n")
        assert (status, out) == (3, b"here\n")
        assert b"going on without it" in step.frame(wire.SAY)


def test_a_profile_that_fails_does_no_harm(home: Path) -> None:
    (home / ".bash_profile").write_text("exit 5\n")
    with Step(login(home)) as step:
        assert step.run(b"echo here\n")[:2] == (0, b"here\n")


def test_what_srun_leaves_behind_is_gone_and_the_job_gets_what_it_should(home: Path) -> None:
    left = {"SLURM_MPI_TYPE": "none", "SLURM_CPU_BIND": "none", "SLURM_CPU_BIND_TYPE": "none"}
    environment = login(home, DISPLAY="login1:10", SLURM_JOB_ID="7", lower="case", **left)
    wanted = {"DISPLAY": None, "SET": "it's $here", "lower": "other"}
    with Step(environment, wanted=wanted) as step:
        _, out, _ = step.run(b"env\n")
    seen = dict(line.split("=", 1) for line in out.decode().splitlines() if "=" in line)
    assert not {"SLURM_MPI_TYPE", "SLURM_CPU_BIND", "SLURM_CPU_BIND_TYPE", "DISPLAY"} & set(seen)
    assert (seen["SET"], seen["lower"], seen["SLURM_JOB_ID"]) == ("it's $here", "other", "7")
    assert {"HOME", "USER", "LOGNAME", "SHELL"} <= set(seen)


def test_without_a_home_and_a_user_they_come_from_passwd() -> None:
    with Step({"PATH": os.environ["PATH"]}) as step:
        _, out, _ = step.run(b"echo $HOME $USER $LOGNAME\n")
    assert out.split()[1:] == [b"root", b"root"] or os.getuid() != 0
    assert len(out.split()) == 3


def test_the_shell_runs_in_what_wraps_it(home: Path) -> None:
    wrap = ["env", "WRAPPED=it's so", "nice"]
    with Step(login(home), prefix=wrap) as step:
        assert step.run(b"echo $WRAPPED; exit 4\n")[:2] == (4, b"it's so\n")


def test_a_background_process_that_holds_stdout_does_not_hold_up_the_end(home: Path) -> None:
    """By how much it delays it is compared in test_session."""
    with Step(login(home)) as step:
        step.start()
        step.send(b"echo ready\n")
        step.read_until(b"ready\n")
        begin = time.monotonic()
        step.send(b"sleep 1000 & exit 0\n")
        step.frame(wire.EXIT)
        assert step.process.wait(5) == 0
        assert time.monotonic() - begin < 5


def test_nothing_of_the_shell_outlives_the_control_connection(home: Path) -> None:
    with Step(login(home)) as step:
        step.start()
        step.send(b"sleep 1000 & (trap '' TERM HUP; sleep 1000) & echo $$ $!; wait\n")
        pids = [int(pid) for pid in step.read_until(b"\n").split()]
        assert step.control is not None
        step.control.close()
        eventually(lambda: [pid for pid in pids if _is_there(pid)], lambda left: not left, 5)
        step.control = None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_agent_ends_the_shell(home: Path, number: int) -> None:
    with Step(login(home)) as step:
        step.start()
        step.send(b"echo $$ $PPID; sleep 1000\n")
        shell, agent = (int(pid) for pid in step.read_until(b"\n").split())
        os.kill(agent, number)
        eventually(lambda: _is_there(shell), lambda there: not there, 5)
        assert step.process.wait(5) == 69


def test_a_cancel_that_works_is_not_ended_by_the_end_that_it_brings(
    home: Path, tmp_path: Path
) -> None:
    """Slurm signals all of the step, and what runs in it for us is told before it is done."""
    called, scancel = tmp_path / "called", tmp_path / "scancel"
    scancel.write_text(f"#!/bin/sh\nkill -TERM $$\necho done >>{called}\n")
    scancel.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    with Step(login(home, PATH=path, SLURM_JOB_ID="4711"), scancel=True) as step:
        step.start()
        assert step.control is not None
        step.control.close()
        step.control = None
        step.process.wait(10)
    assert called.read_text() == "done\n"


def test_end_of_stdin_ends_nothing_by_itself(home: Path) -> None:
    with Step(login(home)) as step:
        status, out, _ = step.run(b"sleep 0.3; cat; echo later\n")
    assert (status, out) == (0, b"later\n")


def test_a_connection_is_carried_to_the_backend_and_half_closed(home: Path) -> None:
    with Step(login(home)) as step, socket.create_server(("127.0.0.1", 0)) as server:
        step.start()
        step.say(wire.OPEN, b"A" * 8 + bytes(tcp(*server.getsockname())))
        backend = server.accept()[0]
        said, client = step.accept()
        assert (said.kind, said.ident) == (wire.DATA, b"A" * 8)
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert backend.recv(100) == b"question"
        assert backend.recv(100) == b""
        backend.sendall(b"reply after your end")
        backend.close()
        assert client.recv(100) == b"reply after your end"
        assert client.recv(100) == b""
        client.close()


def test_a_unix_socket_that_listens_a_moment_later_is_reached(home: Path) -> None:
    path = home / "code-socket"
    with Step(login(home)) as step, socket.socket(socket.AF_UNIX) as server:
        step.start()
        step.say(wire.OPEN, b"B" * 8 + bytes(unix(bytes(path))))
        time.sleep(0.2)
        server.bind(str(path))
        server.listen()
        backend = server.accept()[0]
        _, client = step.accept()
        backend.sendall(b"hi")
        assert client.recv(10) == b"hi"
        client.close()
        backend.close()


def test_a_backend_that_died_is_said_with_its_name(home: Path) -> None:
    with Step(login(home)) as step:
        step.start()
        with socket.create_server(("127.0.0.1", 0)) as server:
            backend = bytes(tcp(*server.getsockname()))
            step.say(wire.OPEN, b"C" * 8 + backend)
            server.accept()[0].close()
            step.accept()[1].close()
        step.say(wire.OPEN, b"D" * 8 + backend)
        failed = step.frame(wire.FAILED)
        assert failed[:8] == b"D" * 8
        assert failed.endswith(b"does not listen any more")


def test_a_forwarded_socket_leads_back_to_the_proxy(home: Path) -> None:
    with Step(login(home), forwards=("SSH_AUTH_SOCK",)) as step:
        step.start()
        step.send(b"echo $SSH_AUTH_SOCK\n")
        path = Path(step.read_until(b"\n").decode().strip())
        assert path.parent.stat().st_mode & 0o777 == 0o700
        with socket.socket(socket.AF_UNIX) as program:
            program.connect(str(path))
            number, index = wire.read_numbers(step.frame(wire.WANT))
            assert index == 0
            step.say(wire.GO, b"E" * 8 + wire.numbers(number, 0))
            said, ours = step.accept()
            assert said.ident == b"E" * 8
            program.sendall(b"list keys")
            assert ours.recv(100) == b"list keys"
            ours.close()
        step.close_stdin()
        step.frame(wire.EXIT)
        step.process.wait(5)
        assert not path.parent.exists()


def test_a_forward_without_another_end_is_closed(home: Path) -> None:
    with Step(login(home), forwards=("SSH_AUTH_SOCK",)) as step:
        step.start()
        step.send(b"echo $SSH_AUTH_SOCK\n")
        path = step.read_until(b"\n").decode().strip()
        with socket.socket(socket.AF_UNIX) as program:
            program.connect(path)
            program.settimeout(5)
            step.say(wire.GONE, step.frame(wire.WANT))
            assert program.recv(1) == b""


def test_an_agent_that_nobody_answers_rightly_starts_no_shell(home: Path) -> None:
    """Who has the port but not the key gets nothing."""
    (home / ".bash_profile").write_text("touch $HOME/started\n")
    with Step(login(home)) as step:
        step.hello()
        order = {"key": KEY, "mark": "0" * 32, "address": "127.0.0.1", "environment": {}}
        order |= {"port": step.listener.getsockname()[1], "shell": (), "forwards": ()}
        step.send(boot.agent_source({**order, "scancel": False}))
        impostor = step.listener.accept()[0]
        impostor.sendall(bytes(32))
        assert b"not the proxy" in step.stderr()
        assert step.process.wait(5) == 69
        impostor.close()
    assert not (home / "started").exists()


def test_strangers_do_not_hold_up_the_proxy_that_dials(home: Path) -> None:
    """In direct mode the agent listens: more of them than it keeps, and all of them slow."""
    with Step(login(home)) as step, ExitStack() as strangers:
        hello = step.hello()
        order = {"key": KEY, "mark": MARK, "address": "127.0.0.1", "port": 0, "environment": {}}
        order |= {"shell": (), "forwards": (), "scancel": False}
        step.send(boot.agent_source(order, hello.python))
        port = int(step.read_until(b"\n").split()[-1])
        for said in (b"", b"GET", bytes(wire.GREETING_SIZE), wire.greet(b"x" * 32, CONTROL)) * 6:
            stranger = strangers.enter_context(socket.create_connection(("127.0.0.1", port)))
            stranger.sendall(said)
        strangers.enter_context(socket.create_connection(("127.0.0.1", port))).close()
        step.control = socket.create_connection(("127.0.0.1", port), 5)
        step.control.sendall(wire.greet(KEY, CONTROL))
        assert wire.is_answer(KEY, CONTROL, step.control.recv(wire.PROOF_SIZE, socket.MSG_WAITALL))
        step.send(b"exit 6\n")
        assert wire.read_exit(step.frame(wire.EXIT))[0] == 6


def test_a_hello_without_an_answer_ends_with_stdin(home: Path) -> None:
    """BOOT must not stay behind where the proxy died before it answered."""
    with Step(login(home)) as step:
        step.hello()
        step.close_stdin()
        assert step.process.wait(5) == 69


def _is_there(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def test_a_bug_of_the_agent_goes_over_control_and_not_to_the_users_stderr(home: Path) -> None:
    with Step(login(home), shell=7) as step:  # noqa: S604 - what no proxy orders
        step.start()
        assert b"TypeError" in step.frame(wire.BUG)
        assert step.process.wait(10) == 1
        assert step.stderr() == b""


def test_what_no_proxy_says_ends_the_agent(home: Path) -> None:
    with Step(login(home)) as step:
        step.start()
        step.say(wire.OPEN, b"F" * 8 + b"unix:" + b"x" * 200 + b"\0y")
        assert step.frame(wire.FAILED)[:8] == b"F" * 8
        step.say(wire.GO, b"G" * 8)  # without its number
        assert step.process.wait(10) == 69
        assert b"Traceback" not in step.stderr()
