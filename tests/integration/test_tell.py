"""Telling owners through a real mail server and a real store, run after run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.builders import ADA, CONFIRMED, NOW, launcher, tree
from tests.integration.office import Office
from tests.run import eventually
from tests.stores import BOOT_ID, new, run
from vscadmin.cleanup import mail, terminals
from vscadmin.cleanup.approve import ApprovedPlan
from vscadmin.cleanup.end import end_trees
from vscadmin.cleanup.mail import Mailer
from vscadmin.cleanup.records import Delivery
from vscadmin.cleanup.session import Request, Session
from vscadmin.cleanup.store import Store
from vscadmin.cleanup.tell import tell_owners
from vscadmin.errors import Exit
from vscadmin.logs import Log
from vscadmin.policy.decide import Scene, decide
from vscadmin.policy.quiet import parse_quiet_hours
from vscadmin.policy.settings import Mode, Notify, Policy, Seconds, Terminate
from vscadmin.procs.catalogue import Catalogue

HOUR = 3600
HOST = "login01.example.edu"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new(tmp_path / "lib") as opened:
        yield opened


def tell(store: Store, policy: Policy, seconds: float = 20) -> Session:
    """Do what one run does about notices, within so many seconds."""
    old = tree(root=launcher(4100), started_at=NOW - 100 * HOUR)
    plan = decide([old], Scene({1001: ADA}, {}, {old.key: CONFIRMED}), policy, NOW)
    request = Request(policy, "0" * 64, Catalogue(()), HOST)
    deadline = time.monotonic() + seconds
    session = Session(request, policy, store, Log([], {}), run(), deadline)
    with Mailer(policy.notify, HOST) as mailer:
        tell_owners(session, ApprovedPlan(plan, (), (), ""), session.author(BOOT_ID), mailer, ())
    return session


def deliveries(store: Store) -> list[Delivery]:
    return [each.delivery for each in store.notices()]


def test_a_server_that_answers_too_late_gets_one_letter_in_two_runs(
    office: Office, store: Store
) -> None:
    office.late = 60
    first = tell(store, office.policy, seconds=3)
    assert deliveries(store) == [Delivery.SENDING]
    assert first.exit_code is Exit.INCOMPLETE
    assert first.problems[0].startswith("no answer about the notice to ada: it may have arrived")
    office.late = 0
    second = tell(store, office.policy)
    assert second.problems == []
    assert len(office.mails) == 1
    assert deliveries(store) == [Delivery.SENDING]


def test_nobody_counts_as_told_by_a_letter_that_may_have_arrived(
    office: Office, store: Store
) -> None:
    office.late = 60
    (notice,) = tell(store, office.policy, seconds=3).notices
    assert (notice.delivery, notice.delivered_at) == (Delivery.SENDING, None)
    assert "no answer within" in notice.error
    assert store.uncertain_notices(since=0.0) == (notice,)
    assert store.uncertain_notices(since=time.time() + 60) == ()


def test_a_server_that_thinks_for_long_about_a_letter_is_waited_for(
    office: Office, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "LONGEST", 3.0)
    office.late = 4
    assert tell(store, office.policy).problems == []
    assert deliveries(store) == [Delivery.DELIVERED]


def test_after_notify_every_a_letter_that_may_have_arrived_is_sent_again(
    office: Office, store: Store
) -> None:
    policy = office.policy
    policy = replace(policy, notify=replace(policy.notify, every=Seconds(1)))
    office.late = 60
    tell(store, policy, seconds=3)
    office.late = 0
    eventually(lambda: deliveries(tell(store, policy).store), lambda seen: len(seen) == 2)
    assert deliveries(store) == [Delivery.DELIVERED, Delivery.SENDING]


def test_a_sendmail_that_had_to_be_killed_may_have_delivered(tmp_path: Path, store: Store) -> None:
    calls, program = tmp_path / "calls", tmp_path / "sendmail"
    program.write_text(f"#!/bin/sh\necho called >> {calls}\nexec sleep 60\n", encoding="utf-8")
    program.chmod(0o755)
    notify = Notify(sendmail=str(program), sender="noreply@example.edu", address="{user}@x.edu")
    policy = Policy(mode=Mode.ENFORCE, notify=notify)
    for _ in range(2):
        tell(store, policy, seconds=3)
    assert calls.read_text(encoding="utf-8").splitlines() == ["called"]
    assert deliveries(store) == [Delivery.SENDING]


def test_nothing_ends_in_quiet_hours_that_have_begun_during_the_run(store: Store) -> None:
    """It stays due: to be spared would take its notice from it."""
    always = (parse_quiet_hours("00:00-24:00"),)
    policy = Policy(mode=Mode.ENFORCE, terminate=Terminate(quiet_hours=always))
    old = tree(root=launcher(4100), started_at=NOW - 100 * HOUR)
    plan = decide([old], Scene({1001: ADA}, {}, {old.key: CONFIRMED}), policy, NOW)
    request = Request(policy, "0" * 64, Catalogue(()), HOST)
    session = Session(request, policy, store, Log([], {}), run(), time.monotonic() + 20)
    end_trees(session, ApprovedPlan((), plan, (), ""), BOOT_ID)
    assert store.terminations(since=0) == ()


@pytest.mark.parametrize("every", [5, 24 * HOUR])
def test_what_failed_is_tried_again_after_a_while_and_not_at_every_run(
    office: Office, store: Store, every: int
) -> None:
    policy = office.policy
    policy = replace(policy, notify=replace(policy.notify, every=Seconds(every)))
    office.after_data = "554 5.7.1 spam"
    assert tell(store, policy).problems == ["no notice to ada: 554 5.7.1 spam"]
    office.after_data = "250 taken"
    assert tell(store, policy).problems == []
    assert deliveries(store) == [Delivery.FAILED]
    if every == 5:
        eventually(lambda: deliveries(tell(store, policy).store), lambda seen: len(seen) == 2)
        assert deliveries(store)[0] is Delivery.DELIVERED


def test_the_newest_message_says_whether_the_last_one_failed(office: Office, store: Store) -> None:
    assert store.last_failure_to("ada") is None
    office.after_data = "554 5.7.1 spam"
    (failed,) = tell(store, office.policy).notices
    assert store.last_failure_to("ada") == failed.created_at
    assert store.last_failure_to("bob") is None
    later: Any = replace(failed, created_at=failed.created_at + 1, delivery=Delivery.SENDING)
    store.add_notices([later])
    assert store.last_failure_to("ada") is None


@pytest.mark.parametrize(
    ("answer", "delivery", "count"),
    [("250 taken", Delivery.DELIVERED, 1), ("554 spam", Delivery.FAILED, 0)],
)
def test_a_line_on_a_terminal_follows_a_letter_and_replaces_none(
    office: Office,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    delivery: Delivery,
    count: int,
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(terminals, "tell", lambda _, __, line: lines.append(line))
    office.after_data = answer
    policy = office.policy
    tell(store, replace(policy, notify=replace(policy.notify, terminal=True)))
    assert deliveries(store) == [delivery]
    assert len(lines) == count
