"""A run sets right, and says, what earlier ones left undone; what lasts is said once a day."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import NOW
from tests.run import eventually
from tests.stores import HOUR, aged, delivered, new, notice, run, scan, seen, termination, trees
from vscadmin.cleanup import account, stopping
from vscadmin.cleanup.look import clock_step
from vscadmin.cleanup.mail import Mailer
from vscadmin.cleanup.records import Outcome, Result
from vscadmin.cleanup.run import _finish, _note_the_past, clean_up
from vscadmin.cleanup.session import Request, Session
from vscadmin.cleanup.store import Store
from vscadmin.errors import PlanRefusedError, StoreError
from vscadmin.logs import Log
from vscadmin.policy.settings import Notify, Policy
from vscadmin.policy.settings import Store as StoreSettings
from vscadmin.procs.catalogue import Catalogue
from vscadmin.procs.scan import boot_id, read_process


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new(tmp_path / "lib") as opened:
        yield opened


def test_what_was_left_stopped_goes_on_whatever_the_store_is_like(tmp_path: Path) -> None:
    path = tmp_path / "lib" / "store.sqlite"
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            key = read_process(process.pid).key
            stopping.note(str(path), boot_id(), os.getuid(), [key])
            path.mkdir()
            process.send_signal(signal.SIGSTOP)
            eventually(lambda: read_process(key.pid).state, lambda state: state == "T")
            request = Request(
                Policy(store=StoreSettings(path=str(path))), "0" * 64, Catalogue(()), "login1"
            )
            with pytest.raises(StoreError):
                clean_up(request, Log([], {}), "now")
            eventually(lambda: read_process(key.pid).state, lambda state: state == "S")
        finally:
            process.kill()


def test_a_step_of_the_clock_is_told_from_how_two_readings_differ(
    store: Store,
) -> None:
    found = trees(1)
    scan(store, found, NOW)
    now = seen(found, NOW + 60)
    assert clock_step(store, now) == 0.0
    assert clock_step(store, replace(now, boot_time=now.boot_time + 2)) == 0.0
    assert clock_step(store, replace(now, boot_time=now.boot_time - 3600)) == -3600.0


def session(store: Store, tmp_path: Path, run_id: str = "now") -> Session:
    policy = Policy(store=StoreSettings(path=str(tmp_path / "lib" / "store.sqlite")))
    request = Request(policy, "0" * 64, Catalogue(()), "login1")
    ours = run(run_id, time.time())
    store.begin_run(ours)
    return Session(request, policy, store, Log([], {}), ours, time.monotonic() + 60)


def test_a_run_that_was_cut_short_is_said_once(store: Store, tmp_path: Path) -> None:
    store.begin_run(run("dead", time.time() - 600))
    first = session(store, tmp_path)
    _note_the_past(first)
    assert len([line for line in first.news if "was cut short" in line]) == 1
    second = session(store, tmp_path, "next")
    store.finish_run(replace(first.run, outcome=Outcome.DONE, finished_at=time.time()))
    _note_the_past(second)
    assert not [line for line in second.news if "was cut short" in line]


def test_a_termination_that_was_cut_short_is_settled(store: Store, tmp_path: Path) -> None:
    found = trees(1)
    aged(store, found)
    store.begin_termination(termination(found[0]))
    begun = session(store, tmp_path)
    _note_the_past(begun)
    assert store.interrupted_terminations() == ()
    assert [each.result for each in store.terminations()] == [Result.CUT_SHORT]
    assert [each.result for each in begun.terminations] == [Result.CUT_SHORT]
    assert any(f"pid {found[0].root.pid}" in line for line in begun.news)


def test_a_notice_that_a_dead_run_was_sending_is_said(store: Store, tmp_path: Path) -> None:
    found = trees(2)
    aged(store, found)
    store.add_notices([notice(found[0], time.time() - 60)])
    delivered(store, found[1], time.time() - 60, user="bob")
    begun = session(store, tmp_path)
    _note_the_past(begun)
    assert [line for line in begun.news if "may have arrived" in line] == [
        "a run died while it told ada: that notice may have arrived, and counts as none"
    ]


@pytest.mark.parametrize(("ago", "said"), [(0.9, False), (1.1, True)])
def test_an_hour_without_a_run_that_came_to_its_end_is_said(
    store: Store, tmp_path: Path, ago: float, said: bool
) -> None:
    ended = time.time() - ago * HOUR
    store.finish_run(run("last", ended - 1, outcome=Outcome.DONE, finished_at=ended))
    begun = session(store, tmp_path)
    _note_the_past(begun)
    assert any("no run came to its end" in line for line in begun.news) is said


def test_runs_that_were_turned_away_are_said_from_three_on(store: Store, tmp_path: Path) -> None:
    few, many = session(store, tmp_path), session(store, tmp_path, "next")
    account.say_turned_away(few, 2)
    account.say_turned_away(many, 3)
    assert (few.news, len(many.news), many.turned_away) == ([], 1, 3)


def test_what_lasts_is_said_once_in_notify_every(store: Store, tmp_path: Path) -> None:
    """Cron mails every line, every ten minutes."""
    first, second = session(store, tmp_path), session(store, tmp_path, "next")
    for each in (first, second):
        each.warn("no notice to ada: 550", "notice ada")
        each.warn("no notice to bob: 550", "notice bob")
        each.say("a thing of its own")
    assert first.problems == [
        "no notice to ada: 550",
        "no notice to bob: 550",
        "a thing of its own",
    ]
    assert second.problems == ["a thing of its own"]


def refuse(begun: Session, error: PlanRefusedError) -> None:
    """Let the breaker refuse a run's plan, and the run end."""
    notify = Notify(smtp="127.0.0.1:9", sender="hpc@example.edu", address="{user}@example.edu")
    with Mailer(notify, "login1") as mailer:
        account.refused(begun, (), error, "b00710ad", mailer)
    _finish(begun, Outcome.REFUSED, ())


def test_every_run_that_was_refused_is_stored_with_its_plan_and_why(
    store: Store, tmp_path: Path
) -> None:
    """Printed once in notify.every; what happened is remembered of each."""
    error = PlanRefusedError("plan feed refused, nothing is done: too much", "feed")
    begun = [session(store, tmp_path, run_id) for run_id in ("one", "two")]
    for each in begun:
        refuse(each, error)
    stored = store.runs()
    assert [each.words for each in stored] == [(str(error),)] * 2
    assert [each.plan_hash for each in stored] == ["feed"] * 2
    assert [each.problems for each in begun] == [[str(error)], []]


def test_who_mistypes_an_approval_is_told_each_time(store: Store, tmp_path: Path) -> None:
    error = PlanRefusedError("--approve fed: the plan is feed now")
    begun = [session(store, tmp_path, run_id) for run_id in ("one", "two", "three")]
    for each in begun[:2]:
        refuse(each, error)
        assert each.problems == [str(error)]
    refused = PlanRefusedError("plan feed refused, nothing is done: too much", "feed")
    refuse(begun[2], refused)
    assert begun[2].problems == [str(refused)]
