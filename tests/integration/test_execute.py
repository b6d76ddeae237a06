"""A tree is ended whole or spared whole, and nothing of it stays stopped."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import CATALOGUE, COMMIT
from tests.integration.ending import (
    READY,
    Planted,
    Told,
    compiled,
    eyes,
    find,
    nothing,
    order,
    planted,
    states,
)
from tests.integration.vscode.fixtures import EditorUser
from tests.run import eventually
from vscadmin.cleanup.execute import Ended, Fresh, Step, terminate
from vscadmin.cleanup.freeze import resume
from vscadmin.cleanup.records import Result
from vscadmin.errors import ProcessTableError, TimeOverError
from vscadmin.model import Process, ProcessKey
from vscadmin.procs.scan import read_process

STUBBORN = f"trap '' TERM; {READY}\n"
FREEZER = Path("/sys/fs/cgroup/freezer")


@pytest.fixture(scope="module")
def fake_node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("node"))


def ended(tree: Planted, told: Told = nothing, **facts: Any) -> Ended:
    """End *tree*, with *facts* of the order."""
    return terminate(order(tree.key, **facts), eyes(tree.key, told))


def node_of(tree: Planted) -> Process:
    """Return the main process of the lookalike, below the launcher."""
    return next(each for each in tree.members(2).members if each.ppid == tree.key.pid)


def at(step: Step, act: Callable[[], object]) -> Told:
    """Return what acts once, when *step* is first reached."""
    steps: list[Step] = []

    def told(seen: Step, _: tuple[ProcessKey, ...]) -> None:
        steps.append(seen)
        if seen is step and steps.count(step) == 1:
            act()

    return told


def test_what_ends_when_asked_is_not_killed(vscode_user: EditorUser) -> None:
    with planted(vscode_user) as tree:
        tree.members(2)
        done = ended(tree)
        assert (done.result, done.asked, done.killed, done.words) == (Result.ENDED, 2, 0, ())
        assert tree.is_gone()


def test_what_ignores_sigterm_is_killed(vscode_user: EditorUser) -> None:
    with planted(vscode_user, STUBBORN) as tree:
        tree.members(2)
        done = ended(tree)
        assert (done.result, done.asked, done.killed) == (Result.ENDED, 2, 1)
        assert tree.is_gone()


@pytest.mark.parametrize("run", range(20))
def test_a_thousand_processes_that_fork_while_they_die_leave_nobody(
    vscode_user: EditorUser, fake_node: Path, run: int
) -> None:
    churn = {"CHURN": 15_000}
    kinds: list[dict[str, Any]] = [{}, {"IGNORE": 1}, churn, {"IGNORE": 1, **churn}]
    kind = kinds[run % len(kinds)]
    with planted(vscode_user, node=fake_node, WIDTH=31, DEPTH=2, RESPAWN=1, **kind) as tree:
        tree.members(700)
        done = ended(tree)
        assert (done.result, done.survivors) == (Result.ENDED, ())
        assert done.asked > 700
        assert tree.is_gone(), states(tree)


def test_what_forks_when_it_is_asked_to_end_leaves_nobody(
    vscode_user: EditorUser, fake_node: Path
) -> None:
    with planted(vscode_user, node=fake_node, WIDTH=3, DEPTH=2, HANDLER=1) as tree:
        tree.members(14)
        done = ended(tree, term_wait=5)
        assert (done.result, done.asked, done.killed) == (Result.ENDED, 14, 13)
        assert tree.is_gone()


def test_what_is_in_the_kernel_for_good_is_reported(root: None, vscode_user: EditorUser) -> None:
    with planted(vscode_user) as tree:
        node = node_of(tree)
        with frozen(node.pid):
            done = ended(tree, kill_wait=0.5)
            assert (done.result, done.survivors) == (Result.SURVIVORS, (node.key,))
            (words,) = done.words
            assert words.endswith("waits in the kernel (state D): cannot be killed now")
        assert tree.is_gone()


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Keep a process in state D by the freezer of cgroup v1."""
    if not (FREEZER / "cgroup.procs").exists():
        pytest.skip("needs the freezer of cgroup v1")
    group = FREEZER / f"vscadmin-{os.urandom(4).hex()}"
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / "freezer.state").write_text("FROZEN")
        eventually(lambda: read_process(pid).state, lambda state: state == "D")
        yield
    finally:
        (group / "freezer.state").write_text("THAWED")
        eventually((group / "cgroup.procs").read_text, lambda pids: str(pid) not in pids.split())
        group.rmdir()


