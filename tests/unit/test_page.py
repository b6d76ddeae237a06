"""The page of a report: complete, harmless, and dependent on nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import NOW
from tests.pages import DAY, HOSTILE, elements, hostile_page, page, server, texts, trend
from vscadmin.escape import printable
from vscadmin.page.charts import MOST_BARS, WIDTH, bars, timelines
from vscadmin.page.facts import End, Node, Sample, Server
from vscadmin.page.render import MOST_ROWS, render
from vscadmin.page.totals import STATES, by_node, by_user

LOADING = {"src", "srcset", "data", "action", "formaction", "poster", "style", "ping"}


def rows(html: str, table: str) -> list[list[str]]:
    """Return the texts of the cells of a table's body."""
    after = html.partition(f'<table id="{table}">')[2].partition("<tbody>")[2]
    body = after.partition("</tbody>")[0]
    return [
        [each.text for each in elements(f"<tr>{row}") if each.tag in ("td", "th")]
        for row in body.split("<tr>")[1:]
    ]


# What is foreign stays text.


@pytest.mark.parametrize("word", HOSTILE)
def test_a_hostile_name_is_the_text_of_its_cell(word: str) -> None:
    html = render(page(server(user=word, command=word)))
    assert printable(word, 64) in texts(html, "th")
    assert printable(word) in texts(html, "code")


def test_hostile_words_everywhere_make_no_element_and_no_attribute() -> None:
    kinds = {each.tag for each in elements(render(page(server(), trends=(trend(),))))}
    found = elements(render(hostile_page()))
    assert {each.tag for each in found} <= kinds | {"strong"}
    assert Counter(each.tag for each in found)["script"] == 1
    assert not [name for each in found for name in each.attributes if name.startswith("on")]


@given(word=st.text(max_size=200))
def test_any_name_is_shown_as_it_is_printed_elsewhere(word: str) -> None:
    html = render(page(server(user=word, next=word)))
    assert printable(word, 64) in texts(html, "th")
    assert printable(word) in texts(html, "td")


