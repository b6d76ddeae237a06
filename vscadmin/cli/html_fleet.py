"""`fleet report --html FILE`: the reports of many nodes as one page."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from vscadmin.cli.render_fleet import next_words
from vscadmin.fleet.answers import Heard
from vscadmin.fleet.merge import Merged, owner_of
from vscadmin.page.facts import Node, Page, Server
from vscadmin.units import counted


def page_of_fleet(merged: Merged, made_at: float) -> Page:
    """Return the page of a fleet, every node that was asked on it; *made_at* is now.

    Since and age count to *made_at*, so a node whose clock is wrong shows ages that are.
    """
    times = {each.node: _moment(each.document.get("time")) for each in merged.nodes}
    return Page(
        title=f"Remote-editor servers of {counted(len(merged.nodes), 'node')}",
        made_at=made_at,
        nodes=tuple(_node(each, times[each.node]) for each in merged.nodes),
        servers=tuple(_server(tree, times[tree["node"]]) for tree in merged.trees),
        notes=("Next is what each node's own policy asks for, at the earliest.",),
    )


def _node(heard: Heard, seen_at: float | None) -> Node:
    policy = heard.document.get("policy", {})
    return Node(
        name=heard.node,
        seen_at=seen_at,
        processes=heard.document.get("processes_seen", 0),
        policy=policy.get("source", ""),
        mode=policy.get("mode", ""),
        problem=heard.words,
    )


def _server(tree: dict[str, Any], now: float | None) -> Server:
    return Server(
        node=tree["node"],
        user=owner_of(tree),
        pid=tree["pid"],
        product=tree["product"],
        state=tree["state"],
        since=_moment(tree["since"]),
        started_at=_moment(tree["started"]),
        orphan=tree["orphan"],
        processes=tree["processes"],
        rss=tree["rss_bytes"],
        cpu_percent=tree["cpu_percent"],
        rule=tree["rule"] or "",
        next=next_words(tree, now),
        command=tree["command"],
    )


def _moment(text: str | None) -> float | None:
    """Return the moment that a node wrote, None for what is none."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return None if found.tzinfo is None else found.timestamp()
