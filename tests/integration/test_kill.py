"""Signals reach whoever was checked, and nobody else; what was stopped goes on."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

import pytest

from tests.integration import pid_reuse
from tests.integration.ending import compiled, planted, states
from tests.integration.vscode.fixtures import EditorUser
from tests.run import eventually
from vscadmin.cleanup.freeze import Postponed, Standstill, resume, standstill
from vscadmin.cleanup.kill import Members, Outcome, Who, read_table, send, thread_states, who_is
from vscadmin.deadline import within
from vscadmin.model import ProcessKey, Uids
from vscadmin.procs.scan import read_process, read_processes

HERE = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def fake_node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("node"))


@contextmanager
def running(*argv: str) -> Iterator[tuple[subprocess.Popen[bytes], ProcessKey, Who]]:
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as process:
        try:
            eventually(
                lambda: read_process(process.pid),
                lambda seen: seen.argv[-1:] == (argv[-1].encode(),) and seen.state == "S",
            )
            who = who_is(process.pid)
            assert who is not None
            yield process, ProcessKey(process.pid, who.start_ticks), who
        finally:
            process.kill()


def state(pid: int) -> str:
    return read_process(pid).state


def test_a_signal_reaches_whoever_was_checked() -> None:
    with running("sleep", "600") as (process, key, who):
        assert send(key, who, signal.SIGTERM) is Outcome.DONE
        assert process.wait(5) == -signal.SIGTERM


def test_whoever_has_ended_is_gone() -> None:
    with running("sleep", "600") as (process, key, who):
        process.kill()
        eventually(lambda: state(process.pid), lambda found: found == "Z")
        assert send(key, who, signal.SIGTERM) is Outcome.GONE
        process.wait(5)
        assert send(key, who, signal.SIGTERM) is Outcome.GONE


@pytest.fixture(scope="module")
def reused(root: None) -> dict[str, list[str]]:
    inside = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    argv = [
        *inside,
        sys.executable,
        pid_reuse.__file__,
    ]
    env = {**os.environ, "PYTHONPATH": str(HERE)}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=env)
    assert done.stdout, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("moment", "outcome"),
    [
        (pid_reuse.before_the_pin, "gone"),
        (pid_reuse.between_check_and_signal, "gone"),
        (pid_reuse.before_a_standstill, "0"),
        (pid_reuse.in_a_standstill, "0"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_whoever_takes_over_a_pid_is_never_signalled(
    reused: dict[str, list[str]], moment: object, outcome: str
) -> None:
    assert reused[getattr(moment, "__name__", "")] == [outcome, "S"]


def test_whoever_runs_another_program_by_now_is_left_alone() -> None:
    with running("sh", "-c", "read _; exec sleep 600") as (process, key, who):
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        eventually(
            lambda: read_process(key.pid),
            lambda seen: seen.argv[:1] == (b"sleep",) and seen.state == "S",
        )
        assert send(key, who, signal.SIGTERM) is Outcome.CHANGED
        with Members(os.getuid(), [key], {key: who}) as members:
            assert not members.hold(key)
            assert members.refused == {key: Outcome.CHANGED}
        assert state(key.pid) == "S"


def test_a_program_that_an_update_replaced_is_the_same(tmp_path: Path) -> None:
    program = tmp_path / "node"
    shutil.copy("/bin/sleep", program)
    with running(str(program), "600") as (process, key, who):
        program.unlink()
        shutil.copy("/bin/sleep", program)
        now = who_is(key.pid)
        assert now is not None
        assert now.exe.endswith(b" (deleted)")
        assert send(key, who, signal.SIGTERM) is Outcome.DONE
        assert process.wait(5) == -signal.SIGTERM


def test_what_is_not_wholly_the_owners_is_foreign() -> None:
    with running("sleep", "600") as (_, key, who), Members(os.getuid() + 1, [key]) as members:
        assert not members.hold(key)
        assert members.refused == {key: Outcome.FOREIGN}
        assert send(key, who._replace(uids=Uids(0, 0, 0, 4711)), signal.SIGTERM) is Outcome.CHANGED


def test_ourselves_and_our_ancestors_are_never_members() -> None:
    table = read_table()
    above = [os.getpid()]
    while above[-1] in table and table[above[-1]].ppid:
        above.append(table[above[-1]].ppid)
    keys = [table[pid].key for pid in above if pid in table]
    with running("sleep", "600") as (process, key, _), Members(os.getuid(), keys) as members:
        found = {each.pid for each in members.find()}
        assert process.pid in found
        assert found.isdisjoint(above)
        assert key in members.known


def test_the_table_without_command_lines_is_the_same_table() -> None:
    with running("sleep", "600") as (process, _, _):
        whole = read_processes()[0][process.pid]
        assert read_table()[process.pid] == whole._replace(argv=(), rss=0)


def test_a_process_whose_first_thread_has_ended_can_be_signalled(
    vscode_user: EditorUser, fake_node: Path
) -> None:
    with planted(vscode_user, node=fake_node, THREAD=1) as tree:
        (node,) = (each for each in tree.members(2).members if each.pid != tree.key.pid)
        eventually(lambda: state(node.pid), lambda found: found == "Z")
        who = who_is(node.pid)
        assert who is not None
        assert who.exe.endswith(b"/node")
        with Members(vscode_user.uid, [node.key]) as members:
            assert members.hold(node.key)
            assert members.living() == {node.key}
            assert members.signal(node.key, signal.SIGKILL) is Outcome.DONE
            eventually(members.living, lambda living: not living)


@contextmanager
def at_standstill(uid: int, keys: Iterable[ProcessKey]) -> Iterator[Standstill]:
    with Members(uid, keys) as members, standstill(members) as still:
        yield still


class WeAreToldError(Exception):
    """Raised by a handler of ours, as a deadline's."""