@given(word=st.binary(max_size=80).map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_a_name_that_is_not_utf_8_makes_a_page_that_is(word: str) -> None:
    render(page(server(user=word, node=word), title=word)).encode()


def test_a_state_that_nobody_knows_is_unknown() -> None:
    html = render(page(server(state='x" onload="')))
    assert [each for each in texts(html, "span") if each == "unknown"] == ["unknown"]


# It depends on nothing.


def test_nothing_is_loaded_from_anywhere() -> None:
    for each in elements(render(hostile_page())):
        assert not LOADING & set(each.attributes), each
        assert each.tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert (each.attributes.get("href") or "#").startswith("#")


def test_the_style_asks_for_nothing_either() -> None:
    (style,) = texts(render(page()), "style")
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_lets_run_the_one_script_and_the_one_style_and_nothing_else() -> None:
    html = render(page(server()))
    policies = [
        each.attributes["content"]
        for each in elements(html)
        if each.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    (policy,) = policies
    directives = dict(part.split(" ", 1) for part in (policy or "").split("; "))
    assert directives == {
        "default-src": "'none'",
        "style-src": f"'{digest(*texts(html, 'style'))}'",
        "script-src": f"'{digest(*texts(html, 'script'))}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_the_policy_stands_before_all_that_it_is_about() -> None:
    html = render(hostile_page())
    assert html.index("Content-Security-Policy") < html.index("<title>")


# It says all there is.


def test_a_row_says_what_the_report_says() -> None:
    (row,) = rows(render(page(server(orphan=True, since=None, cpu_percent=None))), "servers")
    assert row == [
        "login01", "ada", "4100", "vscode", "abandoned", "?", "4d o", "4", "1.0G", "?", "abandoned",
        "tell owner now", "sh /home/ada/.vscode-server/bin/0123/bin/code-server",
    ]  # fmt: skip


def test_a_users_servers_on_all_nodes_are_one_total() -> None:
    html = render(
        page(
            server(),
            server(node="login02", state="connected", rss=2 << 30),
            server(user="bob", rss=1 << 20, state="grace"),
        )
    )
    assert rows(html, "users") == [
        ["ada", "2", "2", "1", "1", "8", "3.0G", "2%"],
        ["bob", "1", "1", "0", "0", "4", "1M", "1%"],
    ]


def test_a_node_that_did_not_answer_is_named_twice() -> None:
    silent = Node("login02", None, problem="no answer within 10 s")
    html = render(page(server(), nodes=(Node("login01", NOW), silent)))
    assert "1 node did not answer: login02" in texts(html, "p")
    assert rows(html, "nodes")[1][0] == "login02"
    assert rows(html, "nodes")[1][-1] == "no answer within 10 s"
    assert "no answer" in rows(html, "nodes")[1]


def test_of_more_servers_than_a_browser_bears_the_largest_are_listed_and_that_is_said() -> None:
    found = [server(pid=number, rss=number << 20) for number in range(MOST_ROWS + 10)]
    html = render(page(*found))
    warning = f"these are the {MOST_ROWS} with the most memory, of {MOST_ROWS + 10}."
    assert warning in html
    listed = re.findall(r'<td class="number" data-value="(\d+)">\1</td>\n<td>vscode', html)
    assert list(map(int, listed)) == list(range(10, MOST_ROWS + 10))
    assert rows(html, "users")[0][2] == str(MOST_ROWS + 10)


def test_without_a_server_that_is_said() -> None:
    html = render(page())
    assert "No remote-editor server was found." in texts(html, "p")
    assert rows(html, "nodes")[0][:3] == ["login01", "0", "0"]


def test_notes_and_the_trend_are_there() -> None:
    html = render(page(server(), notes=("Due now: 1 server.",), trends=(trend(),)))
    assert "Due now: 1 server." in texts(html, "p")
    assert texts(html, "figcaption") == [
        "Servers: 20 at first, 22 at last, 2 of them abandoned.",
        "Memory: 8.0G at first, 8.2G at last.",
        "Servers ended by day: 7 in all, 7.0G given back; 1 of them regretted.",
    ]


def test_a_trend_of_one_scan_is_no_chart() -> None:
    lonely = trend(samples=(Sample(NOW, 1, 0, 1),), ends=())
    assert timelines(lonely) == ()
    assert "Too little is stored of that time." in texts(render(page(trends=(lonely,))), "p")


# It can be read without a mouse, and without eyes.


def test_every_table_has_a_caption_and_heads_with_a_scope() -> None:
    found = elements(render(page(server())))
    count = Counter(each.tag for each in found)
    assert count["table"] == count["caption"] == 3
    assert {each.attributes.get("scope") for each in found if each.tag == "th"} == {"col", "row"}


def test_every_chart_has_a_name_and_what_scrolls_can_be_reached() -> None:
    found = elements(render(page(server(), server(node="login02"), trends=(trend(),))))
    charts = [each for each in found if each.attributes.get("class") == "chart"]
    assert len(charts) == 5
    assert all(each.attributes.get("aria-label") for each in charts)
    wide = [each for each in found if each.attributes.get("class") == "wide"]
    assert {each.attributes.get("tabindex") for each in wide} == {"0"}


def test_every_id_is_there_once_and_every_reference_has_its_end() -> None:
    found = elements(render(page(server(), trends=(trend(), trend(node="login02")))))
    ids = Counter(each.attributes["id"] for each in found if "id" in each.attributes)
    assert set(ids.values()) == {1}
    references = {(each.attributes.get("href") or "")[1:] for each in found if each.tag == "a"}
    references |= {each.attributes.get("aria-labelledby") or "" for each in found} - {""}
    assert references <= set(ids)


# Totals and charts.

servers = st.lists(
    st.builds(
        server,
        user=st.sampled_from("abc"),
        node=st.sampled_from("xyz"),
        state=st.sampled_from(STATES),
        rss=st.integers(0, 1 << 40),
    ),
    max_size=30,
)


@given(found=servers)
def test_no_server_is_lost_in_a_total(found: list[Server]) -> None:
    for totals in (by_user(found), by_node(found, ("x", "other"))):
        assert sum(total.trees for total in totals) == len(found)
        assert sum(total.rss for total in totals) == sum(each.rss for each in found)
        assert all(sum(total.memory.values()) == total.rss for total in totals)


@given(found=servers)
def test_no_bar_leaves_the_chart(found: list[Server]) -> None:
    for bar in bars(by_user(found)).bars:
        assert bar.end < WIDTH
        assert all(0 <= part.x <= part.x + part.width <= WIDTH for part in bar.segments)


def test_a_chart_shows_the_largest_and_counts_the_others() -> None:
    chart = bars(by_user(server(user=f"u{n}", rss=n << 20) for n in range(MOST_BARS + 5)))
    assert (len(chart.bars), chart.left_out) == (MOST_BARS, 5)
    assert chart.bars[0].name == f"u{MOST_BARS + 4}"


samples = st.builds(
    Sample,
    st.floats(NOW - 30 * DAY, NOW),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 1 << 50),
)
ends = st.builds(End, st.floats(NOW - 30 * DAY, NOW), st.integers(0, 1 << 40), st.booleans())


@given(
    seen=st.lists(samples, min_size=2, max_size=20),
    ended=st.lists(ends, max_size=20),
    days=st.floats(0, 30),
)
def test_no_line_and_no_column_leaves_its_chart(
    seen: list[Sample], ended: list[End], days: float
) -> None:
    seen = [replace(each, abandoned=min(each.abandoned, each.trees)) for each in seen]
    one = trend(begin=NOW - days * DAY, samples=tuple(seen), ends=tuple(ended))
    for chart in timelines(one):
        for line in chart.lines:
            for point in line.points.split():
                x, y = map(float, point.split(","))
                assert 0 <= x <= WIDTH
                assert 0 <= y <= chart.bottom
        for column in chart.columns:
            assert 0 <= column.x <= WIDTH
            assert 0 <= column.y <= column.y + column.height <= chart.bottom + 0.2


def test_a_days_ends_are_one_column_and_the_regretted_lie_on_top() -> None:
    (chart,) = timelines(
        trend(samples=(), ends=tuple(End(NOW - 60, 1, regretted=n == 0) for n in range(4)))
    )
    kept, regretted = chart.columns
    assert (kept.kind, regretted.kind) == ("ended", "regretted")
    assert kept.height == pytest.approx(3 * regretted.height, abs=0.2)
    assert regretted.y + regretted.height == pytest.approx(kept.y, abs=0.2)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d: 4 ended, 1 regretted", kept.words)
