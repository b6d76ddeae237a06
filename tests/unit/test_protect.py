from __future__ import annotations

from typing import Any

import pytest

from tests.builders import ADA, process, tree
from vscadmin.model import Owner, Process, Tree
from vscadmin.policy.protect import protection, terminal_jobs
from vscadmin.policy.settings import Glob, Protect

NOTHING = Protect(commands=(), terminal_jobs=False, login_session=False)
PTS = 0x8803


def inside(*members: Process, **facts: Any) -> Tree:
    root = tree(**facts).root
    return tree(root=root, members=(root, *members))


def hits(protect: Protect, found: Tree | None = None, owner: Owner = ADA, **logins: Any) -> int:
    return len(protection(found or tree(), owner, protect, logins.get("logins", {})))


def test_users_and_groups_are_protected_by_name() -> None:
    assert hits(Protect(users=("ada",), commands=())) == 1
    assert hits(Protect(users=("bob",), commands=())) == 0
    assert hits(Protect(groups=("physics", "staff"), commands=())) == 1


def test_groups_that_cannot_be_looked_up_protect() -> None:
    unknown = Owner(1001, "ada", None)
    assert hits(Protect(groups=("staff",), commands=()), owner=unknown) == 1


@pytest.mark.parametrize(
    ("argv", "hit"),
    [
        (("tmux", "new"), True),
        (("/usr/bin/tmux-3", "a"), True),
        (("/usr/bin/python3", "/opt/conda/bin/snakemake", "-j4"), True),
        (("/usr/bin/python3", "-u", "/opt/conda/bin/snakemake"), True),
        (("vim", "notes", "tmux"), False),
        ((), False),
    ],
)
def test_commands_are_protected_by_their_names(argv: tuple[str, ...], hit: bool) -> None:
    protect = Protect(commands=(Glob("tmux*"), Glob("snakemake")), terminal_jobs=False)
    assert hits(protect, inside(process(4200, *argv, ppid=4100))) == hit


def shell(pid: int, *more: str, **facts: Any) -> Process:
    return process(pid, *(more or ("/bin/bash", "--init-file", "x.sh")), tty=PTS, **facts)


@pytest.mark.parametrize(
    ("members", "jobs"),
    [
        ([shell(41), shell(42, "-zsh"), shell(43, "fish", "-i")], []),
        ([shell(41), process(42, "make", ppid=41, tty=PTS)], [42]),
        ([shell(41), process(42, "setsid-job", ppid=41)], [42]),
        ([shell(41, "bash", "run.sh")], [41]),
        ([shell(41, "bash", "-c", "sleep 9")], [41]),
        ([shell(41), process(42, "done", ppid=41, tty=PTS, state="Z")], []),
        ([process(42, "language-server", ppid=4100)], []),
    ],
)
def test_anything_beyond_an_idle_shell_is_a_job(members: list[Process], jobs: list[int]) -> None:
    assert [each.pid for each in terminal_jobs(inside(*members))] == jobs
    assert bool(hits(Protect(commands=()), inside(*members))) == bool(jobs)


def test_a_server_started_by_hand_is_not_its_own_job() -> None:
    found = inside(process(2, "node", tty=PTS), root_facts={"tty": PTS})
    assert terminal_jobs(found) == []


def test_a_login_outside_every_tree_protects() -> None:
    login = {1001: "pid 7 (-bash) has a terminal"}
    assert hits(Protect(commands=()), logins=login) == 1
    assert hits(NOTHING, logins=login) == 0
    assert hits(Protect(commands=()), logins={1002: "x"}) == 0
