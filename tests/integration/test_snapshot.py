"""The process table of a real kernel: odd processes, namespaces, and what cannot be seen."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.builders import CATALOGUE
from tests.integration.conftest import NOBODY
from tests.integration.lookalike import Lookalike
from tests.run import eventually, json_of
from vscadmin.model import Process, Snapshot
from vscadmin.procs.owners import owners, uid_of
from vscadmin.procs.scan import read_processes, take_snapshot
from vscadmin.procs.sockets import read_net
from vscadmin.procs.trees import find_trees

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_NAME = 15


@contextlib.contextmanager
def forked(prepare: Callable[[], None]) -> Iterator[int]:
    """Run *prepare* in a child of ours, which then waits until it is ended."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            prepare()
            os.write(tell, b"x")
            time.sleep(600)
        finally:
            os._exit(1)
    os.close(tell)
    try:
        assert os.read(ready, 1) == b"x"
        yield pid
    finally:
        os.close(ready)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
        os.waitpid(pid, 0)


def in_child(work: Callable[[], Any]) -> Any:
    """Return what *work* returns in a child of ours, whatever it does to itself there."""
    out, back = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with os.fdopen(back, "wb") as file:
                pickle.dump(work(), file)
        finally:
            os._exit(0)
    os.close(back)
    with os.fdopen(out, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    assert data, "the child failed"
    return pickle.loads(data)  # noqa: S301 - from our own child


def seen(pid: int) -> Process:
    return read_processes()[0][pid]


@pytest.mark.parametrize("name", [b"a) R 1 (b", b"two\nlines", b"\x1b[2J\x07", b"\xff\xfe", b")"])
def test_a_hostile_name_moves_no_field(name: bytes) -> None:
    with forked(lambda: LIBC.prctl(PR_SET_NAME, name, 0, 0, 0)) as pid:
        found = seen(pid)
        assert (found.ppid, found.pgid) == (os.getpid(), os.getpgrp())
        assert found.start_ticks > 0
        assert found.uid == os.geteuid()


def test_a_zombie_has_no_argv_and_is_read() -> None:
    pid = os.posix_spawn("/bin/true", ["/bin/true"], {})
    try:
        found = eventually(lambda: seen(pid), lambda process: process.state == "Z")
        assert found.argv == ()
    finally:
        os.waitpid(pid, 0)


def test_kernel_threads_are_read_and_match_nothing() -> None:
    processes, _ = read_processes()
    threads = [each for each in processes.values() if each.ppid == 2]
    if not threads:
        assert 2 not in processes, "a container without kernel threads"
    assert all(each.argv == () for each in threads)


@pytest.mark.parametrize("argv", [[b""], [b"caf\xe9\n\xff", b"-"], [b"x" * 9000]])
def test_odd_arguments_are_read_as_bytes(argv: list[bytes]) -> None:
    with subprocess.Popen(argv, executable="/bin/cat", stdin=subprocess.PIPE) as process:
        wanted = tuple(each[:4096] for each in argv)
        eventually(lambda: seen(process.pid).argv, lambda found: found == wanted)
        process.communicate()


def test_the_same_table_as_psutil() -> None:
    """Two independent readers of one kernel agree on who is who."""
    with forked(lambda: None) as pid:
        ours, theirs = seen(pid), psutil.Process(pid)
        assert ours.ppid == theirs.ppid()
        assert ours.uid == theirs.uids().effective
        assert [each.decode() for each in ours.argv] == theirs.cmdline()
        snapshot = take_snapshot(CATALOGUE)
        assert abs(snapshot.started_at(ours) - theirs.create_time()) < 1.0


def test_a_process_that_changes_its_uid_is_its_effective_users(root: None) -> None:
    with forked(lambda: os.setresuid(NOBODY.pw_uid, NOBODY.pw_uid, 0)) as pid:
        assert seen(pid).uid == NOBODY.pw_uid


def become_nobody() -> None:
    os.setgroups([])
    os.setresgid(NOBODY.pw_gid, NOBODY.pw_gid, NOBODY.pw_gid)
    os.setresuid(NOBODY.pw_uid, NOBODY.pw_uid, NOBODY.pw_uid)


def hide(option: str) -> Snapshot:
    """Look as an ordinary user at a /proc that is mounted with *option*, in a child."""
    assert LIBC.unshare(0x20000) == 0  # CLONE_NEWNS
    assert LIBC.mount(b"none", b"/", None, 0x44000, None) == 0  # MS_REC | MS_PRIVATE
    assert LIBC.mount(b"proc", b"/proc", b"proc", 0, option.encode()) == 0
    become_nobody()
    return take_snapshot(CATALOGUE)


def test_hidepid_1_leaves_unreadable_pids(root: None) -> None:
    found: Snapshot = in_child(lambda: hide("hidepid=1"))
    assert 1 in found.unreadable
    assert {each.uid for each in found.processes.values()} == {NOBODY.pw_uid}


def test_hidepid_2_leaves_only_our_own(root: None) -> None:
    found: Snapshot = in_child(lambda: hide("hidepid=2"))
    assert found.unreadable == ()
    assert {each.uid for each in found.processes.values()} == {NOBODY.pw_uid}


@pytest.fixture
def lookalike(tmp_path: Path) -> Lookalike:
    for above in tmp_path.parents[:3]:
        if above.stat().st_uid == os.getuid() and above != Path("/tmp"):
            above.chmod(0o755)
    return Lookalike(tmp_path)


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """End a lookalike and its children by pid."""
    with process:
        try:
            yield process
        finally:
            family = psutil.Process(process.pid).children(recursive=True)
            for each in (*family, psutil.Process(process.pid)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()


def tree_below(pid: int) -> dict[str, Any]:
    def look() -> list[dict[str, Any]]:
        below = {pid, *(each.pid for each in psutil.Process(pid).children(recursive=True))}
        return [
            each
            for each in json_of("scan")["trees"]
            if each["pid"] in below and each["processes"] >= 2
        ]

    return eventually(look, bool)[0]


AS_NOBODY = ("setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups")


def test_a_server_in_another_pid_namespace_is_out_of_scope(
    root: None, lookalike: Lookalike
) -> None:
    inside = ("unshare", "--pid", "--fork", "--kill-child", *AS_NOBODY)
    with ended(lookalike.start(*inside)) as process:
        found = tree_below(process.pid)
        assert found["state"] == "out-of-scope"
        assert found["evidence"] == ["it runs in another pid namespace"]


def test_a_servers_children_of_another_user_are_foreign(root: None, lookalike: Lookalike) -> None:
    """As after `sudo` in the editor's terminal."""
    lookalike.main.write_text(f"{' '.join(AS_NOBODY)} cat {lookalike.fifo} &\n{lookalike.block}")
    with ended(lookalike.start()) as process:
        found = eventually(lambda: tree_below(process.pid), lambda tree: tree["foreign_pids"])
        (foreign,) = found["foreign_pids"]
        assert psutil.Process(foreign).uids().real == NOBODY.pw_uid


def net_of(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


def serve(path: str) -> Callable[[], None]:
    """Return work that listens on TCP and on *path* in a new network namespace, with clients."""

    def prepare() -> None:
        assert LIBC.unshare(0x40000000) == 0
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        keep = [socket.create_server(("127.0.0.1", 4711))]
        keep.append(socket.create_connection(("127.0.0.1", 4711)))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        caller = socket.socket(socket.AF_UNIX)
        caller.connect(path)
        globals()["_kept"] = [*keep, listener, caller, listener.accept()]

    return prepare


def test_sockets_are_read_in_the_trees_own_network_namespace(root: None, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with forked(serve(path)) as pid:
        assert net_of(pid) != net_of(os.getpid())
        table = read_net(pid, net_of(pid))
        assert table.tcp is not None
        assert table.unix is not None
        assert {each.local.port for each in table.tcp if each.listening} == {4711}
        accepted = [u for u in table.unix if u.path == path.encode() and u.established]
        assert len(accepted) == 1
        assert accepted[0].peer in {u.inode for u in table.unix}
        ours = read_net(os.getpid(), net_of(os.getpid()))
        assert ours.unix is not None
        assert path.encode() not in {each.path for each in ours.unix}


def test_a_pid_that_moved_to_another_namespace_is_not_believed(root: None, tmp_path: Path) -> None:
    """A decoy must not pass its own empty table off as everybody's."""
    with forked(serve(str(tmp_path / "s"))) as pid:
        ours = read_net(pid, net_of(os.getpid()))
        assert ours.tcp is not None
        assert 4711 not in {each.local.port for each in ours.tcp if each.listening}
        assert read_net(pid, "net:[1]").tcp is None


def test_a_process_that_is_gone_has_no_table() -> None:
    assert read_net(4_194_305, "net:[1]").tcp is None


def test_a_peer_that_was_closed_is_nobody(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        caller = socket.socket(socket.AF_UNIX)
        caller.connect(str(tmp_path / "s"))
        accepted, _ = listener.accept()
        with accepted:
            wanted = os.fstat(accepted.fileno()).st_ino
            assert peer(wanted) == os.fstat(caller.fileno()).st_ino
            caller.close()
            assert peer(wanted) == 0


def peer(inode: int) -> int | None:
    table = read_net(os.getpid(), net_of(os.getpid()))
    assert table.unix is not None
    (found,) = (each.peer for each in table.unix if each.inode == inode)
    return found


def test_owners_are_looked_up_one_by_one() -> None:
    found = owners([0, 61999], with_groups=True)
    assert found[0].name == "root"
    assert "root" in (found[0].groups or ())
    assert found[61999].name is None
    assert uid_of("root") == 0
    assert uid_of("no-such-user") is None


def test_look_ups_that_take_too_long_are_given_up() -> None:
    """The last of fifty thousand has a name, and it is not waited for."""
    many = range(NOBODY.pw_uid - 50_000, NOBODY.pw_uid + 1)
    assert owners(many, deadline=0.0)[NOBODY.pw_uid].name is None
    assert owners([NOBODY.pw_uid])[NOBODY.pw_uid].name == "nobody"


def test_an_ordinary_user_sees_what_the_kernel_lets_him(root: None, lookalike: Lookalike) -> None:
    """Others' trees are unknown to him, and that is no failure."""

    def look() -> list[tuple[int, tuple[str, ...]]]:
        become_nobody()
        forest = find_trees(take_snapshot(CATALOGUE), CATALOGUE)
        return [(each.root.pid, each.unreadable) for each in forest.trees]

    with ended(lookalike.start()) as process:
        tree_below(process.pid)
        found = dict(in_child(look))
        assert "the executable of pid" in found[process.pid][0]
