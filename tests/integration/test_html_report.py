"""The page of a report in a real browser: names stay names, nothing is fetched, tables sort."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.builders import NOW
from tests.integration.as_user import as_user
from tests.integration.browser import Browser, running
from tests.integration.lookalike import Lookalike
from tests.pages import HOSTILE, hostile_page, page, server, trend
from tests.run import COMMAND, eventually, json_of, vscadmin
from tests.stores import new, scan, termination, trees
from vscadmin.cleanup.records import Result
from vscadmin.cli.html import write_page
from vscadmin.errors import UsageError
from vscadmin.escape import printable
from vscadmin.page.render import render

HOUR = 3600.0


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running(tmp_path_factory.mktemp("profile")) as found:
        yield found


def cells(browser: Browser, selector: str) -> Any:
    """Return what the browser shows in each element that *selector* names."""
    chosen = f"document.querySelectorAll({json.dumps(selector)})"
    return browser.evaluate(f"Array.from({chosen}, each => each.textContent)")


def click(browser: Browser, table: str, head: str) -> None:
    browser.evaluate(
        f"Array.from(document.querySelectorAll('#{table} thead button'))"
        f".find(each => each.textContent === {json.dumps(head)}).click()"
    )


# Names.


def test_no_hostile_name_runs_and_each_is_shown_as_it_is(browser: Browser, tmp_path: Path) -> None:
    write_page(hostile_page(), str(tmp_path / "hostile.html"))
    browser.open(tmp_path / "hostile.html")
    browser.settle()
    assert browser.evaluate("typeof window.ran") == "undefined"
    assert browser.dialogs == []
    assert browser.complaints == []
    assert cells(browser, "#servers tbody th") == [printable(word, 64) for word in HOSTILE]
    assert cells(browser, "#servers td.command code") == [printable(word) for word in HOSTILE]
    assert browser.evaluate("document.title").startswith(HOSTILE[6])
    assert browser.evaluate("document.scripts.length") == 1


def test_nothing_is_asked_for_but_the_file(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "hostile.html"
    write_page(hostile_page(), str(file))
    browser.open(file)
    browser.settle()
    assert browser.requests == [file.as_uri()]


def test_even_markup_that_was_not_escaped_would_run_and_fetch_nothing(
    browser: Browser, tmp_path: Path
) -> None:
    """The second line of defence, without the first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        image = f"<img src=http://127.0.0.1:{listener.getsockname()[1]}/x onerror='window.ran=1'>"
        bait = "<a id=bait href='javascript:window.ran=1'>x</a>"
        html = render(page(server(command="HERE")))
        file = tmp_path / "raw.html"
        file.write_text(html.replace("HERE", bait + image + HOSTILE[0]), encoding="utf-8")
        browser.open(file)
        browser.evaluate("document.getElementById('bait').click()")
        browser.settle()
        assert browser.evaluate("document.querySelectorAll('#servers img').length") == 1
        assert browser.evaluate("typeof window.ran") == "undefined"
        assert any("Content Security Policy" in each for each in browser.complaints)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


# Tables.


@pytest.fixture
def table(browser: Browser, tmp_path: Path) -> Browser:
    """Open three servers whose order differs by every column."""
    write_page(
        page(
            server(user="u10", pid=30, rss=900 << 20, since=None),
            server(user="u9", pid=200, rss=2 << 30),
            server(user="U1", pid=1000, rss=1 << 20, node="login02", state="grace"),
            trends=(trend(),),
        ),
        str(tmp_path / "table.html"),
    )
    browser.open(tmp_path / "table.html")
    return browser


def test_numbers_are_sorted_as_numbers_and_back_again(table: Browser) -> None:
    click(table, "servers", "Memory")
    assert cells(table, "#servers tbody tr td:nth-child(9)") == ["1M", "900M", "2.0G"]
    click(table, "servers", "Memory")
    assert cells(table, "#servers tbody tr td:nth-child(9)") == ["2.0G", "900M", "1M"]


def test_names_with_numbers_are_sorted_as_people_do(table: Browser) -> None:
    click(table, "servers", "User")
    assert cells(table, "#servers tbody th") == ["U1", "u9", "u10"]


