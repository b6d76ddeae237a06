"""Why a tree is not ended, whatever the policy says; and when an executable is the same."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders import detail, launcher, server, tree
from vscadmin.cleanup.execute import Fresh, Order, doubts
from vscadmin.cleanup.kill import Who, is_same_executable
from vscadmin.model import Connections, Detail, Place, Tree, Uids

ROOT = launcher(10)
NODE = server(11, 10)
DETAILS = {each.pid: detail(each) for each in (ROOT, NODE)}


def reasons(*spared: str, details: dict[int, Detail] | None = None, **facts: Any) -> list[str]:
    found: Tree = tree(**{"root": ROOT, "members": (ROOT, NODE), **facts})
    order = Order(ROOT.key, uid_min=1000, term_wait=1)
    return list(doubts(order, found, Fresh(found, spared, {**DETAILS, **(details or {})})))


def test_nothing_speaks_against_an_unused_tree() -> None:
    assert reasons() == []


def test_what_the_policy_says_now() -> None:
    assert reasons("it is in grace now") == ["it is in grace now"]


def test_another_root() -> None:
    other = ROOT._replace(start_ticks=ROOT.start_ticks + 1)
    assert reasons(root=other, members=(other, NODE)) == ["pid 10 is another process now"]


@pytest.mark.parametrize("uids", [None, Uids(1001, 0, 1001, 1001), Uids(1001, 1001, 0, 1001)])
def test_a_root_that_is_not_wholly_the_owners(uids: Uids | None) -> None:
    assert reasons(uids=uids) == ["the user ids of its root are not all 1001"]


def test_a_system_account() -> None:
    own = ROOT._replace(uid=999)
    found = reasons(root=own, members=(own, NODE), uids=Uids(999, 999, 999, 999))
    assert found == ["uid 999 is below scope.uid_min = 1000"]


def test_a_job_of_slurm() -> None:
    found = reasons(place=Place.JOB, place_words="Slurm job 7")
    assert found == ["it runs in Slurm job 7"]


def test_a_member_in_a_job_of_slurm() -> None:
    (found,) = reasons(elsewhere=((NODE, "Slurm job 77"),))
    assert found.startswith("pid 11 (")
    assert found.endswith(") runs in Slurm job 77")


def test_a_client() -> None:
    assert reasons(connections=Connections(clients=("a", "b"))) == ["client: a", "client: b"]


def test_whatever_could_not_be_read() -> None:
    assert reasons(unreadable=("x",)) == ["x"]
    assert reasons(connections=Connections(unreadable=("y",))) == ["y"]
    words = ["the executable or user ids of pid 11 could not be read"]
    assert reasons(details={11: detail(NODE)._replace(exe=None)}) == words
    assert reasons(details={11: detail(NODE)._replace(uids=None)}) == words
    cgroup = "the cgroup of pid 11 could not be read"
    assert reasons(details={11: detail(NODE)._replace(cgroups=None)}) == [cgroup]
    assert reasons(details={11: Detail()}) == [*words, cgroup]


def test_a_zombie_has_no_executable_and_that_is_nothing() -> None:
    assert reasons(members=(ROOT, NODE._replace(state="Z")), details={11: Detail()}) == []


@pytest.mark.parametrize(
    "other",
    [
        b"/home/ada/bin/node",
        b"/home/ada/bin/node (deleted)",
        b"/home/ada/bin/.nfs000000000002c3b1000001f4",
    ],
)
def test_an_executable_that_an_update_replaced_is_the_same(other: bytes) -> None:
    assert is_same_executable(b"/home/ada/bin/node", other)
    assert is_same_executable(other, b"/home/ada/bin/node")


@pytest.mark.parametrize(
    "other",
    [
        b"/home/ada/bin/vim",
        b"/home/ada/node",
        b"/home/eve/bin/.nfs000000000002c3b1000001f4",
        b"/home/ada/bin/.nfs1/node",
        b"",
    ],
)
def test_another_executable_is_not(other: bytes) -> None:
    assert not is_same_executable(b"/home/ada/bin/node", other)


def test_another_start_or_user_is_somebody_else() -> None:
    who = Who(7, Uids(1, 1, 1, 1), b"/bin/sh")
    assert who.is_same(who._replace(exe=b"/bin/sh (deleted)"))
    assert not who.is_same(who._replace(start_ticks=8))
    assert not who.is_same(who._replace(uids=Uids(1, 0, 1, 1)))
