from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.builders import ADA, NOW, launcher, tree
from vscadmin.cleanup.metrics import (
    Numbers,
    TextfileError,
    memory_by_state,
    trees_by_state,
    write,
)
from vscadmin.cleanup.records import Delivery, Result
from vscadmin.model import Connections
from vscadmin.policy.decide import Plan, Scene, decide
from vscadmin.policy.settings import Policy, State

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
NOTHING = Numbers(
    "0.1.0", "observe", 30 * 86_400, NOW, products=("vscode", "cursor"), rules=("abandoned", "old")
)
SOMETHING = replace(
    NOTHING,
    mode="enforce",
    trees={(State.CONNECTED, "vscode"): 3, (State.GRACE, "jetbrains"): 1},
    memory={State.CONNECTED: 5 << 30},
    notices={("abandoned", Delivery.DELIVERED): 7},
    terminations={("abandoned", Result.ENDED): 6, ('re"named\\\n', Result.SURVIVORS): 1},
    survivors=2,
    regretted=1,
    refused=True,
    planned_trees=21,
    planned_users=11,
    turned_away=3,
    last_success=NOW - 600.25,
    last_success_seconds=2.5,
    store_size=1 << 20,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vscadmin.prom"


def families(numbers: Numbers, path: Path) -> list[Metric]:
    write(numbers, str(path))
    return list(text_string_to_metric_families(path.read_text()))


def samples(numbers: Numbers, path: Path) -> dict[tuple[str, ...], float]:
    """Return the values by name and label values, these in the order of the labels' names."""
    return {key(each): each.value for family in families(numbers, path) for each in family.samples}


def key(sample: Sample) -> tuple[str, ...]:
    return (sample.name, *(value for _, value in sorted(sample.labels.items())))


def test_every_number_arrives(path: Path) -> None:
    found = samples(SOMETHING, path)
    assert found["vscadmin_info", "enforce", "1", "0.1.0"] == 1
    assert found["vscadmin_trees", "vscode", "connected"] == 3
    assert found["vscadmin_trees", "jetbrains", "grace"] == 1, "out of scope, and still there"
    assert found["vscadmin_memory_bytes", "connected"] == 5 << 30
    assert found["vscadmin_notices_in_history", "delivered", "abandoned"] == 7
    assert found["vscadmin_terminations_in_history", "ended", "abandoned"] == 6
    assert found["vscadmin_terminations_in_history", "survivors", 're"named\\\n'] == 1
    assert {name[0]: value for name, value in found.items() if len(name) == 1} == {
        "vscadmin_history_seconds": 30 * 86_400,
        "vscadmin_survivors_in_history": 2,
        "vscadmin_regretted_in_history": 1,
        "vscadmin_breaker_refused": 1,
        "vscadmin_planned_terminations": 21,
        "vscadmin_planned_users": 11,
        "vscadmin_runs_turned_away": 3,
        "vscadmin_last_run_timestamp_seconds": NOW,
        "vscadmin_last_success_timestamp_seconds": NOW - 600.25,
        "vscadmin_last_success_duration_seconds": 2.5,
        "vscadmin_store_size_bytes": 1 << 20,
    }


def test_where_there_is_nothing_every_series_is_there_with_zero(path: Path) -> None:
    found = Counter(name[0] for name, value in samples(NOTHING, path).items() if value == 0)
    assert found["vscadmin_trees"] == len(State) * 2
    assert found["vscadmin_memory_bytes"] == len(State)
    assert found["vscadmin_notices_in_history"] == len(Delivery) * 2
    assert found["vscadmin_terminations_in_history"] == len(Result) * 2
    assert found["vscadmin_last_success_timestamp_seconds"] == 1, "never: long ago for an alert"


def test_numbers_add_series_and_take_none_away(path: Path) -> None:
    mode = {("vscadmin_info", "observe", "1", "0.1.0")}
    assert set(samples(NOTHING, path)) - mode < set(samples(SOMETHING, path))


def test_no_label_is_about_a_user(path: Path) -> None:
    """Monitoring is read by more people than a login node's process table."""
    labels = {
        label for family in families(SOMETHING, path) for s in family.samples for label in s.labels
    }
    assert labels == {"mode", "schema", "version", "state", "product", "rule", "result"}
    plan = trees()
    told = replace(SOMETHING, trees=trees_by_state(plan), memory=memory_by_state(plan))
    write(told, str(path))
    assert ADA.name is not None
    assert not re.search(rf"\b{ADA.name}\b|{ADA.uid}|user=", path.read_text())


def trees() -> Plan:
    connected = Connections(("127.0.0.1:1",), ("ssh",))
    found = [
        tree(),
        tree(root=launcher(2), connections=connected),
        tree(root=launcher(3), product="cursor", connections=connected),
    ]
    return decide(found, Scene({1001: ADA}), Policy(), NOW)


def test_a_plan_is_counted_by_state() -> None:
    assert trees_by_state(trees()) == {
        (State.GRACE, "vscode"): 1,
        (State.CONNECTED, "vscode"): 1,
        (State.CONNECTED, "cursor"): 1,
    }
    assert memory_by_state(trees()) == {State.GRACE: 1 << 20, State.CONNECTED: 2 << 20}


class TestNames:
    """What promtool check metrics asks for, which is not at hand everywhere."""

    def test_they_follow_the_rules_of_prometheus(self, path: Path) -> None:
        for family in families(SOMETHING, path):
            assert re.fullmatch(r"vscadmin(_[a-z]+)*", family.name)
            assert family.documentation.endswith(".")
            assert family.type == "gauge"
            assert not re.search(
                r"_(total|count|sum|bucket|gauge|minutes|hours|days|kb|mb|ms)$", family.name
            ), "what is no counter is not called _total, and units are seconds and bytes"

    def test_time_and_size_say_their_unit(self, path: Path) -> None:
        for family in families(SOMETHING, path):
            about = family.documentation.lower()
            if re.match(r"when|how long|how far", about):
                assert family.name.endswith("_seconds")
            if re.match(r"size|resident memory", about):
                assert family.name.endswith("_bytes")

    def test_a_moment_is_called_a_timestamp(self, path: Path) -> None:
        for family in families(SOMETHING, path):
            is_moment = family.documentation.startswith("When")
            assert family.name.endswith("_timestamp_seconds") == is_moment

    def test_none_is_there_twice(self, path: Path) -> None:
        found = [key(s) for family in families(SOMETHING, path) for s in family.samples]
        assert len(found) == len(set(found))

    def test_the_docs_name_every_metric_and_its_labels(self, path: Path) -> None:
        told = {
            name: set(re.findall(r"`(\w+)`", labels))
            for name, labels in re.findall(
                r"^\| `(vscadmin_\w+)` \| ([^|]*) \|", DOCS.read_text(), re.MULTILINE
            )
        }
        assert told == {
            family.name: set(family.samples[0].labels) for family in families(SOMETHING, path)
        }

    def test_the_docs_ask_for_metrics_that_exist(self, path: Path) -> None:
        known = {family.name for family in families(SOMETHING, path)}
        assert set(re.findall(r"\bvscadmin_\w+", DOCS.read_text())) <= known


class TestFile:
    @pytest.fixture(params=[0o000, 0o027, 0o077])
    def umask(self, request: pytest.FixtureRequest) -> Iterator[None]:
        before = os.umask(request.param)
        yield
        os.umask(before)

    def test_the_exporter_can_read_it_whatever_the_umask(self, umask: None, path: Path) -> None:
        write(NOTHING, str(path))
        assert stat.S_IMODE(path.stat().st_mode) == 0o644

    def test_it_is_replaced_as_a_whole(self, path: Path) -> None:
        """Whoever has the old one open reads it to its end."""
        write(NOTHING, str(path))
        with path.open() as old:
            write(SOMETHING, str(path))
            assert 'mode="observe"' in old.read()
        assert 'mode="enforce"' in path.read_text()
        assert os.listdir(path.parent) == [path.name]

    def test_a_link_in_its_place_is_replaced_not_followed(self, path: Path) -> None:
        other = path.with_name("passwd")
        other.write_text("mine")
        path.symlink_to(other)
        write(NOTHING, str(path))
        assert other.read_text() == "mine"
        assert not path.is_symlink()

    def test_a_link_where_the_new_file_goes_is_not_followed(self, path: Path) -> None:
        """Where prometheus_client's own writer would write through it."""
        other = path.with_name("passwd")
        other.write_text("mine")
        path.with_name(f".{path.name}.new").symlink_to(other)
        write(NOTHING, str(path))
        assert other.read_text() == "mine"
        assert not path.is_symlink()

    def test_what_a_killed_run_left_is_no_hindrance(self, path: Path) -> None:
        path.with_name(f".{path.name}.new").write_text("half a fi")
        write(NOTHING, str(path))
        assert os.listdir(path.parent) == [path.name]

    def test_what_could_not_be_finished_is_taken_away(self, path: Path) -> None:
        path.mkdir()
        with pytest.raises(TextfileError, match="Is a directory"):
            write(NOTHING, str(path))
        assert os.listdir(path.parent) == [path.name]

    def test_a_directory_that_is_missing_is_an_expected_failure(self, tmp_path: Path) -> None:
        with pytest.raises(TextfileError, match="No such file or directory"):
            write(NOTHING, str(tmp_path / "none" / "vscadmin.prom"))

    def test_a_directory_that_is_none_is_an_expected_failure(self, path: Path) -> None:
        path.write_text("")
        with pytest.raises(TextfileError, match="Not a directory"):
            write(NOTHING, str(path / "vscadmin.prom"))

    def test_a_file_system_that_takes_nothing_is_an_expected_failure(self) -> None:
        with pytest.raises(TextfileError, match=r"^/proc/vscadmin\.prom: the metrics cannot be"):
            write(NOTHING, "/proc/vscadmin.prom")

    def test_the_old_file_stays_when_the_new_one_cannot_be_written(self, path: Path) -> None:
        write(NOTHING, str(path))
        path.with_name(f".{path.name}.new").mkdir()
        with pytest.raises(TextfileError):
            write(SOMETHING, str(path))
        assert 'mode="observe"' in path.read_text()


def test_what_a_run_gives_has_no_field_for_a_name() -> None:
    assert not {each.name for each in fields(Numbers)} & {"user", "users", "owner", "owners"}