def test_what_is_not_known_comes_before_all_that_is(table: Browser) -> None:
    click(table, "servers", "Since")
    assert cells(table, "#servers tbody tr:first-child th") == ["u10"]


def test_how_a_table_is_sorted_is_told_to_screen_readers(table: Browser) -> None:
    sorted_heads = "thead [aria-sort]"
    assert cells(table, sorted_heads) == []
    click(table, "servers", "PID")
    click(table, "servers", "User")
    click(table, "servers", "User")
    assert cells(table, sorted_heads) == ["User"]
    assert table.evaluate(f"document.querySelector('{sorted_heads}').ariaSort") == "descending"


def test_each_table_is_sorted_by_itself(table: Browser) -> None:
    before = cells(table, "#servers tbody th")
    click(table, "users", "Memory")
    assert cells(table, "#users tbody th") == ["U1", "u10", "u9"]
    assert cells(table, "#servers tbody th") == before


def test_rows_are_filtered_by_any_text_in_them(table: Browser) -> None:
    def show(words: str) -> Any:
        table.evaluate(
            "(() => { const field = document.querySelector('.filter input');"
            f"field.value = {json.dumps(words)};"
            "field.dispatchEvent(new Event('input')); })()"
        )
        return cells(table, "#servers tbody tr:not([hidden]) th")

    assert show("LOGIN02") == ["U1"]
    assert show("no such words") == []
    assert show("") == ["u10", "u9", "U1"]


def test_without_scripts_the_tables_are_whole(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "plain.html"
    write_page(page(server(), server(user="bob")), str(file))
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(file)
        assert cells(browser, "#servers tbody th") == ["ada", "bob"]
        assert cells(browser, "#servers thead button") == []
        assert cells(browser, ".filter") == []
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)


# Colours and paper.


def test_it_is_dark_where_the_reader_wants_it_and_never_on_paper(table: Browser) -> None:
    def paper(media: str, scheme: str) -> Any:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        table.ask("Emulation.setEmulatedMedia", media=media, features=features)
        return table.evaluate("getComputedStyle(document.body).backgroundColor")

    try:
        light, dark = paper("screen", "light"), paper("screen", "dark")
        assert light == "rgb(255, 255, 255)"
        assert dark != light
        assert paper("print", "dark") == light
        hidden = "getComputedStyle(document.querySelector('.filter')).display"
        assert table.evaluate(hidden) == "none"
    finally:
        table.ask("Emulation.setEmulatedMedia", media="", features=[])


def test_it_can_be_printed(table: Browser) -> None:
    printed = table.ask("Page.printToPDF", landscape=True)
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")


def test_the_charts_are_drawn_within_their_frames(table: Browser) -> None:
    sizes = table.evaluate(
        "Array.from(document.querySelectorAll('svg.chart'), each => {"
        "const frame = each.viewBox.baseVal, drawn = each.getBBox();"
        "return [drawn.width > 100, drawn.x >= 0, drawn.x + drawn.width <= frame.width + 1,"
        "drawn.height <= frame.height + 1]; })"
    )
    assert sizes == [[True] * 4] * 5


# The command, and the file.


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Return a directory whose name leaves room in a line of 256 characters."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_a_real_server_with_hostile_arguments_is_text(
    browser: Browser, tmp_path: Path, short_path: Path
) -> None:
    attack, file = HOSTILE[4] + HOSTILE[1], tmp_path / "report.html"
    fake = Lookalike(short_path / "home")
    argv = ["sh", str(fake.launcher), "--start-server", attack]
    with subprocess.Popen(argv, start_new_session=True) as process:
        try:
            eventually(
                lambda: [each["pid"] for each in json_of("scan")["trees"]],
                lambda pids: process.pid in pids,
            )
            assert vscadmin("report", "--html", str(file)).returncode in (0, 10)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    browser.open(file)
    browser.settle()
    shown = cells(browser, "#servers td.command code")
    assert [line for line in shown if line.endswith(attack)]
    assert browser.evaluate("typeof window.ran") == "undefined"
    assert browser.requests == [file.as_uri()]


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """Store a day of scans, and an end."""
    store, file = tmp_path / "lib" / "store.sqlite", tmp_path / "policy.toml"
    now = time.time()
    with new(store.parent) as opened:
        found = trees(3)
        for hour in range(24, 0, -1):
            scan(opened, found, now - hour * HOUR)
        begun = termination(found[0], now - 2 * HOUR)
        opened.begin_termination(begun)
        opened.finish_termination(replace(begun, result=Result.ENDED, finished_at=now - HOUR))
    file.write_text(f'version = 1\n[store]\npath = "{store}"\n')
    return str(file)