class TestStandstill:
    def test_all_stand_still_and_then_go_on(self, vscode_user: EditorUser, fake_node: Path) -> None:
        with planted(vscode_user, node=fake_node, WIDTH=3, DEPTH=2) as tree:
            keys = {each.key for each in tree.members(14).members}
            with at_standstill(vscode_user.uid, [tree.key]) as still:
                assert still.stopped.keys() == keys
                assert set(states(tree).values()) == {"T"}
            assert "T" not in states(tree).values()

    def test_whatever_happens_they_go_on(self, vscode_user: EditorUser, fake_node: Path) -> None:
        def fail() -> None:
            with at_standstill(vscode_user.uid, [tree.key]):
                raise ZeroDivisionError

        with planted(vscode_user, node=fake_node, WIDTH=3, DEPTH=2) as tree:
            tree.members(14)
            with pytest.raises(ZeroDivisionError):
                fail()
            assert len(states(tree)) == 14
            assert "T" not in states(tree).values()

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGALRM])
    def test_what_is_to_end_us_waits_until_they_go_on(self, signum: signal.Signals) -> None:
        def tell(_signum: int, _frame: object) -> None:
            seen.append(state(key.pid))
            raise WeAreToldError

        def stand() -> None:
            with at_standstill(os.getuid(), [key]) as still:
                os.kill(os.getpid(), signum)
                assert still.was_interrupted
                assert state(key.pid) == "T"

        seen: list[str] = []
        before = signal.signal(signum, tell)
        try:
            with running("sleep", "600") as (_, key, _), pytest.raises(WeAreToldError):
                stand()
        finally:
            assert signal.signal(signum, before) is tell
        assert seen != ["T"]

    def test_nobody_is_stopped_once_we_are_told_to_end(self) -> None:
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            with running("sleep", "600") as (_, key, _), Members(os.getuid(), [key]) as members:
                with Postponed() as postponed:
                    os.kill(os.getpid(), signal.SIGTERM)
                    still = Standstill(members, postponed)
                    still.stop()
                assert still.stopped == {}
        finally:
            signal.signal(signal.SIGTERM, before)

    def test_more_members_than_files_may_be_open(
        self, vscode_user: EditorUser, fake_node: Path
    ) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        try:
            with planted(vscode_user, node=fake_node, WIDTH=99, DEPTH=1) as tree:
                tree.members(101)
                with at_standstill(vscode_user.uid, [tree.key]) as still:
                    assert still.send(signal.SIGKILL) == 101
                assert tree.is_gone()
                assert resource.getrlimit(resource.RLIMIT_NOFILE) == (64, hard)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_a_killed_run_left_stopped_goes_on(vscode_user: EditorUser, fake_node: Path) -> None:
    with planted(vscode_user, node=fake_node, WIDTH=3, DEPTH=2) as tree:
        keys = [each.key for each in tree.members(14).members]
        pid = os.fork()
        if pid == 0:
            with at_standstill(vscode_user.uid, keys):
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        eventually(lambda: set(states(tree).values()), lambda found: found == {"T"})
        assert set(resume(keys[:1], vscode_user.uid)) == set(keys)
        assert "T" not in states(tree).values()
        assert resume(keys, vscode_user.uid) == ()


