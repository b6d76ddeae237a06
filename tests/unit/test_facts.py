from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.builders import ADA, NOW, TICKS, launcher, process, server, tree
from vscadmin.cleanup.facts import ARGV_LIMIT, Seen, from_facts, shortened, to_facts
from vscadmin.model import Connections, Owner, Tree
from vscadmin.policy.protect import protection
from vscadmin.policy.settings import Protect


def again(one: Tree, owner: Owner = ADA) -> tuple[Tree, Owner]:
    kept = json.loads(json.dumps(to_facts(one, owner)))
    return from_facts(kept, Seen(one.rss, one.cpu_ticks / TICKS, one.started_at), TICKS)


def test_a_tree_comes_back_with_its_sums_at_the_root() -> None:
    root, node = launcher(10, cpu_ticks=5, rss=7), server(11, 10, cpu_ticks=70, rss=1 << 30)
    one = tree(root=root, members=(root, node), host_started_at=NOW - 60, grace=(300, "argv"))
    found, owner = again(one)
    assert owner == ADA
    assert (found.cpu_ticks, found.rss) == (75, 7 + (1 << 30))
    assert found.root is found.members[0]
    assert replace(found, root=root, members=one.members) == one


def test_what_changes_at_every_look_makes_no_new_facts() -> None:
    root = launcher(10)
    later = root._replace(rss=1 << 30, cpu_ticks=999, state="R")
    moved = tree(root=later, started_at=NOW - 3599.5, host_started_at=NOW - 59.5)
    assert to_facts(moved, ADA) == to_facts(tree(root=root, host_started_at=NOW - 60), ADA)


def test_a_zombie_stays_one_because_protection_asks() -> None:
    root, dead = launcher(10), process(11, state="Z", tty=5, ppid=10)
    found, _ = again(tree(root=root, members=(root, dead)))
    assert [each.state for each in found.members] == ["S", "Z"]


def test_members_of_other_users_stay_foreign() -> None:
    root, other = launcher(10), process(11, "-bash", uid=0, ppid=10)
    found, _ = again(tree(root=root, members=(root, other), foreign=(other,)))
    assert [each.pid for each in found.foreign] == [11]


def test_members_in_a_job_stay_there() -> None:
    root, job = launcher(10), process(11, "python3", ppid=10)
    found, _ = again(tree(root=root, members=(root, job), elsewhere=((job, "Slurm job 77"),)))
    assert [(each.pid, words) for each, words in found.elsewhere] == [(11, "Slurm job 77")]


def test_facts_of_before_that_was_known_can_be_read() -> None:
    kept = to_facts(tree(), ADA)
    del kept["elsewhere"]
    found, _ = from_facts(kept, Seen(0, 0, NOW), TICKS)
    assert found.elsewhere == ()


def test_a_failed_look_up_stays_one() -> None:
    one = tree(uids=None, connections=Connections(unreadable=("tcp",)), unreadable=("exe",))
    found, owner = again(one, Owner(1001, None, None))
    assert owner == Owner(1001, None, None)
    assert (found.uids, found.unreadable) == (None, ("exe",))
    assert found.connections.unreadable == ("tcp",)


@pytest.mark.parametrize(
    "argv",
    [
        (b"node", b"--connection-token=s3cret"),
        (b"node", b"--connection-token", b"s3cret"),
        (b"node", b"--agent-host-bridge-connection-token=s3cret", b"x" * 300),
        (b"x" * 300, b"--db-password", b"s3cret"),
    ],
)
def test_no_secret_is_kept(argv: tuple[bytes, ...]) -> None:
    root = launcher(10)
    kept = to_facts(tree(root=root, members=(root, process(11, *argv, ppid=10))), ADA)
    assert "s3cret" not in json.dumps(kept)


def test_bytes_that_are_not_text_come_back() -> None:
    root = process(10, b"/home/\xff\xfe/node", b"\x1b[31m", b"")
    found, _ = again(tree(root=root))
    assert found.root.argv == root.argv


@pytest.mark.parametrize(
    "argv",
    [
        (b"/opt/" + b"x" * 900 + b"/tmux", b"new"),
        (b"java", *[b"-Dlong=" + b"y" * 90] * 9, b"/home/" + b"z" * 400 + b"/nextflow-23.jar"),
        (b"bash", b"-x" * 300, b"-c", b"sleep 9"),
        (b"bash", b"--init-file", b"s" * 400),
        (b"bash", *[b""] * 4000),
    ],
)
def test_a_long_command_line_is_cut_where_nobody_judges_by_it(argv: tuple[bytes, ...]) -> None:
    cut = shortened(argv)
    assert sum(map(len, cut)) <= ARGV_LIMIT
    root = launcher(10)
    protect = Protect()

    def hits(spelled: tuple[bytes, ...]) -> int:
        job = process(11, *spelled, ppid=10, tty=34816)
        return len(protection(tree(root=root, members=(root, job)), ADA, protect, {}))

    assert hits(cut) == hits(argv)