def test_the_command_writes_the_page_and_the_trend_of_the_store(
    policy: str, browser: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    done = vscadmin("report", "--policy", policy, "--html", str(file))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    browser.open(file)
    host = os.uname().nodename
    assert cells(browser, "h1") == [f"Remote-editor servers of {host}"]
    assert cells(browser, "#nodes tbody th") == [host]
    servers, memory, ended = cells(browser, "figcaption")
    assert servers.startswith("Servers: 3 at first, 3 at last, ")
    assert memory == "Memory: 12M at first, 12M at last."
    assert ended == "Servers ended by day: 1 in all, 4M given back; 0 of them regretted."


def test_the_file_is_its_writers_alone(policy: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")
    file.chmod(0o666)
    vscadmin("report", "--policy", policy, "--html", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().startswith("<!DOCTYPE html>")
    assert {each.name for each in tmp_path.iterdir()} == {"lib", "policy.toml", "report.html"}


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "directory"])
def test_only_a_file_is_ever_replaced(kind: str, tmp_path: Path) -> None:
    victim, place = tmp_path / "victim", tmp_path / "report.html"
    victim.write_text("mine")
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
    else:
        place.symlink_to(victim if kind == "link" else tmp_path / "none")
    with pytest.raises(UsageError, match="is there and is no regular file"):
        write_page(page(), str(place))
    assert victim.read_text() == "mine"
    assert not (tmp_path / "none").exists()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["report.html", "victim"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/nonexistent/report.html", "/nonexistent/report.html: No such file or directory"),
        ("/dev/null", "/dev/null: is there and is no regular file"),
        ("/tmp/", "/tmp/: is a directory, no file"),
    ],
)
def test_a_place_where_no_page_can_be_is_one_clear_line(path: str, said: str) -> None:
    done = vscadmin("report", "--html", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == f"vscadmin: --html: {said}"


def test_a_page_that_cannot_be_written_leaves_the_old_one(root: None) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)  # noqa: S103 - others may look, and not write
        file = Path(folder, "report.html")
        file.write_text("old")
        done = as_user("report", "--html", str(file))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.endswith(f"vscadmin: --html: {file}: Permission denied\n")
        assert file.read_text() == "old"
        assert os.listdir(folder) == ["report.html"]


def test_a_disk_that_is_full_leaves_the_old_page(root: None, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    script = (
        f"mount -t tmpfs -o size=16k tmpfs {folder} && echo old > {folder}/report.html &&"
        f" head -c 12k /dev/zero > {folder}/ballast &&"
        f" {COMMAND} report --html {folder}/report.html; echo $?; cat {folder}/report.html;"
        f" ls -A {folder}"
    )
    done = subprocess.run(
        ["unshare", "--mount", "--propagation=private", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["2", "old", "ballast", "report.html"]
    assert "report.html: No space left on device" in done.stderr


def test_json_and_a_page_are_not_asked_for_at_once(tmp_path: Path) -> None:
    done = vscadmin("report", "--json", "--html", str(tmp_path / "x.html"))
    assert (done.returncode, done.stderr) == (2, "vscadmin: --json: does not go with --html\n")


def test_a_store_that_is_damaged_costs_the_trend_only(policy: str, tmp_path: Path) -> None:
    store = tmp_path / "lib" / "store.sqlite"
    store.write_bytes(b"x" * 4096)
    store.chmod(0o600)
    file = tmp_path / "report.html"
    done = vscadmin("report", "--policy", policy, "--html", str(file))
    assert done.returncode in (0, 10)
    assert "Trend" not in file.read_text()
    assert str(store) in file.read_text()


def test_the_moment_is_that_of_the_look(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "then.html"
    write_page(page(server(started_at=NOW - 60)), str(file))
    browser.open(file)
    assert "1m" in cells(browser, "#servers tbody td")
