from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import BOOT, NOW, TICKS, launcher, tree
from tests.stores import delivered, new, notice, scan, termination
from vscadmin.cleanup.records import Result, Termination
from vscadmin.cleanup.regret import regretted
from vscadmin.cleanup.store import Store
from vscadmin.model import Tree

OLD = tree(root=launcher(4100, age=86400), product="vscode")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new(tmp_path / "lib") as opened:
        yield opened


def ended(**facts: Any) -> Termination:
    """Return the end of OLD, a second after it began."""
    known = {"result": Result.ENDED, "finished_at": NOW + 1}
    return termination(OLD, NOW, **{**known, **facts})


def opened(at: float, **facts: Any) -> Tree:
    """Return a server of the same owner that started at a moment."""
    root = launcher(4200, start_ticks=int((at - BOOT) * TICKS))
    return tree(root=root, **{"product": "vscode", **facts})


def is_regretted(store: Store, end: Termination, **facts: Any) -> bool:
    after = facts.pop("after", 600)
    again = opened(NOW + facts.pop("started_after", after), **facts)
    scan(store, [OLD], NOW - 600)
    scan(store, [again], NOW + after)
    return regretted(store, [end]) == (end,)


def test_the_same_product_within_the_hour_is_regret(store: Store) -> None:
    assert is_regretted(store, ended())


def test_a_survivors_tree_was_ended_too(store: Store) -> None:
    assert is_regretted(store, ended(result=Result.SURVIVORS))


@pytest.mark.parametrize("result", [Result.SPARED, Result.GONE, Result.CUT_SHORT, Result.STARTED])
def test_what_we_did_not_end_is_nothing_to_regret(store: Store, result: Result) -> None:
    assert not is_regretted(store, ended(result=result))


def test_after_an_hour_it_is_another_story(store: Store) -> None:
    assert not is_regretted(store, ended(), after=3602)
    assert is_regretted(store, ended(), after=3601)


def test_another_product_is_no_regret(store: Store) -> None:
    assert not is_regretted(store, ended(), product="cursor")


def test_another_users_server_is_no_regret(store: Store) -> None:
    assert not is_regretted(store, ended(user="grace"))


def test_what_ran_before_the_end_is_no_regret(store: Store) -> None:
    """A survivor, or a second server that a scan had not seen yet."""
    assert not is_regretted(store, ended(), started_after=-5)


def test_a_server_that_was_there_all_along_is_no_regret(store: Store) -> None:
    other = opened(NOW - 3600)
    for at in (NOW - 600, NOW + 600):
        scan(store, [OLD, other], at)
    assert regretted(store, [ended()]) == ()


def test_of_many_ends_only_those_are_told_that_were_regretted(store: Store) -> None:
    late = ended(started_at=NOW + 7200, finished_at=NOW + 7201)
    scan(store, [opened(NOW + 500)], NOW + 600)
    assert regretted(store, [late, ended()]) == (ended(),)


def test_what_is_stored_can_be_counted_without_reading_every_record(store: Store) -> None:
    assert (store.notice_counts(), store.termination_counts(), store.survivors()) == ({}, {}, 0)
    delivered(store, OLD, NOW - 60)
    delivered(store, OLD, NOW, rule="old")
    store.add_notices([notice(OLD, NOW + 60)])
    for number, result in enumerate((Result.ENDED, Result.ENDED, Result.SURVIVORS)):
        store.begin_termination(ended(started_at=NOW + number, result=result, survivors=number))
    assert store.notice_counts() == Counter((each.rule, each.delivery) for each in store.notices())
    found = store.terminations()
    assert store.termination_counts() == Counter((each.rule, each.result) for each in found)
    assert store.survivors() == 3


def test_where_nothing_was_ended_nothing_is_asked(store: Store) -> None:
    store.close()
    assert regretted(store, []) == ()
