"""Pages to render, and a reader of HTML that keeps what a browser would show and load."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from tests.builders import NOW
from vscadmin.page.facts import End, Node, Page, Sample, Server, Trend

DAY = 86400.0
HOSTILE = (
    "<script>window.ran = 1</script>",
    "<img src=http://127.0.0.1:9/x onerror='window.ran = 1'>",
    '"><svg onload=window.ran=1>',
    "'\" onmouseover=window.ran=1 x='",
    "</td></tr></table><script>window.ran = 1</script>",
    "</script><script>window.ran = 1</script>",
    "</title><script>window.ran = 1</script>",
    "</style><style>@import url(http://127.0.0.1:9/x)</style>",
    "<!--",
    "]]><script>window.ran = 1</script>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;&amp;",
    "javascript:window.ran=1",
    "a\u202eb\x1b[2J\x00\n",
)


def server(**facts: Any) -> Server:
    """Return an abandoned server of ada's on login01."""
    known: dict[str, Any] = {
        "node": "login01",
        "user": "ada",
        "pid": 4100,
        "product": "vscode",
        "state": "abandoned",
        "since": NOW - 3 * DAY,
        "started_at": NOW - 4 * DAY,
        "orphan": False,
        "processes": 4,
        "rss": 1 << 30,
        "cpu_percent": 1.0,
        "rule": "abandoned",
        "next": "tell owner now",
        "command": "sh /home/ada/.vscode-server/bin/0123/bin/code-server",
    }
    return Server(**{**known, **facts})


def page(*servers: Server, **facts: Any) -> Page:
    """Return a page of login01 and whichever nodes *servers* name."""
    names = sorted({"login01", *(each.node for each in servers)})
    known: dict[str, Any] = {
        "title": "Servers of login01",
        "made_at": NOW,
        "nodes": tuple(Node(name, NOW, 1200, "built-in", "observe") for name in names),
        "servers": servers,
    }
    return Page(**{**known, **facts})


def hostile_page() -> Page:
    """Return a page of which every foreign word is an attack."""
    rows = tuple(
        server(user=word, node=word, product=word, rule=word, next=word, command=word, pid=number)
        for number, word in enumerate(HOSTILE, 5000)
    )
    nodes = tuple(Node(word, None, 0, word, word, word) for word in HOSTILE)
    trends = tuple(trend(node=word) for word in HOSTILE)
    return Page(HOSTILE[6], NOW, nodes, rows, trends, HOSTILE)


def trend(**facts: Any) -> Trend:
    """Return a week of which every hour was stored, with an end a day; one was regretted."""
    samples = tuple(
        Sample(NOW - 7 * DAY + hour * 3600, 20 + hour % 5, hour % 3, (8 << 30) + (hour << 20))
        for hour in range(168)
    )
    ends = tuple(End(NOW - day * DAY - 60, 1 << 30, regretted=day == 3) for day in range(6, -1, -1))
    known: dict[str, Any] = {
        "node": "login01",
        "begin": NOW - 7 * DAY,
        "end": NOW,
        "every": 3600.0,
        "samples": samples,
        "ends": ends,
    }
    return Trend(**{**known, **facts})


@dataclass
class Element:
    """What a start tag opened: its attributes, and the text below it."""

    tag: str
    attributes: dict[str, str | None]
    text: str = ""


@dataclass
class _Reader(HTMLParser):
    """Keep every element in the order of the text; void elements have no text."""

    found: list[Element] = field(default_factory=list)
    open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(Element(tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "input"):
            self.open.append(self.found[-1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, "every element is closed where it ends"

    def handle_data(self, data: str) -> None:
        for each in self.open:
            each.text += data


def elements(html: str) -> list[Element]:
    """Return the elements of a page; fails where one is not closed."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert not reader.open
    return reader.found


def texts(html: str, tag: str) -> list[str]:
    """Return the text of each element of a kind."""
    return [each.text for each in elements(html) if each.tag == tag]
