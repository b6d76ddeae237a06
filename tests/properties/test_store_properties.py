"""What holds for every tree that the store keeps, and for every row."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.builders import NOW, TICKS, tree
from vscadmin.cleanup.facts import ARGV_LIMIT, Seen, from_facts, shortened, to_facts
from vscadmin.cleanup.records import Delivery, Identity, Notice, Outcome, Result, Run, Termination
from vscadmin.cleanup.store_replay import pack, unpack
from vscadmin.cleanup.store_rows import (
    of_notice,
    of_run,
    of_termination,
    to_notice,
    to_run,
    to_termination,
)
from vscadmin.cleanup.store_sql import bindable
from vscadmin.model import Connections, Owner, Place, Process, Tree, Uids
from vscadmin.policy.decide import Decision, Scene, decide
from vscadmin.policy.settings import Action, Mode, Policy
from vscadmin.policy.states import History

ENFORCE = Policy(mode=Mode.ENFORCE)
PIDS = st.integers(1, 1 << 22)
WORDS = st.text(max_size=12)
MANY_WORDS = st.lists(WORDS, max_size=3).map(tuple)
TIMES = st.floats(0, 4e9)
PROCESSES = st.builds(
    Process,
    pid=PIDS,
    start_ticks=st.integers(0, 1 << 40),
    ppid=PIDS,
    pgid=PIDS,
    sid=PIDS,
    tty=st.sampled_from([0, 34816, 34817]),
    state=st.sampled_from("SRDZT"),
    cpu_ticks=st.integers(0, 1 << 40),
    rss=st.integers(0, 1 << 40),
    uid=st.sampled_from([0, 1001, 1002]),
    argv=st.lists(
        st.one_of(
            st.binary(max_size=20).map(lambda each: each.replace(b"\0", b"")),
            st.sampled_from([b"bash", b"tmux", b"-c", b"--init-file", b"/usr/bin/rsync", b"-l"]),
        ),
        max_size=6,
    ).map(tuple),
)
OWNERS = st.builds(
    Owner,
    uid=st.sampled_from([0, 1001]),
    name=st.none() | st.sampled_from(["ada", "Ada", "\udcff"]),
    groups=st.none() | MANY_WORDS,
)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    members = draw(st.lists(PROCESSES, min_size=1, max_size=5, unique_by=lambda each: each.pid))
    pids = draw(st.sets(st.sampled_from([each.pid for each in members])))
    facts: dict[str, Any] = {
        "started_at": draw(TIMES),
        "orphan": draw(st.booleans()),
        "verified": draw(st.booleans()),
        "report_only": draw(st.booleans()),
        "product": draw(st.sampled_from(["vscode", "cursor", "tunnel"])),
        "title": draw(WORDS),
        "layout": draw(WORDS),
        "parent": draw(WORDS),
        "connections": draw(
            st.builds(Connections, MANY_WORDS, MANY_WORDS, st.integers(0, 9), MANY_WORDS)
        ),
        "uids": draw(st.none() | st.builds(Uids, *[st.sampled_from([0, 1001])] * 4)),
        "place": draw(st.sampled_from(Place)),
        "place_words": draw(WORDS),
        "unreadable": draw(MANY_WORDS),
        "foreign": tuple(each for each in members if each.pid in pids),
        "agents": draw(MANY_WORDS),
        "servers": draw(st.integers(0, 9)),
        "grace": draw(st.none() | st.tuples(st.integers(0, 10**9), WORDS)),
    }
    found = tree(root=members[0], members=tuple(members), **facts)
    host = draw(st.none() | st.integers(0, 10**8).map(lambda ticks: ticks / TICKS))
    return replace(found, host_started_at=None if host is None else found.started_at + host)


def again(one: Tree, owner: Owner) -> tuple[Tree, Owner]:
    kept = unpack(pack(to_facts(one, owner)).body)
    return from_facts(kept, Seen(one.rss, one.cpu_ticks / TICKS, one.started_at), TICKS)


@given(trees(), OWNERS)
def test_facts_come_back(one: Tree, owner: Owner) -> None:
    """Only the sums of memory and CPU time move to the root, and a mood becomes S."""
    found, whose = again(one, owner)
    assert whose == owner
    assert (found.key, found.rss, found.cpu_ticks) == (one.key, one.rss, one.cpu_ticks)
    settled = tuple(
        each._replace(rss=0, cpu_ticks=0, state="Z" if each.state == "Z" else "S")
        for each in one.members
    )
    assert tuple(each._replace(rss=0, cpu_ticks=0) for each in found.members) == settled
    assert [each.pid for each in found.foreign] == [each.pid for each in one.foreign]
    moved: dict[str, Any] = {"root": one.root, "members": one.members, "foreign": one.foreign}
    assert abs((found.host_started_at or 0) - (one.host_started_at or 0)) < 0.001
    assert replace(found, **moved, host_started_at=one.host_started_at) == one


@given(trees(), OWNERS)
def test_facts_of_what_came_back_are_the_same(one: Tree, owner: Owner) -> None:
    assert pack(to_facts(*again(one, owner))) == pack(to_facts(one, owner))


def judged(one: Tree, owner: Owner, history: History) -> Decision:
    scene = Scene({one.root.uid: owner}, {1001: "pid 1"}, {one.key: history}, TICKS)
    (decision,) = decide([one], scene, ENFORCE, NOW)
    return decision


@given(trees(), OWNERS, st.integers(0, 10**6))
def test_a_stored_tree_is_judged_as_it_was(one: Tree, owner: Owner, ago: int) -> None:
    since = NOW - ago
    history = History(since, None, NOW - 600, None, since, since, 5)
    before, after = judged(one, owner, history), judged(again(one, owner)[0], owner, history)
    settled = replace(before, tree=after.tree, memory=after.memory)
    assert after == settled
    assert after.memory.state is before.memory.state


@given(st.lists(st.binary(max_size=300), max_size=8).map(tuple))
def test_a_command_line_is_short_and_stays_as_it_is_once_cut(argv: tuple[bytes, ...]) -> None:
    cut = shortened(argv)
    assert sum(len(each) + 1 for each in cut) <= ARGV_LIMIT
    assert len(cut) <= len(argv)
    assert shortened(cut) == cut


IDENTITIES = st.builds(Identity, WORDS, PIDS, st.integers(0, 1 << 50))
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=12)
NOTICES = st.builds(
    Notice,
    identity=IDENTITIES,
    user=WORDS,
    product=WORDS,
    rule=WORDS,
    action=st.sampled_from(Action),
    address=WORDS,
    created_at=TIMES,
    delivery=st.sampled_from(Delivery),
    not_before=st.none() | TIMES,
    delivered_at=st.none() | TIMES,
    error=WORDS,
)
RUNS = st.builds(
    Run,
    run_id=WORDS,
    host=WORDS,
    started_at=TIMES,
    mode=WORDS,
    policy_digest=WORDS,
    outcome=st.sampled_from(Outcome),
    finished_at=st.none() | TIMES,
    plan_hash=WORDS,
    words=st.lists(ANY_TEXT, max_size=3).map(tuple),
)
TERMINATIONS = st.builds(
    Termination,
    identity=IDENTITIES,
    user=WORDS,
    product=WORDS,
    rule=WORDS,
    started_at=TIMES,
    result=st.sampled_from(Result),
    rss=st.integers(0, 1 << 50),
    finished_at=st.none() | TIMES,
    survivors=st.integers(0, 99),
    words=st.lists(ANY_TEXT, max_size=3).map(tuple),
)


@given(NOTICES, RUNS, TERMINATIONS)
def test_records_come_back(notice: Notice, run: Run, termination: Termination) -> None:
    assert to_notice(of_notice(notice)) == notice
    assert to_run(of_run(run)) == run
    assert to_termination(of_termination(termination)) == termination


@given(NOTICES, st.integers(0, 12), st.one_of(st.none(), st.integers(0, 9), WORDS))
def test_a_changed_row_is_refused(notice: Notice, where: int, value: Any) -> None:
    row = list(of_notice(notice))
    changed = row[where] != value
    row[where] = value
    try:
        found = to_notice(tuple(row))
    except ValueError:
        assert changed
    else:
        assert found == notice


@given(ANY_TEXT)
def test_any_text_can_be_bound(text: str) -> None:
    bound = bindable(text)
    assert json.loads(json.dumps(bound)) == bound.encode().decode()
