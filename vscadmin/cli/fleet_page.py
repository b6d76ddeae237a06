"""`fleet report --html FILE`: the merged report as a page's facts."""

from __future__ import annotations

from typing import Any

from vscadmin.cli.render_fleet import moment_of, next_words
from vscadmin.fleet.answers import Heard
from vscadmin.fleet.merge import Merged, owner_of
from vscadmin.page.facts import Node, Page, Server


def page_of(merged: Merged, now: float) -> Page:
    """Return the page of a fleet; a node that is missing is on it, with the reason."""
    times = {each.node: moment_of(each.document.get("time", "")) for each in merged.nodes}
    return Page(
        title="Remote-editor servers of the fleet",
        made_at=now,
        nodes=tuple(_node(each, times[each.node]) for each in merged.nodes),
        servers=tuple(_server(tree, times[tree["node"]]) for tree in merged.trees),
        notes=tuple(f"Incomplete: {each.node}: {each.words}" for each in merged.missing),
    )


def _node(heard: Heard, seen_at: float | None) -> Node:
    said = heard.document
    policy = said.get("policy", {})
    return Node(
        name=heard.node,
        seen_at=seen_at,
        processes=said.get("processes_seen", 0),
        policy=policy.get("source", ""),
        mode=policy.get("mode", ""),
        problem=heard.words,
    )


def _server(tree: dict[str, Any], seen_at: float | None) -> Server:
    return Server(
        node=tree["node"],
        user=owner_of(tree),
        pid=tree["pid"],
        product=tree["product"],
        state=tree["state"],
        since=None if tree["since"] is None else moment_of(tree["since"]),
        started_at=moment_of(tree["started"]),
        orphan=tree["orphan"],
        processes=tree["processes"],
        rss=tree["rss_bytes"],
        cpu_percent=float(tree["cpu_percent"]),
        rule=tree["rule"] or "",
        next=next_words(tree, seen_at),
        command=tree["command"],
    )
