"""Trees to be ended, and eyes on them: what the tests of killing share.

Whether anything of a tree is left is not asked of the process table: all of its processes
inherit the end of a pipe, and the pipe is closed when the last of them is dead.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import CATALOGUE
from tests.integration.lookalike import Lookalike
from tests.integration.vscode.fixtures import EditorUser
from tests.run import eventually
from vscadmin.cleanup.execute import Eyes, Fresh, Order, Step
from vscadmin.model import Owner, ProcessKey, Snapshot, Tree
from vscadmin.policy.protect import protection
from vscadmin.policy.settings import Protect
from vscadmin.procs.scan import read_process, take_snapshot
from vscadmin.procs.trees import find_trees

PROTECT = Protect(login_session=False)  # who runs these tests has a terminal
# In a shell's script: it is that far.
READY = ": >{home}/ready"
Told = Callable[[Step, tuple[ProcessKey, ...]], None]


def compiled(folder: Path) -> Path:
    """Compile the fake node into *folder*; where tests must be complete gcc has to be there."""
    if shutil.which("gcc") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("these tests need gcc")
        pytest.skip("needs gcc")
    program = folder / "node"
    source = Path(__file__).with_name("fake_node.c")
    warnings = ("-Wall", "-Wextra", "-Werror")
    subprocess.run(["gcc", "-O1", *warnings, "-pthread", "-o", program, source], check=True)
    return program


def nothing(_step: Step, _keys: tuple[ProcessKey, ...]) -> None:
    """Hear of a step and do nothing."""


class Planted:
    """A running tree: its root's process and the pipe that all of it holds."""

    def __init__(self, launcher: subprocess.Popen[bytes], pipe: int, folder: Path) -> None:
        self.launcher = launcher
        self.pipe = pipe
        self.folder = folder
        self.key = read_process(launcher.pid).key

    def is_gone(self, seconds: float = 5) -> bool:
        """Whether the last process that inherited the pipe is dead, within *seconds*."""
        return bool(select.select([self.pipe], [], [], seconds)[0])

    def find(self) -> Tree | None:
        """Return the tree as a scan finds it now."""
        return find(self.key).tree

    def members(self, count: int) -> Tree:
        """Wait until the tree has *count* members, and return it."""
        found = eventually(self.find, lambda tree: tree is not None and len(tree.members) >= count)
        assert found is not None
        return found


def find(key: ProcessKey) -> Fresh:
    """Look as a run does: a snapshot, its trees, and what protects this one."""
    snapshot = take_snapshot(CATALOGUE)
    trees = {each.key: each for each in find_trees(snapshot, CATALOGUE).trees}
    tree = trees.get(key)
    return Fresh(tree, protects(tree, snapshot) if tree else (), snapshot.details)


def protects(tree: Tree, _: Snapshot) -> tuple[str, ...]:
    """Return the protect hits of the default policy."""
    return protection(tree, Owner(tree.root.uid, "ada"), PROTECT, {})


def eyes(key: ProcessKey, told: Told = nothing, **facts: Any) -> Eyes:
    """Return eyes on the tree below *key*."""
    return Eyes(
        **{
            "catalogue": CATALOGUE,
            "look": lambda: find(key),
            "protects": protects,
            "told": told,
            **facts,
        }
    )


def order(key: ProcessKey, **facts: Any) -> Order:
    """Return an order to end the tree below *key* quickly."""
    known: dict[str, Any] = {"uid_min": min(1000, os.getuid() or 1000), "term_wait": 0.5}
    return Order(key, **{**known, **facts})


@contextlib.contextmanager
def planted(
    user: EditorUser,
    body: str = "",
    *before: str,
    node: Path | None = None,
    **environment: object,
) -> Iterator[Planted]:
    """Start a server's lookalike: `node` runs *body* as a shell, or is the program *node*.

    The launcher is started by the command *before*. A *body* with READY is waited for.
    """
    home = user.home / os.urandom(4).hex()
    home.mkdir()
    lookalike = Lookalike(home, body.replace("{home}", str(home)) + "\n")
    if node is not None:
        lookalike.node.unlink()
        shutil.copy(node, lookalike.node)
        lookalike.node.chmod(0o755)
    for path in (home, *home.rglob("*")):
        os.chown(path, user.uid, user.gid)
    root = os.geteuid() == 0
    ours, theirs = os.pipe()
    env = {**os.environ, **{name: str(value) for name, value in environment.items()}}
    with lookalike.start(
        *before,
        pass_fds=(theirs,),
        env=env,
        start_new_session=True,
        user=user.uid if root else None,
        group=user.gid if root else None,
        extra_groups=[] if root else None,
    ) as launcher:
        os.close(theirs)
        found = Planted(launcher, ours, home)
        try:
            if READY in body:
                eventually((home / "ready").exists, bool)
            yield found
        finally:
            end(found)
            os.close(ours)


def end(tree: Planted) -> None:
    """End what a test left of a tree: whoever still holds its pipe."""
    wanted = os.readlink(f"/proc/self/fd/{tree.pipe}")
    deadline = time.monotonic() + 20
    while not tree.is_gone(0):
        assert time.monotonic() < deadline, "it would not end"
        stopped: set[int] = set()
        while new := set(holders(wanted)) - stopped:
            stopped |= new
            _signal(new, signal.SIGSTOP)
        _signal(stopped, signal.SIGKILL)
    tree.launcher.kill()
    tree.launcher.wait(10)


def _signal(pids: Iterable[int], signum: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)


def holders(pipe: str) -> Iterator[int]:
    """Yield the processes that have *pipe* open, ourselves left out."""
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            files = (os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
            if pid != os.getpid() and pipe in files:
                yield pid


def states(tree: Planted) -> dict[int, str]:
    """Return the states of all processes of a tree, wherever they hang."""
    found = {}
    for pid in holders(os.readlink(f"/proc/self/fd/{tree.pipe}")):
        with contextlib.suppress(OSError, ValueError):
            found[pid] = read_process(pid).state
    return found