@contextlib.contextmanager
def in_a_job(pid: int, job: int) -> Iterator[None]:
    """Keep a process in a cgroup as Slurm makes them with cgroup v1."""
    if not (FREEZER / "cgroup.procs").exists():
        pytest.skip("needs the freezer of cgroup v1")
    place = FREEZER / f"slurm_{os.urandom(4).hex()}" / "uid_1001" / f"job_{job}"
    place.mkdir(parents=True)
    try:
        (place / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for each in (place / "cgroup.procs").read_text().split():
            (FREEZER / "cgroup.procs").write_text(each)
        for group in (place, *place.parents[:2]):
            group.rmdir()


def test_a_zombie_is_no_survivor(vscode_user: EditorUser) -> None:
    """Its parent ignores SIGTERM and never waits for it."""
    with planted(vscode_user, STUBBORN + "true & exec sleep 600") as tree:
        eventually(lambda: [m.state for m in tree.members(3).members], lambda seen: "Z" in seen)
        assert "Z" in [each.state for each in tree.members(3).members]
        done = ended(tree)
        assert (done.result, done.killed, done.words) == (Result.ENDED, 1, ())
        assert tree.is_gone()


def test_a_process_whose_first_thread_has_ended_is_ended(
    vscode_user: EditorUser, fake_node: Path
) -> None:
    with planted(vscode_user, node=fake_node, THREAD=1) as tree:
        tree.members(2)
        done = ended(tree)
        assert (done.result, done.asked) == (Result.ENDED, 2)
        assert tree.is_gone()


def test_a_root_process_in_the_tree_is_left_and_reported(
    root: None, vscode_user: EditorUser, fake_node: Path
) -> None:
    """As after `sudo -i` in the editor's terminal."""
    tool = vscode_user.home / "sudo"
    shutil.copy(fake_node, tool)
    tool.chmod(0o4755)
    with planted(vscode_user, node=fake_node, TOOL=tool) as tree:
        (alien,) = eventually(lambda: tree.members(3).foreign, bool)
        done = ended(tree)
        words = f"pid {alien.pid} ({tool}) runs as uid 0: left alone"
        assert (done.result, done.asked, done.words) == (Result.ENDED, 2, (words,))
        assert list(states(tree).values()) == ["S"]


def test_a_stopped_process_hears_that_it_is_to_end(vscode_user: EditorUser) -> None:
    body = f"trap 'echo bye >{{home}}/bye; exit' TERM; {READY}; while :; do sleep 0.02; done"
    with planted(vscode_user, body) as tree:
        (tree.folder / "bye").touch()
        os.chown(tree.folder / "bye", vscode_user.uid, vscode_user.gid)
        node = node_of(tree)
        os.kill(node.pid, signal.SIGSTOP)
        eventually(lambda: read_process(node.pid).state, lambda state: state == "T")
        assert ended(tree, term_wait=5).killed == 0
        assert tree.is_gone()
        assert (tree.folder / "bye").read_text() == "bye\n"


def test_a_server_that_an_update_replaced_is_ended(vscode_user: EditorUser) -> None:
    with planted(vscode_user, STUBBORN) as tree:
        tree.members(2)
        program = next(tree.folder.rglob("node"))

        def update() -> None:
            program.unlink()
            shutil.copy("/bin/sh", program)

        done = ended(tree, at(Step.STOPPING, update))
        assert (done.result, done.asked, done.killed) == (Result.ENDED, 2, 1)
        assert tree.is_gone()


def test_a_process_that_ends_by_itself_meanwhile_is_nothing(vscode_user: EditorUser) -> None:
    with planted(vscode_user, STUBBORN) as tree:
        node = node_of(tree)

        def leave() -> None:
            os.kill(node.pid, signal.SIGKILL)
            eventually(lambda: node.pid in states(tree), lambda lives: not lives)

        done = ended(tree, at(Step.STOPPING, leave))
        assert done.result in (Result.ENDED, Result.GONE)
        assert (done.survivors, done.killed) == ((), 0)


def test_a_process_that_became_another_program_meanwhile_is_left(vscode_user: EditorUser) -> None:
    with planted(vscode_user, STUBBORN + "read _ < {home}/fifo; exec sleep 600\n") as tree:
        node = node_of(tree)

        def change() -> None:
            (tree.folder / "fifo").write_text("\n")
            eventually(lambda: read_process(node.pid).argv[:1], lambda name: name == (b"sleep",))

        done = ended(tree, at(Step.STOPPING, change))
        assert (done.result, done.survivors, done.killed) == (Result.SURVIVORS, (node.key,), 0)
        assert done.words[0].endswith("runs another program now: not signalled")
        assert states(tree) == {node.pid: "S"}


def test_a_process_that_became_roots_between_check_and_stop_gets_no_signal(
    root: None, vscode_user: EditorUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `sudo` typed into the editor's terminal at that moment."""
    tool = vscode_user.home / "sudo"
    shutil.copy("/bin/sleep", tool)
    tool.chmod(0o4755)
    with planted(vscode_user, f"read _ <{{home}}/fifo; exec {tool} 600\n") as tree:
        node = node_of(tree)
        send = signal.pidfd_send_signal

        def late(pin: int, signum: int) -> None:
            is_ours = f"Pid:\t{node.pid}\n" in Path(f"/proc/self/fdinfo/{pin}").read_text()
            if is_ours and signum == signal.SIGSTOP and read_process(node.pid).uid:
                (tree.folder / "fifo").write_text("\n")
                eventually(lambda: read_process(node.pid).uid, lambda uid: uid == 0)
            send(pin, signum)

        monkeypatch.setattr(signal, "pidfd_send_signal", late)
        done = ended(tree)
        assert (done.result, done.asked, done.killed) == (Result.ENDED, 1, 0)
        (words,) = done.words
        assert words.startswith(f"pid {node.pid} (")
        assert words.endswith(") runs as uid 0: left alone")
        assert states(tree) == {node.pid: "S"}


def test_neighbours_are_not_touched(vscode_user: EditorUser) -> None:
    with planted(vscode_user) as neighbour, planted(vscode_user, STUBBORN) as tree:
        before = {each.key for each in neighbour.members(2).members}
        tree.members(2)
        assert ended(tree).result is Result.ENDED
        assert {each.key for each in neighbour.members(2).members} == before
        assert set(states(neighbour).values()) == {"S"}


def test_a_job_of_the_same_shell_lives_on(vscode_user: EditorUser) -> None:
    """It shares session and process group with the server, and has lost its parent."""
    shell = ("sh", "-c", '(sleep 600 &); exec "$@"', "-")
    with planted(vscode_user, STUBBORN, *shell) as tree:
        members = {each.pid for each in tree.members(2).members}
        (job,) = eventually(lambda: states(tree).keys() - members, bool)
        assert os.getsid(job) == os.getsid(tree.key.pid)
        assert os.getpgid(job) == os.getpgid(tree.key.pid)
        done = ended(tree)
        assert (done.result, done.asked) == (Result.ENDED, 2)
        assert states(tree) == {job: "S"}


class TestSpared:
    def serving(self, user: EditorUser, node: Path) -> contextlib.AbstractContextManager[Planted]:
        """Return a tree that serves on TCP, ignores SIGTERM and has a child."""
        place = user.home / "port"
        place.touch()
        os.chown(place, user.uid, user.gid)
        return planted(user, node=node, WIDTH=1, DEPTH=1, IGNORE=1, LISTEN=place)

    def port(self, user: EditorUser) -> int:
        return int(eventually((user.home / "port").read_text, bool))

    def test_a_client_that_came_back_before_the_first_signal(
        self, vscode_user: EditorUser, fake_node: Path
    ) -> None:
        with self.serving(vscode_user, fake_node) as tree:
            before = tree.members(3)
            place = ("127.0.0.1", self.port(vscode_user))
            assert not before.connections.clients
            with socket.create_connection(place) as client:
                done = ended(tree)
                came = f"client: 127.0.0.1:{client.getsockname()[1]} is connected to"
            assert (done.result, done.asked, done.killed) == (Result.SPARED, 0, 0)
            assert done.words[0].startswith(came)
            assert set(states(tree).values()) == {"S"}

    def test_a_client_that_came_back_before_the_last_signal(
        self, vscode_user: EditorUser, fake_node: Path
    ) -> None:
        """The launcher is dead by then, and what listens hangs below pid 1."""
        with self.serving(vscode_user, fake_node) as tree, socket.socket() as client:
            tree.members(3)
            place = ("127.0.0.1", self.port(vscode_user))
            done = ended(tree, at(Step.WAITED, lambda: client.connect(place)))
            assert (done.result, done.asked, done.killed) == (Result.SPARED, 3, 0)
            assert done.words[0].startswith("client: ")
            assert list(states(tree).values()) == ["S"]

    @pytest.mark.parametrize("asked", [0, 3])
    def test_a_client_that_came_back_while_all_of_it_stood_still(
        self, vscode_user: EditorUser, fake_node: Path, asked: int
    ) -> None:
        """Since the look, that is: a slow disk may lie in between."""
        with self.serving(vscode_user, fake_node) as tree, socket.socket() as client:
            tree.members(3)
            place = ("127.0.0.1", self.port(vscode_user))
            standstills: list[Step] = []

            def told(step: Step, _: tuple[ProcessKey, ...]) -> None:
                if step is Step.STOPPED:
                    standstills.append(step)
                    if len(standstills) == (2 if asked else 1):
                        client.connect(place)

            done = ended(tree, told)
            assert (done.result, done.asked, done.killed) == (Result.SPARED, asked, 0)
            assert done.words[0].startswith("client: ")
            assert set(states(tree).values()) == {"S"}

    def test_without_a_client_the_same_tree_is_ended(
        self, vscode_user: EditorUser, fake_node: Path
    ) -> None:
        """Else the two tests above could not fail."""
        with self.serving(vscode_user, fake_node) as tree:
            tree.members(3)
            self.port(vscode_user)
            assert ended(tree).result is Result.ENDED
            assert tree.is_gone()

    @pytest.mark.parametrize("count", [0, 1])
    def test_what_is_protected_by_then(self, vscode_user: EditorUser, count: int) -> None:
        hits = ("protect.commands: somebody copies",)
        with planted(vscode_user, STUBBORN) as tree:
            tree.members(2)
            if count:
                seeing = eyes(tree.key, protects=lambda *_: hits)
            else:
                seeing = eyes(tree.key, look=lambda: Fresh(find(tree.key).tree, hits))
            done = terminate(order(tree.key), seeing)
            assert (done.result, done.words[0], done.killed) == (Result.SPARED, hits[0], 0)
            assert len(states(tree)) == 2 - count
            assert "T" not in states(tree).values()

    def test_what_cannot_be_looked_at_again(self, vscode_user: EditorUser) -> None:
        def look() -> Fresh:
            raise ProcessTableError("/proc: cannot be listed")

        with planted(vscode_user) as tree:
            tree.members(2)
            done = terminate(order(tree.key), eyes(tree.key, look=look))
            assert done.words == ("it could not be looked at again: /proc: cannot be listed",)
            assert done.result is Result.SPARED
            assert len(states(tree)) == 2

    def test_a_tree_with_a_member_in_a_job(self, root: None, vscode_user: EditorUser) -> None:
        with planted(vscode_user, STUBBORN) as tree:
            node = node_of(tree)
            with in_a_job(node.pid, 77):
                done = ended(tree)
            assert (done.result, done.asked) == (Result.SPARED, 0)
            assert f"pid {node.pid} (" in done.words[0]
            assert done.words[0].endswith(") runs in Slurm job 77")
            assert set(states(tree).values()) == {"S"}

    def test_a_tree_with_a_member_that_is_in_a_job_by_then(
        self, root: None, vscode_user: EditorUser
    ) -> None:
        with planted(vscode_user, STUBBORN) as tree, contextlib.ExitStack() as later:
            node = node_of(tree)
            done = ended(tree, at(Step.WAITED, lambda: later.enter_context(in_a_job(node.pid, 7))))
            assert (done.result, done.asked, done.killed) == (Result.SPARED, 2, 0)
            assert done.words[0] == f"pid {node.pid} runs in Slurm job 7"
            assert states(tree) == {node.pid: "S"}

    @pytest.mark.parametrize("step", [Step.STOPPING, Step.LOOKED_AGAIN])
    def test_a_member_that_goes_into_a_job_at_the_last_moment(
        self, root: None, vscode_user: EditorUser, step: Step
    ) -> None:
        with planted(vscode_user, STUBBORN) as tree, contextlib.ExitStack() as later:
            node = node_of(tree)
            done = ended(tree, at(step, lambda: later.enter_context(in_a_job(node.pid, 7))))
            assert done.killed == 0
            assert states(tree)[node.pid] == "S"
            assert any("runs in" in words and str(node.pid) in words for words in done.words)

    def test_a_tree_with_a_member_in_another_pid_namespace(
        self, root: None, vscode_user: EditorUser
    ) -> None:
        body = "trap '' TERM; unshare --user --pid --fork --kill-child sleep 600 & wait"
        with planted(vscode_user, body) as tree:
            seen = eventually(lambda: tree.members(4).elsewhere, bool)
            done = ended(tree)
            assert (done.result, done.asked) == (Result.SPARED, 0)
            assert [words for _, words in seen] == ["another pid namespace"]
            assert len(states(tree)) == 4

    def test_what_a_job_left_is_not_ended_with_the_server(
        self, root: None, vscode_user: EditorUser
    ) -> None:
        """A program of the same folder hangs below pid 1, in a job."""
        body = '( "{home}/.vscode-server/bin/COMMIT/node" -c "read _ <{home}/fifo; exit" & )'
        with planted(vscode_user, body.replace("COMMIT", COMMIT)) as tree:
            node = node_of(tree)
            (stray,) = eventually(
                # the subshell that starts it is gone by then, and it is sh no more
                lambda: [
                    pid
                    for pid in set(states(tree)) - {tree.key.pid, node.pid}
                    if b"-c" in read_process(pid).argv
                ],
                lambda found: len(found) == 1,
            )
            assert stray in {each.pid for each in tree.members(3).members}
            with in_a_job(stray, 77):
                assert stray not in {each.pid for each in tree.members(2).members}
                done = ended(tree)
                assert (done.result, done.asked) == (Result.ENDED, 2)
                assert states(tree) == {stray: "S"}

    def test_a_system_account(self, vscode_user: EditorUser) -> None:
        with planted(vscode_user) as tree:
            tree.members(2)
            done = ended(tree, uid_min=vscode_user.uid + 1)
            assert (done.result, done.asked) == (Result.SPARED, 0)
            assert "is below scope.uid_min" in done.words[0]

    def test_everybody_where_there_are_no_pidfds(
        self, vscode_user: EditorUser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As with a Python that was built without them."""
        with planted(vscode_user) as tree:
            tree.members(2)
            monkeypatch.delattr(os, "pidfd_open")
            done = ended(tree)
            assert (done.result, done.asked) == (Result.SPARED, 0)
            assert "built without pidfds" in done.words[0]
            assert len(states(tree)) == 2

    def test_what_another_process_took_the_place_of(self, vscode_user: EditorUser) -> None:
        with planted(vscode_user) as tree, planted(vscode_user) as other:
            other.members(2)
            seeing = eyes(tree.key, look=lambda: find(other.key))
            done = terminate(order(tree.key), seeing)
            assert (done.result, done.asked) == (Result.SPARED, 0)
            assert len(states(other)) == 2


def test_a_tree_that_has_ended_is_gone(vscode_user: EditorUser) -> None:
    with planted(vscode_user) as tree:
        pass
    assert terminate(order(tree.key), eyes(tree.key)) == Ended(Result.GONE)


def test_nothing_is_begun_when_the_time_is_over(vscode_user: EditorUser) -> None:
    with planted(vscode_user) as tree:
        tree.members(2)
        done = ended(tree, deadline=time.monotonic())
        assert (done.result, done.asked) == (Result.SPARED, 0)
        assert len(states(tree)) == 2


def test_nobody_is_killed_when_the_time_is_over(vscode_user: EditorUser) -> None:
    with planted(vscode_user, STUBBORN) as tree:
        tree.members(2)
        began = time.monotonic()
        done = ended(tree, deadline=began + 3, term_wait=60)
        assert time.monotonic() - began < 20
        assert (done.result, done.killed, len(done.survivors)) == (Result.SURVIVORS, 0, 1)
        assert done.words[0] == "the time of the run was over before SIGKILL"
        assert list(states(tree).values()) == ["S"]


class TestWeFail:
    """Half-way, at each step."""

    @pytest.mark.parametrize("looks", [0, 1])
    def test_the_end_of_the_run_says_nothing_of_the_tree(
        self, vscode_user: EditorUser, looks: int
    ) -> None:
        """The alarm comes while we look: before the first signal, or before the last."""
        steps: list[Step] = []

        class Ringing:
            """A catalogue that is asked when the time is over: after SIGTERM."""

            def __getattr__(self, name: str) -> Any:
                if Step.WAITED in steps:
                    signal.raise_signal(signal.SIGALRM)
                return getattr(CATALOGUE, name)

        def told(step: Step, _: tuple[ProcessKey, ...]) -> None:
            steps.append(step)

        def ring() -> Any:
            signal.raise_signal(signal.SIGALRM)

        before = signal.signal(signal.SIGALRM, over)
        try:
            with planted(vscode_user, STUBBORN) as tree:
                tree.members(2)
                facts: dict[str, Any] = {"catalogue": Ringing()} if looks else {"look": ring}
                facts["told"] = told
                with pytest.raises(TimeOverError):
                    terminate(order(tree.key), eyes(tree.key, **facts))
                assert len(states(tree)) == 2 - looks
                assert set(states(tree).values()) == {"S"}
        finally:
            signal.signal(signal.SIGALRM, before)

    @pytest.mark.parametrize("step", Step)
    def test_nothing_stays_stopped(self, vscode_user: EditorUser, step: Step) -> None:
        def fail() -> None:
            raise ZeroDivisionError(step)

        with planted(vscode_user, STUBBORN) as tree:
            tree.members(2)
            with pytest.raises(ZeroDivisionError):
                ended(tree, at(step, fail))
            assert "T" not in states(tree).values()
            assert bool(states(tree)) is (step is not Step.KILLED) or tree.is_gone()

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
    @pytest.mark.parametrize("step", [Step.STOPPED, Step.ASKED])
    def test_nothing_stays_stopped_when_we_are_told_to_end(
        self, vscode_user: EditorUser, step: Step, signum: signal.Signals
    ) -> None:
        with planted(vscode_user, STUBBORN) as tree:
            tree.members(2)
            status, _ = in_a_run_of_its_own(tree, step, 1, signum)
            assert status != 0
            assert "T" not in states(tree).values()
            assert len(states(tree)) == (2 if step is Step.STOPPED else 1)

    @pytest.mark.parametrize("nth", [1, 2])
    def test_the_next_run_continues_what_a_killed_one_left(
        self, vscode_user: EditorUser, nth: int
    ) -> None:
        with planted(vscode_user, STUBBORN) as tree:
            tree.members(2)
            _, keys = in_a_run_of_its_own(tree, Step.STOPPED, nth, signal.SIGKILL)
            stopped = eventually(lambda: states(tree), lambda seen: set(seen.values()) == {"T"})
            assert {key.pid for key in resume(keys, vscode_user.uid)} == set(stopped)
            assert set(states(tree)) == set(stopped)
            assert "T" not in states(tree).values()


def over(_signum: int, _frame: object) -> None:
    """Raise what a run's deadline raises."""
    raise TimeOverError("the run took too long")


def in_a_run_of_its_own(
    tree: Planted, step: Step, nth: int, signum: signal.Signals
) -> tuple[int, list[ProcessKey]]:
    """End *tree* in a child that gets *signum* at the *nth* *step*.

    Return how the child ended, and whom it meant to stop last.
    """
    notes = tree.folder / "notes"
    seen: list[Step] = []

    def told(at: Step, keys: tuple[ProcessKey, ...]) -> None:
        if at is Step.STOPPING:
            notes.write_bytes(pickle.dumps(keys))
        seen.append(at)
        if at is step and seen.count(step) == nth:
            os.kill(os.getpid(), signum)

    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            ended(tree, told)
        finally:
            os._exit(9)
    _, status = os.waitpid(pid, 0)
    return status, pickle.loads(notes.read_bytes())  # noqa: S301 - from our own child
