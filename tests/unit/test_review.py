"""What the admins read of a span of days: nothing that needs them is missing, nothing twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import ADA, CONFIRMED, NOW, launcher, tree
from tests.stores import HOUR, notice, run, termination
from vscadmin.cleanup.approve import approve
from vscadmin.cleanup.digest import MOST_LINES
from vscadmin.cleanup.letters import WIDTH, subject_line
from vscadmin.cleanup.records import Delivery, Outcome, Result, Run, Termination
from vscadmin.cleanup.review import Review, Usage, subject, text
from vscadmin.errors import PlanRefusedError
from vscadmin.escape import printable
from vscadmin.policy.decide import Plan, Scene, decide
from vscadmin.policy.settings import Count, Exemption, Mode, Policy, Terminate
from vscadmin.policy.states import Told
from vscadmin.units import format_moment

WEEK = 7 * 24 * HOUR
GIB = 1 << 30
ONE = Terminate(max_trees_per_run=Count(1))
TOLD = replace(CONFIRMED, told=Told(NOW - 2 * 24 * HOUR, NOW - 24 * HOUR))


def review(**facts: Any) -> Review:
    known: dict[str, Any] = {"host": "login01", "begin": NOW - WEEK, "end": NOW}
    return Review(**{**known, **facts})


def end(result: Result = Result.ENDED, **facts: Any) -> Termination:
    return termination(tree(), NOW - HOUR, **{"result": result, "rss": GIB, **facts})


def due(*pids: int) -> Plan:
    """Return a plan that ends a server for each of *pids*."""
    trees = [tree(root=launcher(pid), started_at=NOW - 100 * HOUR) for pid in pids]
    scene = Scene({1001: ADA}, histories={each.key: TOLD for each in trees})
    return decide(trees, scene, Policy(mode=Mode.ENFORCE), NOW)


def section(written: str, title: str) -> list[str]:
    """Return what a section lists, each on one line again."""
    after = written.partition(f"\n\n{title}\n")[2].partition("\n\n")[0]
    return [" ".join(each.split()) for each in f"\n{after}".split("\n- ")[1:]]


def test_nothing_is_said_in_full() -> None:
    lines = text(review()).splitlines()
    assert lines[0].startswith("vscadmin on login01, ")
    assert lines[2:] == [
        "Given back: 0K of memory; 0 servers of 0 users ended.",
        "Regret: 0 servers whose owner opened the same product again within an hour.",
        "Told: 0 users, of 0 servers; 0 not delivered.",
        "Runs: 0; 0 refused, 0 incomplete, 0 failed.",
        "In jobs now: 0 sessions of 0 users from this node.",
    ]


def test_the_sums_say_what_was_given_back_and_who_was_told() -> None:
    ends = (end(), end(user="bob"), end(user="bob"), end(Result.SPARED))
    told = notice(tree(), delivery=Delivery.DELIVERED)
    failed = notice(tree(), delivery=Delivery.FAILED, error="550 no such user")
    written = text(
        review(
            terminations=ends,
            regretted=ends[:1],
            notices=(told, failed),
            usage=Usage(50, 9 * GIB, 40, 6 * GIB),
            sessions=3,
            users=2,
        )
    )
    for line in (
        "Given back: 3.0G of memory; 3 servers of 2 users ended.",
        "Regret: 1 server whose owner opened the same product again within an hour.",
        "Told: 1 user, of 1 server; 1 not delivered.",
        "Servers: 50 (9.0G) at first, 40 (6.0G) at last.",
        "In jobs now: 3 sessions of 2 users from this node.",
    ):
        assert line in written.splitlines()


def test_runs_are_counted_by_how_they_ended() -> None:
    outcomes = [Outcome.DONE] * 5 + [Outcome.REFUSED] * 2 + [Outcome.FAILED, Outcome.INCOMPLETE]
    written = text(review(runs=tuple(run(outcome=outcome) for outcome in outcomes)))
    assert "Runs: 9; 2 refused, 1 incomplete, 1 failed." in written.splitlines()


def refused(*words: str, at: float = NOW) -> Run:
    return run(f"at-{at}", at, outcome=Outcome.REFUSED, words=words)


def refusal(plan: Plan) -> PlanRefusedError:
    """Return what the breaker says when one server at once is the most."""
    with pytest.raises(PlanRefusedError) as error:
        approve(plan, Policy(mode=Mode.ENFORCE, terminate=ONE), "b00710ad")
    return error.value


def test_a_plan_that_stays_refused_is_told_once_in_short_words() -> None:
    """Cron runs 144 times a day: the digest must have room for all else."""
    error = refusal(due(4100, 4200))
    runs = tuple(refused(str(error), at=NOW + 600 * number) for number in range(72))
    written = text(review(runs=runs, terminations=(end(Result.SPARED),)))
    (line,) = section(written, "Plans that were refused")
    assert line == (
        f"plan {error.plan_hash}: 2 trees at once, terminate.max_trees_per_run = 1 "
        f"(72 times, last {format_moment(NOW + 600 * 71)})"
    )
    assert section(written, "Problems") == []
    assert len(section(written, "Spared at the last moment")) == 1


def test_another_plan_is_another_line() -> None:
    words = [str(refusal(due(*pids))) for pids in ((4100, 4200), (4100, 4200, 4300))]
    written = text(review(runs=tuple(map(refused, words))))
    two, three = section(written, "Plans that were refused")
    assert "2 trees at once" in two
    assert "3 trees at once" in three


def test_a_mistyped_approval_is_no_plan_that_was_refused() -> None:
    words = "--approve feed: the plan is 3f9c2a7d10be now; read it again: vscadmin report"
    written = text(review(runs=(refused(words), refused())))
    assert section(written, "Plans that were refused") == []
    (line,) = section(written, "Problems")
    assert line.startswith(words)


def test_a_problem_that_lasts_is_one_line() -> None:
    runs = tuple(
        run(str(number), NOW - number * HOUR, outcome=Outcome.DONE, words=("the disk is full",))
        for number in range(9, -1, -1)
    )
    (line,) = section(text(review(runs=runs)), "Problems")
    assert line.startswith("the disk is full (10 times, last ")


def test_what_did_not_go_as_planned_is_told_one_by_one() -> None:
    written = text(
        review(
            terminations=(
                end(Result.SURVIVORS, survivors=2, words=("pid 7 lives on",)),
                end(Result.SPARED, words=("client: 10.1.2.3:4 is connected",)),
                end(Result.CUT_SHORT),
            ),
            notices=(
                notice(tree(), delivery=Delivery.FAILED, error="550 no such user"),
                notice(tree()),
            ),
        )
    )
    assert "2 left; pid 7 lives on" in section(written, "Ended, but something survived")[0]
    (spared,) = section(written, "Spared at the last moment")
    assert spared.endswith("client: 10.1.2.3:4 is connected")
    assert len(section(written, "Cut short")) == 1
    (lost,) = section(written, "Notices that were not delivered")
    assert lost.endswith("ada@example.edu: 550 no such user")
    assert len(section(written, "Notices that may have arrived")) == 1


def test_what_went_well_is_told_by_user_and_who_gave_back_most_is_first() -> None:
    ends = (end(), end(user="bob", rss=3 * GIB), end())
    told = tuple(notice(tree(), NOW - hour * HOUR, delivery=Delivery.DELIVERED) for hour in (30, 2))
    written = text(review(terminations=ends, notices=told))
    assert section(written, "Ended") == ["bob: 1 server, 3.0G", "ada: 2 servers, 2.0G"]
    (line,) = section(written, "Notices that were delivered")
    assert line.startswith("ada: 1 server, last ")


def test_an_exemption_near_its_end_is_named_with_its_reason() -> None:
    written = text(review(exemptions=(Exemption("ada", date(2026, 11, 23), "TICKET-1"),)))
    assert section(written, "Exemptions that end soon") == ["ada: until 2026-11-23: TICKET-1"]


def test_what_there_is_no_room_for_is_counted_and_what_needs_an_admin_comes_first() -> None:
    spared = tuple(end(Result.SPARED) for _ in range(MOST_LINES + 7))
    written = text(review(terminations=(*spared, end())))
    assert "- and 7 more" in written.splitlines()
    assert "Ended\n- and 1 more" in written
    assert written.index("Spared") < written.index("\nEnded\n")


def test_the_subject_says_how_much_and_of_how_long() -> None:
    assert subject(review(terminations=(end(), end()))) == (
        "[login01] vscadmin digest of 7d: 2 servers ended, 2.0G given back"
    )


@given(words=st.text(max_size=400), host=st.text(max_size=80))
def test_whatever_a_name_is_the_letter_is_plain_text(words: str, host: str) -> None:
    written = text(
        review(
            host=host,
            runs=(run(outcome=Outcome.FAILED, words=(words,)),),
            terminations=(end(user=words, product=words, words=(words,)), end(user=words)),
            notices=(notice(tree(), user=words, error=words, address=words),),
            exemptions=(Exemption(words, date(2026, 11, 23), words),),
        )
    )
    assert all(printable(line, 1000) == line for line in written.split("\n"))
    assert written.count("\n- ") <= MOST_LINES * 2


def test_lines_are_wrapped() -> None:
    written = text(review(runs=(run(outcome=Outcome.FAILED, words=("so many words " * 20,)),)))
    assert max(map(len, written.splitlines())) <= WIDTH


@given(host=st.from_regex(r"[a-z0-9][a-z0-9.-]{0,250}", fullmatch=True))
def test_the_subject_is_always_one_that_can_be_sent(host: str) -> None:
    assert subject_line(subject(review(host=host)))
