"""The reports of many nodes as the facts of one page."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from tests.builders import NOW
from tests.pages import HOSTILE, texts
from vscadmin.cli.fleet_page import page_of
from vscadmin.escape import printable
from vscadmin.fleet.answers import Heard, Outcome
from vscadmin.fleet.merge import heard_report, merge
from vscadmin.page.facts import Node, Server
from vscadmin.page.render import render

HOUR = 3600.0


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def tree(**facts: Any) -> dict[str, Any]:
    known = {
        "pid": 4100,
        "start_ticks": 1,
        "uid": 1001,
        "user": "ada",
        "product": "vscode",
        "state": "abandoned",
        "since": iso(NOW - 30 * HOUR),
        "started": iso(NOW - 50 * HOUR),
        "orphan": True,
        "processes": 4,
        "rss_bytes": 1 << 30,
        "cpu_percent": 1.5,
        "rule": "abandoned",
        "held_back": [],
        "notes": [],
        "next": [{"action": "terminate", "not_before": iso(NOW + 3 * HOUR), "allowed": True}],
        "command": "sh code-server",
    }
    return {**known, **facts}


def answer(node: str, *trees: dict[str, Any]) -> Heard:
    said = {
        "schema": 1,
        "kind": "report",
        "host": node,
        "time": iso(NOW),
        "boot_id": f"boot-of-{node}",
        "processes_seen": 900,
        "complete": True,
        "policy": {"source": "/etc/vscadmin/policy.toml", "sha256": None, "mode": "notify"},
        "trees": list(trees),
    }
    return heard_report(node, json.dumps(said).encode(), 0)


def test_a_tree_of_a_report_is_a_row_with_all_of_it() -> None:
    (row,) = page_of(merge([answer("login01", tree())]), NOW).servers
    assert row == Server(
        node="login01",
        user="ada",
        pid=4100,
        product="vscode",
        state="abandoned",
        since=NOW - 30 * HOUR,
        started_at=NOW - 50 * HOUR,
        orphan=True,
        processes=4,
        rss=1 << 30,
        cpu_percent=1.5,
        rule="abandoned",
        next="end in 3h",
        command="sh code-server",
    )


def test_a_node_says_by_which_policy_it_judged() -> None:
    (node,) = page_of(merge([answer("login01")]), NOW).nodes
    assert node == Node("login01", NOW, 900, "/etc/vscadmin/policy.toml", "notify")


def test_a_node_that_did_not_answer_is_on_the_page_with_its_reason() -> None:
    silent = Heard("login02", Outcome.SILENT, "did not answer in time")
    page = page_of(merge([answer("login01", tree()), silent]), NOW)
    assert page.nodes[1] == Node("login02", None, problem="did not answer in time")
    assert "1 node did not answer: login02" in texts(render(page), "p")


def test_moments_that_are_none_are_not_known() -> None:
    page = page_of(merge([answer("login01", tree(since=None, started="soon"))]), NOW)
    assert (page.servers[0].since, page.servers[0].started_at) == (None, None)
    assert texts(render(page), "td").count("?") == 2


def test_what_a_hostile_node_says_is_text() -> None:
    trees = [tree(user=word, command=word, rule=word, product=word) for word in HOSTILE]
    html = render(page_of(merge([answer("login01", *trees)]), NOW))
    assert sorted(texts(html, "code")) == sorted(printable(word) for word in HOSTILE)
    assert len(texts(html, "script")) == 1
