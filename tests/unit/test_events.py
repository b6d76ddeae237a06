from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import ADA, NOW, launcher, tree
from vscadmin.cleanup import events
from vscadmin.cleanup.records import Delivery, Identity, Notice, Outcome, Result, Run, Termination
from vscadmin.logs import open_log
from vscadmin.model import Connections, Owner
from vscadmin.policy.decide import Decision, Plan, Scene, decide
from vscadmin.policy.settings import Action, Policy, State
from vscadmin.policy.states import History

BOOT_ID = "b00710ad-0000-4000-8000-000000000001"
DAY = 86_400.0
LONG_AGO = History(
    first_seen=NOW - 9 * DAY,
    previous_scan=NOW - 600,
    state=State.ABANDONED,
    state_since=NOW - 8 * DAY,
    clear_since=NOW - 8 * DAY,
    clear_scans=99,
)
RUN = Run("r1", "login01", NOW, "enforce", "c" * 64, Outcome.DONE, NOW + 2.5, "d" * 16)
NOTICE = Notice(
    Identity(BOOT_ID, 4100, 77), "ada", "vscode", "abandoned", Action.TERMINATE,
    "ada@example.edu", NOW, Delivery.DELIVERED, not_before=NOW + DAY, delivered_at=NOW + 1,
)  # fmt: skip
TERMINATION = Termination(
    Identity(BOOT_ID, 4100, 77), "ada", "vscode", "abandoned", NOW, Result.ENDED,
    rss=1 << 30, finished_at=NOW + 3,
)  # fmt: skip
LONGEST = 8192  # bytes of a line that syslog daemons take as a whole


def plan(*others: Any) -> Plan:
    """Return what becomes of an abandoned tree, one in use, and *others*."""
    abandoned = tree()
    in_use = tree(root=launcher(4200), connections=Connections(("1",), ("ssh",)))
    scene = Scene({1001: ADA}, histories={abandoned.key: LONG_AGO})
    return decide([abandoned, in_use, *others], scene, Policy(), NOW)


def test_every_decision_is_an_event_to_keep_a_tree_included() -> None:
    found = events.decisions(plan(), BOOT_ID)
    assert [(each["event"], each["pid"], each["wanted"]) for each in found] == [
        ("decision", 4100, "terminate"),
        ("decision", 4200, "keep"),
    ]


def test_a_decision_says_of_whom_by_which_rule_and_why() -> None:
    event, _ = events.decisions(plan(), BOOT_ID)
    assert event | {"argv": "", "findings": ""} == {
        "event": "decision",
        "level": "info",
        "boot_id": BOOT_ID,
        "pid": 4100,
        "start_ticks": tree().root.start_ticks,
        "uid": 1001,
        "user": "ada",
        "product": "vscode",
        "argv": "",
        "state": "abandoned",
        "rule": "abandoned",
        "wanted": "terminate",
        "action": "keep",
        "rung": "none",
        "outcome": "keep",
        "end_at": None,
        "findings": "",
        "held_back": "",
    }
    assert "bin/code-server --start-server" in str(event["argv"])
    assert str(event["findings"]).startswith("state: ")


def test_a_notice_says_what_became_of_it() -> None:
    event = events.notice(NOTICE)
    assert event["outcome"] == "delivered"
    assert event["not_before"] == "2026-09-22T14:13:20Z"
    assert event["level"] == "info"
    failed = events.notice(replace(NOTICE, delivery=Delivery.FAILED, error="550 no such user"))
    assert (failed["level"], failed["error"]) == ("warning", "550 no such user")


@pytest.mark.parametrize("result", Result)
def test_a_termination_says_what_became_of_it(result: Result) -> None:
    event = events.termination(replace(TERMINATION, result=result, words=("one", "two")))
    assert event["outcome"] == result
    assert event["words"] == "one; two"
    assert (event["level"] == "warning") == (result is Result.SURVIVORS)


