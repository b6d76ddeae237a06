"""A page of facts as HTML: one text that loads nothing, whatever the names in it are.

Two lines of defence against names that are markup: Jinja2 escapes every value, and the
page's Content-Security-Policy lets run the one script and the one style that are in it, by
their hashes, and lets nothing be fetched.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from functools import cache
from hashlib import sha256
from importlib import resources
from typing import TYPE_CHECKING

from vscadmin.escape import printable
from vscadmin.page import charts
from vscadmin.page.facts import Node, Page, Server
from vscadmin.page.totals import STATES, by_node, by_user
from vscadmin.units import counted, format_duration, format_moment, format_size
from vscadmin.version import __version__

if TYPE_CHECKING:
    from jinja2 import Template

MOST_ROWS = 5000  # servers that are listed: a browser takes seconds for as many
_NAME = 64  # characters of a name


def render(page: Page) -> str:
    """Return the page as HTML; ASCII controls and the like in foreign words stand as escapes."""
    page = _harmless(page)
    users = by_user(page.servers)
    nodes = by_node(page.servers, (node.name for node in page.nodes))
    style, script = _asset("page.css"), _asset("page.js")
    return _template().render(
        page=page,
        listed=_listed(page.servers),
        node_facts={node.name: node for node in page.nodes},
        silent=[node for node in page.nodes if node.seen_at is None],
        users=users,
        nodes=nodes,
        user_bars=charts.bars(users),
        node_bars=charts.bars(nodes),
        trends=[(trend, charts.timelines(trend)) for trend in page.trends],
        rss=sum(server.rss for server in page.servers),
        states=STATES,
        width=charts.WIDTH,
        style=style,
        script=script,
        policy=_content_policy(style, script),
        version=__version__,
    )


def _listed(servers: tuple[Server, ...]) -> tuple[Server, ...]:
    """Return the servers there is room for, those with the most memory, in the order given."""
    if len(servers) <= MOST_ROWS:
        return servers
    by_memory = sorted(range(len(servers)), key=lambda number: -servers[number].rss)
    return tuple(servers[number] for number in sorted(by_memory[:MOST_ROWS]))


def _content_policy(style: str, script: str) -> str:
    """Return the Content-Security-Policy: nothing but what is in the page itself."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


def _harmless(page: Page) -> Page:
    """Return *page* with no control character and no reordering in any foreign word."""
    return replace(
        page,
        title=printable(page.title),
        nodes=tuple(map(_harmless_node, page.nodes)),
        servers=tuple(map(_harmless_server, page.servers)),
        trends=tuple(replace(each, node=printable(each.node, _NAME)) for each in page.trends),
        notes=tuple(printable(note) for note in page.notes),
    )


def _harmless_node(node: Node) -> Node:
    return Node(
        name=printable(node.name, _NAME),
        seen_at=node.seen_at,
        processes=node.processes,
        policy=printable(node.policy),
        mode=printable(node.mode, _NAME),
        problem=printable(node.problem),
    )


def _harmless_server(server: Server) -> Server:
    return replace(
        server,
        node=printable(server.node, _NAME),
        user=printable(server.user, _NAME),
        product=printable(server.product, _NAME),
        state=server.state if server.state in STATES else "unknown",
        rule=printable(server.rule, _NAME),
        next=printable(server.next),
        command=printable(server.command),
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, FunctionLoader, StrictUndefined  # noqa: PLC0415 - 0.1 s

    environment = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "size": format_size,
        "duration": format_duration,
        "moment": format_moment,
        "counted": counted,
    }
    return environment.get_template("page.html.j2")


@cache
def _asset(name: str) -> str:
    return (resources.files("vscadmin.page") / "assets" / name).read_text(encoding="utf-8")
