from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vscadmin.cleanup.splay import splay_seconds


@given(host=st.text(), span=st.integers(1, 86_400))
def test_every_host_waits_within_the_span(host: str, span: int) -> None:
    assert 0 <= splay_seconds(host, span) < span


@given(host=st.text(), span=st.integers(-10, 0))
def test_without_a_span_nobody_waits(host: str, span: int) -> None:
    assert splay_seconds(host, span) == 0


@given(host=st.text(), span=st.integers(1, 40_000))
def test_twice_the_span_is_twice_the_wait(host: str, span: int) -> None:
    """The order of the nodes is theirs, whatever the span."""
    assert splay_seconds(host, 2 * span) // 2 == splay_seconds(host, span)


@pytest.mark.parametrize(("host", "wait"), [("login01", 3), ("login02", 128), ("login03", 106)])
def test_a_release_moves_nobody(host: str, wait: int) -> None:
    assert splay_seconds(host, 300) == wait


def test_another_interpreter_gives_the_same() -> None:
    """Python's own hash() is another in each run."""
    code = "from vscadmin.cleanup.splay import splay_seconds; print(splay_seconds('login01', 300))"
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert told == {f"{splay_seconds('login01', 300)}\n"}


@settings(derandomize=True)
@given(domain=st.text("abcdefgh.-", max_size=20), digits=st.integers(1, 5))
def test_numbered_hosts_are_spread_evenly(domain: str, digits: int) -> None:
    """600 hosts over 10 minutes: each minute has its 60, give or take five deviations."""
    hosts = [f"login{number:0{digits}d}{domain}" for number in range(600)]
    minutes = Counter(splay_seconds(host, 600) // 60 for host in hosts)
    assert set(minutes) == set(range(10))
    assert all(abs(count - 60) < 38 for count in minutes.values())