def test_the_end_of_a_run_counts_everybody() -> None:
    event = events.run_finished(RUN, plan())
    assert (event["trees"], event["trees_abandoned"], event["trees_connected"]) == (2, 1, 1)
    assert event["trees_out_of_scope"] == 0
    assert (event["wanted_terminate"], event["wanted_keep"]) == (1, 1)


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.FAILED, Outcome.INCOMPLETE])
def test_a_run_that_did_not_do_all_is_a_warning(outcome: Outcome) -> None:
    assert events.run_finished(replace(RUN, outcome=outcome), ())["level"] == "warning"
    assert events.run_finished(RUN, ())["level"] == "info"


def test_a_token_on_the_command_line_is_not_logged() -> None:
    root = launcher(4100)._replace(argv=(b"node", b"--connection-token=s3cret"))
    (event,) = events.decisions((replace(plan()[0], tree=tree(root=root)),), BOOT_ID)
    assert event["argv"] == "node --connection-token=***"


def hostile(text: str, argv: tuple[bytes, ...]) -> Decision:
    """Return the decision of an abandoned tree in which everything that is text is *text*."""
    decision = plan()[0]
    seen = tree(root=launcher(4100)._replace(argv=argv), product=text)
    findings = tuple(replace(each, words=text) for each in decision.findings) * 9
    return replace(
        decision,
        tree=seen,
        owner=Owner(1001, text),
        rule=text,
        findings=findings,
        held_back=(text,) * 9,
    )


HOSTILE = st.text(st.characters(exclude_categories=()), max_size=600)
WIDEST = ["\N{GRINNING FACE}" * 600, '"' * 600, "\x1b" * 600, "é" * 600, "\u202e" * 600]


def lines_of(folder: Path, text: str, argv: tuple[bytes, ...]) -> list[bytes]:
    """Return what the log makes of every kind of event, with *text* wherever text can be."""
    run = replace(RUN, mode=text, policy_digest=text, plan_hash=text, words=(text,) * 9)
    told = replace(NOTICE, user=text, product=text, rule=text, error=text)
    ended = replace(TERMINATION, user=text, product=text, rule=text, words=(text,) * 9)
    path = folder / "log"
    path.unlink(missing_ok=True)
    with open_log(str(path), "20270115T080000Z-4100", "login01.hpc.example.edu") as log:
        for event in (
            *events.decisions((hostile(text, argv),), text),
            events.notice(told),
            events.termination(ended),
            events.run_started(run),
            events.run_finished(run, plan()),
        ):
            log.write(event)
    return path.read_bytes().splitlines(keepends=True)


@given(text=HOSTILE, argument=st.binary(max_size=600))
def test_whatever_a_user_is_called_an_event_is_one_short_line(
    tmp_path_factory: pytest.TempPathFactory, text: str, argument: bytes
) -> None:
    written = lines_of(tmp_path_factory.getbasetemp(), text, (argument,) * 3)
    assert [json.loads(line)["event"] for line in written] == [
        "decision", "notice", "termination", "run-started", "run-finished",
    ]  # fmt: skip
    for line in written:
        assert len(line) < LONGEST
        assert all(0x20 <= byte < 0x7F for byte in line[:-1])


@pytest.mark.parametrize("text", WIDEST, ids=ascii)
def test_what_json_makes_longest_is_still_short(tmp_path: Path, text: str) -> None:
    written = lines_of(tmp_path, text, (text.encode(),))
    assert len(written) == 5
    assert max(map(len, written)) < LONGEST


def test_controls_are_escaped_before_they_are_json() -> None:
    """A log viewer that decodes the JSON must not hand them to the terminal."""
    (event,) = events.decisions((hostile("a\n\x1b[2J\u202eb", (b"x\ny",)),), BOOT_ID)
    assert event["user"] == r"a\x0a\x1b[2J\u202eb"
    assert event["argv"] == r"x\x0ay"


@given(argument=st.text(max_size=600))
def test_a_command_line_is_cut_at_256_bytes(argument: str) -> None:
    decision = hostile("ada", (argument.encode("utf-8", "replace"),))
    (event,) = events.decisions((decision,), BOOT_ID)
    assert len(str(event["argv"]).encode()) <= 256


def test_every_value_is_flat() -> None:
    for event in (*events.decisions(plan(), BOOT_ID), events.run_finished(RUN, plan())):
        assert all(isinstance(value, str | int | None) for value in event.values())
