"""What other nodes say: checked, made harmless, merged; and who is missing."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fleet import one_tree
from vscadmin.errors import UsageError
from vscadmin.fleet.answers import Heard, Outcome
from vscadmin.fleet.drift import Clock, State, clock_of, odd, state_of
from vscadmin.fleet.merge import heard_report, merge
from vscadmin.fleet.nodes import folded, node_names


def report(host: str = "login1", **facts: Any) -> bytes:
    known: dict[str, Any] = {
        "schema": 1,
        "kind": "report",
        "host": host,
        "time": "2026-09-21T14:13:20Z",
        "boot_id": f"boot of {host}",
        "processes_seen": 400,
        "complete": True,
        "policy": {"source": "built-in", "sha256": None, "mode": "observe"},
        "trees": [one_tree(0, 0)],
    }
    return json.dumps({**known, **facts}).encode()


def tree(**facts: Any) -> dict[str, Any]:
    return one_tree(0, 0) | facts


def test_a_report_is_heard() -> None:
    heard = heard_report("login1", report(), 0)
    assert (heard.outcome, heard.words, heard.is_whole) == (Outcome.ANSWERED, "", True)


@pytest.mark.parametrize(
    ("said", "code", "outcome", "words"),
    [
        (b"", 0, Outcome.UNUSABLE, "what it said is no JSON"),
        (b"Welcome to login1!\n" + report(), 0, Outcome.UNUSABLE, "what it said is no JSON"),
        (b"[]", 0, Outcome.UNUSABLE, "what it said is no document of vscadmin"),
        (b"[" * 99_999, 0, Outcome.UNUSABLE, "what it said is no JSON"),
        (report(schema=2), 0, Outcome.OTHER_SCHEMA, "its JSON has schema 2, ours 1"),
        (report(schema="\x1b[31m"), 0, Outcome.OTHER_SCHEMA, r"schema \\x1b\[31m, ours 1"),
        (report(kind="scan"), 0, Outcome.UNUSABLE, "another document than report"),
        (report(trees={}), 0, Outcome.UNUSABLE, "report.trees: has the wrong type"),
        (report(policy={}), 0, Outcome.UNUSABLE, "policy.source: is missing"),
        (report(trees=[7]), 0, Outcome.UNUSABLE, r"trees\[0\]: is no object"),
        (report(trees=[tree(pid="1")]), 0, Outcome.UNUSABLE, r"trees\[0\].pid: has the wrong"),
        (report(trees=[tree(pid=True)]), 0, Outcome.UNUSABLE, r"trees\[0\].pid: has the wrong"),
        (report(trees=[tree(notes=[[]])]), 0, Outcome.UNUSABLE, "a reason is no text"),
        (report(trees=[tree(next=[{}])]), 0, Outcome.UNUSABLE, "next.action: is missing"),
        (report(trees=[tree(cpu_percent=float("nan"))]), 0, Outcome.UNUSABLE, "a number that is"),
        (report(), 78, Outcome.FAILED, "exit 78"),
    ],
)
def test_what_is_no_report_is_named(said: bytes, code: int, outcome: Outcome, words: str) -> None:
    heard = heard_report("login1", said, code)
    assert (heard.outcome, heard.document) == (outcome, {})
    assert re.search(words, heard.words)


def test_what_a_node_could_not_read_is_missing_and_the_rest_is_shown() -> None:
    heard = heard_report("login1", report(complete=False), 10)
    merged = merge([heard])
    assert merged.missing == merged.nodes
    assert len(merged.trees) == 1


def test_names_that_a_node_makes_up_are_harmless() -> None:
    evil = tree(user="\x1b]0;x\x07", command="a\nb" * 400, product="\u202ecod", held_back=["\r"])
    merged = merge([heard_report("login1", report(trees=[evil]), 0)])
    (found,) = merged.trees
    for key in ("user", "command", "product"):
        assert found[key].isprintable()
    assert len(found["command"]) <= 256
    assert found["held_back"] == ["\\x0d"]
    assert merged.users[0]["user"] == "\\x1b]0;x\\x07"


def test_totals_are_over_all_nodes() -> None:
    one = report("login1", trees=[tree(), tree(pid=2, state="connected")])
    two = report("login2", trees=[tree(), tree(uid=7, user=None)])
    merged = merge([heard_report("login1", one, 0), heard_report("login2", two, 0)])
    first, second = merged.users
    assert (first["user"], first["nodes"], first["trees"]) == ("u10000", 2, 3)
    assert (first["connected"], first["abandoned"], first["cpu_percent"]) == (1, 2, 1.2)
    assert first["rss_bytes"] == 3 * (812 << 20)
    assert (second["uid"], second["user"], second["nodes"]) == (7, None, 1)


def test_one_user_can_be_asked_for() -> None:
    both = report(trees=[tree(), tree(uid=7, user=None)])
    assert [each["uid"] for each in merge([heard_report("n", both, 0)], "#7").trees] == [7]


def test_a_machine_that_answers_under_two_names_counts_once() -> None:
    said = [heard_report(name, report("login1"), 0) for name in ("login", "login1")]
    merged = merge(said)
    assert len(merged.trees) == 1
    assert [each.outcome for each in merged.nodes] == [Outcome.ANSWERED, Outcome.TWICE]
    assert merged.missing[0].words == "is the machine that answered as login: counted once"


def test_partial_results_are_never_hidden() -> None:
    merged = merge([heard_report("login1", report(), 0), Heard("login2", Outcome.SILENT, "no")])
    assert [each.node for each in merged.missing] == ["login2"]
    assert len(merged.trees) == 1


@given(st.binary(max_size=300))
def test_any_bytes_are_a_report_or_named(said: bytes) -> None:
    heard = heard_report("login1", said, 0)
    assert heard.outcome is not Outcome.ANSWERED
    assert heard.words.isprintable()


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=10,
)


@given(key=st.sampled_from(sorted(one_tree(0, 0))), value=junk)
def test_any_value_in_a_tree_is_merged_or_named(key: str, value: Any) -> None:
    heard = heard_report("login1", report(trees=[tree(**{key: value})]), 0)
    merged = merge([heard])
    assert heard.is_whole is (len(merged.trees) == 1)
    assert "\x1b" not in json.dumps(merged.trees, ensure_ascii=False)


# What drifted.

FACTS = {
    "version": "0.3.0",
    "mode": "enforce",
    "policy_sha256": "a" * 64,
    "catalogue_sha256": None,
    "proxy_sha256": "b" * 64,
    "plugins": [{"name": "workgroup", "sha256": "c" * 64}],
    "last_run": "2026-09-21T14:13:20Z",
    "last_outcome": "done",
}


def doctor(**facts: Any) -> bytes:
    checks = [{"check": "mail", "grade": "warn", "words": "no answer"}]
    document = {"schema": 1, "kind": "doctor", "checks": checks, "facts": FACTS | facts}
    return json.dumps(document).encode()


def state(node: str, **facts: Any) -> State:
    return state_of(node, doctor(**facts), 0, Clock(0.0, 0.1))


def test_what_a_node_says_of_itself_is_heard() -> None:
    found = state("login1")
    assert found.compared["policy"] == "a" * 12
    assert found.compared["plugins"] == f"workgroup {'c' * 12}"
    assert found.compared["catalogue"] == "-"
    assert (found.grade, found.checks) == ("warn", ("mail: no answer",))


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("version", "0.2.9", "version"),
        ("mode", "notify", "mode"),
        ("policy_sha256", None, "policy"),
        ("proxy_sha256", "d" * 64, "proxy"),
        ("catalogue_sha256", "d" * 64, "catalogue"),
        ("plugins", [{"name": "workgroup", "sha256": None}], "plugins"),
    ],
)
def test_the_node_that_is_not_as_most_are_is_named(key: str, value: Any, what: str) -> None:
    states = [state("login1"), state("login2", **{key: value}), state("login3")]
    assert {each: names for each, names in odd(states).items() if names} == {
        what: frozenset({"login2"})
    }


def test_where_no_more_than_half_agree_all_are_named() -> None:
    states = [state("login1"), state("login2", version="0.2.9")]
    assert odd(states)["version"] == {"login1", "login2"}


def test_a_node_without_facts_is_of_another_version_and_named() -> None:
    said = json.dumps({"schema": 1, "kind": "doctor", "checks": []}).encode()
    found = state_of("login1", said, 0, None)
    assert (found.heard.outcome, found.heard.words) == (Outcome.UNUSABLE, "facts: is no object")


@pytest.mark.parametrize("plugins", [{}, ["x"], [{"name": 7, "sha256": None}]])
def test_plugins_that_are_none_are_refused(plugins: Any) -> None:
    assert state("login1", plugins=plugins).heard.outcome is Outcome.UNUSABLE


def test_a_clock_is_known_to_half_the_time_that_its_answer_took() -> None:
    assert clock_of(b"1005.5", 1000.0, 1001.0) == Clock(5.0, 0.5)
    assert clock_of(b"+nonsense", 1000.0, 1001.0) is None
    assert clock_of(b"nan", 1000.0, 1001.0) is None
    assert clock_of(b"1005", 1001.0, 1000.0) is None


@pytest.mark.parametrize(("offset", "wrong"), [(2.4, False), (2.6, True), (-2.6, True)])
def test_a_clock_is_wrong_beyond_what_the_measurement_leaves_open(
    offset: float, wrong: bool
) -> None:
    assert Clock(offset, 0.5).is_wrong is wrong


# Node sets.


def test_node_sets_are_clustershells() -> None:
    assert node_names("login[01-02],dtn", "-w") == ("dtn", "login01", "login02")
    assert folded(("login2", "login1", "dtn")) == "dtn,login[1-2]"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("login[1", "is no node set"),
        ("", "names no node"),
        ("@nosuchgroup", "names no node"),
        ("-oProxyCommand=x", "is no name of a node"),
        ("a;b", "is no name of a node"),
        ("login[1-9999]", "names 9999 nodes, more than 4096"),
        ("\x1b[31m", r"\\x1b"),
    ],
)
def test_what_is_no_node_set_is_named_with_its_source(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=rf"--nodes: .*{words}|--nodes: {words}"):
        node_names(text, "--nodes")