def test_whoever_took_over_a_pid_is_not_continued() -> None:
    with running("sleep", "600") as (process, key, _):
        process.send_signal(signal.SIGSTOP)
        eventually(lambda: state(key.pid), lambda found: found == "T")
        assert resume([ProcessKey(key.pid, key.start_ticks - 1)], os.getuid()) == ()
        assert state(key.pid) == "T"
        assert resume([key], os.getuid()) == (key,)


def test_what_another_user_stopped_stays_stopped(vscode_user: EditorUser) -> None:
    """We never stopped it: it is not wholly the owner's."""
    with running("sleep", "600") as (process, key, _):
        process.send_signal(signal.SIGSTOP)
        eventually(lambda: state(key.pid), lambda found: found == "T")
        assert resume([key], os.getuid() + 1) == ()
        assert state(key.pid) == "T"


def test_a_process_whose_first_thread_has_ended_goes_on_too(
    vscode_user: EditorUser, fake_node: Path
) -> None:
    """It looks like a zombie, and its other threads stand."""
    with planted(vscode_user, node=fake_node, THREAD=1) as tree:
        keys = [each.key for each in tree.members(2).members]
        (node,) = (key for key in keys if key != tree.key)
        try:
            eventually(lambda: state(node.pid), lambda found: found == "Z")
            for key in keys:
                os.kill(key.pid, signal.SIGSTOP)
            eventually(lambda: thread_states(node.pid), lambda found: "T" in found)
            assert set(resume(keys, vscode_user.uid)) == set(keys)
            assert "T" not in thread_states(node.pid)
        finally:
            os.kill(node.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "signum",
    [signal.SIGTERM, signal.SIGUSR1, signal.SIGXCPU, signal.SIGPWR, signal.SIGIO, signal.SIGRTMIN],
)
def test_whatever_would_end_us_waits(signum: signal.Signals) -> None:
    heard: list[int] = []
    before = signal.signal(signum, lambda number, _frame: heard.append(number))
    try:
        with Postponed() as postponed:
            signal.raise_signal(signum)
            assert (postponed.came, heard) == ([signum], [])
        assert heard == [signum]
    finally:
        signal.signal(signum, before)


@pytest.mark.parametrize("hanging", [False, True])
def test_an_alarm_at_any_moment_of_postponing_leaves_the_handlers_as_they_were(
    hanging: bool,
) -> None:
    """It may come between two of them, and its own handler raises.

    A thread that waits for a file server takes no alarm, else ours would hear of it though it
    lets none in. In a process of its own: here other threads may be.
    """
    script = f"from tests.integration.test_kill import ring; ring({hanging})"
    subprocess.run([sys.executable, "-c", script], cwd=HERE, timeout=60, check=True)


def ring(hanging: bool) -> None:
    """Let alarms come at all moments at which signals are kept out; *hanging*: beside a thread."""
    if hanging:
        with suppress(TimeoutError):
            within(0.01, Event().wait)

    def tell(_signum: int, _frame: object) -> None:
        raise WeAreToldError

    def handlers() -> list[object]:
        return [signal.getsignal(signum) for signum in sorted(signal.valid_signals())]

    raised, alarm = 0, signal.signal(signal.SIGALRM, tell)
    before = handlers()
    try:
        for fifths in range(1, 1500):
            try:
                signal.setitimer(signal.ITIMER_REAL, fifths / 5e6)
                with Postponed():
                    pass
                within(10, int)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except WeAreToldError:
                raised += 1
            assert handlers() == before
            assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, alarm)
    assert raised


def test_what_runs_in_another_pid_namespace_is_never_pinned(root: None) -> None:
    inside = ("unshare", "--pid", "--fork", "--kill-child", "sleep", "600")
    with running(*inside) as (_, key, _), Members(os.getuid(), [key]) as members:
        found = eventually(members.find, lambda seen: len(seen) == 2)
        (below,) = (each.key for each in found if each.key != key)
        eventually(lambda: members.hold(below), lambda held: not held)
        assert members.hold(key)
        assert members.refused == {below: Outcome.ELSEWHERE}
