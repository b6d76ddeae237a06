"""A snapshot is parsed strictly: another machine wrote it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vscadmin.cleanup.peers import Ask, Peer, Standing, Told
from vscadmin.cleanup.snapshot_json import SnapshotError, dump, parse
from vscadmin.escape import printable
from vscadmin.policy.settings import Action

NOW = 1_790_000_000.0
TREE = Standing(1001, "ada", 4100, 77, NOW - 90_000)
ASK = Ask(
    *TREE,
    product="vscode",
    rule="abandoned",
    action=Action.TERMINATE,
    notice=86_400,
    earliest=NOW,
    since=NOW,
    clear_since=NOW,
    title="VS Code, Remote-SSH",
    started="Fri",
    age="25h",
    client="none",
    memory="1.4G",
    reasons=("state is abandoned",),
)
TOLD = Told(
    node="login1",
    boot_id="b00710ad",
    pid=4100,
    start_ticks=77,
    user="ada",
    product="vscode",
    rule="abandoned",
    action=Action.TERMINATE,
    address="ada@example.edu",
    asked_at=NOW,
    delivered_at=NOW,
    not_before=NOW + 86_400,
)
PEER = Peer("login2", "b00710ad", NOW, NOW, True, (TREE,), (ASK,), (TOLD,), {"ada": NOW})


def test_what_is_written_is_read_again() -> None:
    assert parse(dump(PEER), "login2") == PEER


def changed(path: str, value: Any) -> bytes:
    """Return the snapshot with one value replaced; `asks.0.pid` names it."""
    document = json.loads(dump(PEER))
    *above, last = path.split(".")
    inner = document
    for key in above:
        inner = inner[int(key)] if isinstance(inner, list) else inner[key]
    inner[last] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("node", "login3", "node: is login3, and the file is that of login2"),
        ("node", "../login2", "node: must be a node's name"),
        ("boot_id", "login1/b", "boot_id: must be a boot's id"),
        ("taken_at", "now", "taken_at: must be a moment"),
        ("taken_at", float("nan"), "taken_at: must be a moment"),
        ("written_at", float("inf"), "written_at: must be a moment"),
        ("written_at", True, "written_at: must be a moment"),
        ("sends", 1, "sends: must be true or false"),
        ("trees", {}, "trees: must be an array"),
        ("trees.0.pid", -1, "trees: pid: must be a whole number"),
        ("trees.0.uid", 1.5, "trees: uid: must be a whole number"),
        ("trees.0.start_ticks", 1 << 60, "trees: start_ticks: must be a whole number"),
        ("asks.0.user", "../ada", "asks: user: must be a user name of"),
        ("asks.0.user", "Ada\n", "asks: user: must be a user name of"),
        ("asks.0.action", "keep", 'asks: action: must be "notify" or "terminate"'),
        ("asks.0.notice", 10**12, "asks: notice: is longer than any notice"),
        ("asks.0.reasons", ["x"] * 21, "asks: reasons: must be an array of at most 20"),
        ("asks.0.title", 7, "asks: title: must be a string"),
        ("asks.0.extra", 7, "asks: has the wrong keys: extra"),
        ("told.0.not_before", None, "told: not_before: goes with the action terminate"),
        ("told.0.action", "notify", "told: not_before: goes with the action terminate"),
        ("written", [], "written: must be an object"),
        ("written.bob", "x", "written: must be a moment"),
        ("schema", 2, "has schema 2, and this vscadmin knows 1"),
        ("schema", True, "has schema True"),
    ],
)
def test_what_is_wrong_is_named(path: str, value: Any, words: str) -> None:
    with pytest.raises(SnapshotError, match=words):
        parse(changed(path, value), "login2")


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b"1" * 10_000])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(SnapshotError, match="is no JSON"):
        parse(data, "login2")


def test_texts_are_made_harmless() -> None:
    found = parse(changed("asks.0.title", "\x1b[31m" + "x" * 500), "login2")
    assert found.asks[0].title.startswith("\\x1b[31mxxx")
    assert len(found.asks[0].title) == 120


def test_a_node_says_nothing_twice_of_a_key_that_is_missing() -> None:
    document = json.loads(dump(PEER))
    del document["told"]
    with pytest.raises(SnapshotError, match="has the wrong keys: told"):
        parse(json.dumps(document).encode(), "login2")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_snapshot_or_an_error_with_words(data: bytes) -> None:
    with pytest.raises(SnapshotError, match=r"\w"):
        parse(data, "login2")


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
PATHS = [
    *json.loads(dump(PEER)),
    *(f"asks.0.{key}" for key in ASK._fields),
    *(f"told.0.{key}" for key in TOLD._fields),
    *(f"trees.0.{key}" for key in TREE._fields),
]


@given(path=st.sampled_from(PATHS), value=junk)
def test_any_value_anywhere_is_taken_or_refused_with_words(path: str, value: Any) -> None:
    words, found = "", PEER
    try:
        found = parse(changed(path, value), "login2")
    except SnapshotError as error:
        words = str(error)
    assert words == printable(words, len(words))
    assert parse(dump(found), "login2") == found


moments = st.floats(0, 9e10)


@given(asked=moments, delivered=moments, end=st.none() | moments)
def test_moments_are_kept_exactly(asked: float, delivered: float, end: float | None) -> None:
    action = Action.NOTIFY if end is None else Action.TERMINATE
    told = TOLD._replace(asked_at=asked, delivered_at=delivered, not_before=end, action=action)
    peer = replace(PEER, told=(told,))
    assert parse(dump(peer), "login2") == peer
