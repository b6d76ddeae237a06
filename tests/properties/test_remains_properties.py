"""What holds of every process table in which something of a tree is left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.builders import process
from vscadmin.cleanup.kill import is_same_executable
from vscadmin.model import Process, ProcessKey
from vscadmin.procs.kinship import Kinship
from vscadmin.procs.remains import still_there

PIDS = st.integers(1, 12)
TABLES = st.dictionaries(PIDS, st.tuples(PIDS, st.integers(0, 5))).map(
    lambda rows: {
        pid: process(pid, "x", ppid=ppid, start_ticks=start) for pid, (ppid, start) in rows.items()
    }
)
KEYS = st.lists(st.builds(ProcessKey, PIDS, st.integers(0, 5)), max_size=6)
PATHS = st.text("ab/. nfs(deleted)", max_size=20).map(str.encode)


@given(TABLES, KEYS)
def test_whoever_is_left_is_known_or_descends_from_somebody_known(
    table: dict[int, Process], known: list[ProcessKey]
) -> None:
    kin = Kinship(table)
    for each in still_there(table, known).values():
        line = [each, *kin.ancestors(each)]
        assert any(above.key in known for above in line)


@given(TABLES, KEYS)
def test_nobody_who_is_known_and_no_child_of_theirs_is_missed(
    table: dict[int, Process], known: list[ProcessKey]
) -> None:
    left = still_there(table, known)
    assert {each.pid for each in table.values() if each.key in known} <= left.keys()
    kin = Kinship(table)
    for each in table.values():
        parent = kin.parent(each)
        if parent is not None and parent.pid in left:
            assert each.pid in left


@given(TABLES, KEYS)
def test_knowing_more_never_loses_anybody(
    table: dict[int, Process], known: list[ProcessKey]
) -> None:
    for at in range(len(known)):
        assert still_there(table, known[:at]).keys() <= still_there(table, known).keys()


@given(PATHS, PATHS)
def test_being_the_same_executable_is_mutual(one: bytes, other: bytes) -> None:
    assert is_same_executable(one, one)
    assert is_same_executable(one, other) is is_same_executable(other, one)
    if is_same_executable(one, other):
        folders = {each.removesuffix(b" (deleted)").rpartition(b"/")[0] for each in (one, other)}
        assert len(folders) == 1
