"""What the store tells of servers and memory over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import ADA, NOW
from tests.stores import HOUR, new, scan, trees
from vscadmin.cleanup.store import Store
from vscadmin.cleanup.store_trend import Size, TrendReader


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new(tmp_path) as opened:
        yield opened


def read(tmp_path: Path) -> TrendReader:
    found = TrendReader.open(str(tmp_path / "store.sqlite"))
    assert found is not None
    return found


def test_each_scan_is_summed_up(store: Store, tmp_path: Path) -> None:
    plan = scan(store, trees(3), NOW - HOUR)
    scan(store, trees(1), NOW)
    rss = sum(each.tree.rss for each in plan)
    with read(tmp_path) as reader:
        assert reader.sizes(0.0, 60.0) == (
            Size(NOW - HOUR, 3, 0, rss),
            Size(NOW, 1, 0, rss // 3),
        )


def test_the_abandoned_are_counted(store: Store, tmp_path: Path) -> None:
    busy, idle = trees(2)
    busy = replace(busy, connections=replace(busy.connections, clients=("somebody",)))
    for hour in range(9, -1, -1):
        scan(store, [busy, idle], NOW - hour * HOUR)
    with read(tmp_path) as reader:
        assert [each.abandoned for each in reader.sizes(0.0, HOUR)][-1] == 1
        assert {each.trees for each in reader.sizes(0.0, HOUR)} == {2}


def test_a_scan_that_saw_no_server_is_there_with_zeros(store: Store, tmp_path: Path) -> None:
    scan(store, [], NOW)
    with read(tmp_path) as reader:
        assert reader.sizes(0.0, HOUR) == (Size(NOW, 0, 0, 0),)


def test_of_many_scans_the_last_of_each_span_stands(store: Store, tmp_path: Path) -> None:
    for minute in range(0, 180, 10):
        scan(store, trees(1 + minute // 60), NOW + minute * 60)
    with read(tmp_path) as reader:
        assert [(each.at - NOW, each.trees) for each in reader.sizes(NOW, HOUR)] == [
            (3000.0, 1),
            (6600.0, 2),
            (10200.0, 3),
        ]


def test_what_is_older_is_left_out(store: Store, tmp_path: Path) -> None:
    for hour in range(5, -1, -1):
        scan(store, trees(1), NOW - hour * HOUR)
    with read(tmp_path) as reader:
        assert len(reader.sizes(NOW - 2 * HOUR, 60.0)) == 3
        assert [each.at for each in reader.edges(NOW - 2 * HOUR)] == [NOW - 2 * HOUR, NOW]


def test_one_scan_is_the_first_and_the_last(store: Store, tmp_path: Path) -> None:
    scan(store, trees(2), NOW, owner=ADA)
    with read(tmp_path) as reader:
        assert [each.trees for each in reader.edges(0.0)] == [2]
        assert reader.edges(NOW + 1) == ()
