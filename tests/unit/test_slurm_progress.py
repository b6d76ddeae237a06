"""What a user is told while a job waits and runs: squeue's lines in, people's lines out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from vscadmin.slurm.progress import Answer, Progress, about, ended

JOB = 12
NOW = 1_795_276_800  # 2026-11-21 16:00 UTC


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def line(
    state: str,
    *,
    job: int | str = JOB,
    uid: int = 1000,
    start: int | str = "N/A",
    end: int | str = "N/A",
    limit: str = "2:00:00",
    node: str = "",
    priority: int = 10,
    reason: str = "None",
) -> bytes:
    fields = (job, uid, state, start, end, limit, "devel", node, priority, reason)
    return ("|".join(map(str, fields)) + "\n").encode()


def waiting(reason: str = "Priority", **fields: int | str) -> bytes:
    return line("PENDING", reason=reason, **fields)  # type: ignore[arg-type]


def running(left: int, now: float = NOW, **fields: str) -> bytes:
    return line("RUNNING", node="c1", start=NOW, end=int(now) + left, **fields)  # type: ignore[arg-type]


class Session:
    """A session that asks when it is told to, and keeps what was said."""

    def __init__(self) -> None:
        self.progress = Progress()
        self.now: float = NOW
        self.asked = self.progress.question(JOB)

    def hear(self, output: bytes, status: int = 0) -> tuple[str, ...]:
        """Answer the question, wait as long as is wanted, and ask again."""
        answer = self.progress.answer(output, status, self.now)
        assert answer.ask_again is not None
        assert answer.ask_again >= 15
        self.now += answer.ask_again
        self.asked = self.progress.question(JOB)
        return answer.lines

    @property
    def asks_queue(self) -> bool:
        return "--states=PENDING" in self.asked


def answer_to(output: bytes, status: int = 0) -> Answer:
    progress = Progress()
    progress.question(JOB)
    return progress.answer(output, status, NOW)


class TestTheQuestion:
    def test_it_is_for_one_job_and_no_default_of_the_users_changes_it(self) -> None:
        asked = Progress().question(JOB)
        assert asked == about(JOB)
        assert asked[0] == "env"
        assert asked[asked.index("SQUEUE_STATES") - 1] == "-u"
        assert "SLURM_TIME_FORMAT=%s" in asked
        assert "--jobs=12" in asked

    def test_the_queue_is_asked_for_its_own_partition(self) -> None:
        session = Session()
        session.hear(waiting())
        assert session.asks_queue
        assert "--partition=devel" in session.asked


class TestWaiting:
    def test_the_first_line_says_that_it_was_submitted_and_why_it_waits(self) -> None:
        assert Session().hear(waiting("Resources")) == (
            "job 12 submitted, queued: next in turn, waiting for free resources (Resources)",
        )

    def test_the_place_comes_with_the_next_answer(self) -> None:
        session = Session()
        session.hear(waiting())
        others = waiting(job=9, uid=7) + waiting(job=13, uid=7) + waiting(job=14, uid=7, priority=9)
        assert session.hear(others + waiting() + waiting(job=15, uid=7, priority=99)) == (
            "job 12 queued: waiting for its turn (Priority); position 3 of 5 in devel",
        )

    def test_who_cannot_start_anyway_is_not_before_us(self) -> None:
        session = Session()
        session.hear(waiting())
        held = waiting("JobHeldUser", job=8, uid=7) + waiting("Dependency", job=9, uid=7)
        (said,) = session.hear(held + waiting())
        assert said.endswith("position 1 of 1 in devel")

    def test_no_place_is_told_where_the_jobs_of_others_are_hidden(self) -> None:
        session = Session()
        session.hear(waiting())
        assert session.hear(waiting() + waiting(job=9)) == ()

    def test_no_place_is_told_of_a_queue_that_was_cut(self) -> None:
        session = Session()
        session.hear(waiting())
        assert session.hear(waiting() + waiting(job=9, uid=7)[:-5]) == ()

    def test_the_estimated_start_is_told_with_the_clock_and_the_wait(self) -> None:
        (said,) = Session().hear(waiting(start=NOW + 720))
        assert said.endswith("; starts about 16:12, in 12 min")

    def test_a_start_of_another_day_has_its_name(self) -> None:
        (said,) = Session().hear(waiting(start=NOW + 20 * 3600))
        assert said.endswith("; starts about Sun 12:00, in 20 h")
        (said,) = Session().hear(waiting(start=NOW + 9 * 86400))
        assert said.endswith("; starts about 2026-11-30 16:00, in 9 days")

    def test_a_start_that_is_due_is_not_dated(self) -> None:
        (said,) = Session().hear(waiting(start=NOW - 100))
        assert said.endswith("; about to start")

    def test_what_has_not_changed_is_not_told_again(self) -> None:
        session = Session()
        session.hear(waiting(start=NOW + 720))
        assert not any(session.hear(waiting(start=NOW + 800)) for _ in range(20))

    def test_an_estimate_that_has_moved_is_told_once(self) -> None:
        session = Session()
        session.hear(waiting(start=NOW + 720))
        said = [session.hear(waiting(start=NOW + 7200)) for _ in range(20)]
        assert sum(map(bool, said)) == 1

    def test_what_flaps_is_told_once_a_minute_at_most(self) -> None:
        session = Session()
        said_at = []
        for number in range(30):
            before = session.now
            if session.hear(waiting(("Priority", "Resources")[number % 2])):
                said_at.append(before)
        gaps = [after - before for before, after in pairwise(said_at)]
        assert min(gaps) >= 60

    def test_a_reason_that_needs_the_user_is_told_at_once(self) -> None:
        session = Session()
        session.hear(waiting())
        (said,) = session.hear(waiting("PartitionTimeLimit"))
        assert said.startswith("job 12 queued: it asks for more time than the partition allows; ")
        assert "it will never start: end this session and ask for less" in said

    def test_the_queue_is_asked_for_once_a_minute_and_then_less_often(self) -> None:
        session = Session()
        asked_at = []
        while session.now < NOW + 4 * 3600:
            if session.asks_queue:
                asked_at.append(session.now)
            session.hear(waiting())
        gaps = [after - before for before, after in pairwise(asked_at)]
        assert min(gaps) >= 60
        assert max(gaps) > 540

    def test_the_longer_it_waits_the_less_often_is_asked(self) -> None:
        session = Session()
        first = answer_to(waiting()).ask_again
        while session.now < NOW + 3600:
            session.hear(waiting())
        before = session.now
        session.hear(waiting())
        assert (first, session.now - before) == (15, 60)

    def test_the_queue_is_not_asked_for_where_a_place_in_it_means_nothing(self) -> None:
        session = Session()
        session.hear(waiting("BeginTime"))
        assert not session.asks_queue

    def test_one_that_has_left_the_queue_is_asked_for_itself(self) -> None:
        session = Session()
        session.hear(waiting())
        assert session.asks_queue
        assert session.hear(waiting(job=9, uid=7)) == ()
        assert session.asked == about(JOB)
        assert "runs on c1" in session.hear(running(3600))[0]

    def test_news_may_be_asked_for_sooner_but_not_within_15_seconds(self) -> None:
        progress = Progress()
        assert progress.sooner(NOW) == 0
        progress.question(JOB)
        progress.answer(waiting(), 0, NOW)
        assert progress.sooner(NOW + 4) == 11
        assert progress.sooner(NOW + 40) == 0


class TestTheStart:
    def test_one_that_waited_hears_of_it_at_once_and_later_until_when(self) -> None:
        session = Session()
        session.hear(waiting())
        assert session.progress.started("c1") == ("job 12 runs on c1",)
        assert session.progress.started("c1") == ()
        assert session.hear(running(7200, session.now)) == ("job 12 runs until 18:00 (2 h)",)

    def test_one_that_did_not_wait_hears_it_once(self) -> None:
        session = Session()
        assert session.progress.started("c1") == ()
        assert "runs on c1 until" in session.hear(running(7200))[0]
        assert session.progress.started("c1") == ()

    def test_an_answer_from_before_the_start_does_not_take_it_back(self) -> None:
        """Squeue may say CONFIGURING for a moment still."""
        session = Session()
        session.hear(waiting())
        session.progress.started("c1")
        assert session.hear(line("CONFIGURING", node="c1")) == ()
        assert session.hear(running(7200, session.now))[0].startswith("job 12 runs until")


class TestRunning:
    def test_it_is_told_where_and_until_when(self) -> None:
        assert Session().hear(running(7200)) == ("job 12 runs on c1 until 18:00 (2 h)",)

    def test_a_job_may_have_no_time_limit(self) -> None:
        session = Session()
        assert session.hear(line("RUNNING", node="c1", limit="UNLIMITED")) == (
            "job 12 runs on c1, with no time limit",
        )
        assert session.now == NOW + 600

    def test_the_user_is_warned_at_30_10_and_2_minutes_and_at_no_other_time(self) -> None:
        session = Session()
        end = NOW + 2 * 3600
        said = {}
        while session.now < end:
            left = end - session.now
            for words in session.hear(line("RUNNING", node="c1", end=end)):
                said[left] = words
        assert list(said) == [7200, 1800, 600, 120]
        assert said[1800] == "job 12 has 30 min left: it ends at 18:00, with all that runs in it"
        assert said[120].startswith("job 12 has 2 min left")

    def test_a_short_job_is_not_warned_of_what_its_first_line_says(self) -> None:
        session = Session()
        assert session.hear(running(600)) == ("job 12 runs on c1 until 16:10 (10 min)",)
        assert session.now == NOW + 480
        assert session.hear(running(600)) == (
            "job 12 has 2 min left: it ends at 16:10, with all that runs in it",
        )

    def test_a_longer_limit_is_told_and_warned_of_anew(self) -> None:
        session = Session()
        session.hear(running(600))
        assert session.hear(running(8000)) == (
            "job 12 now ends at 18:13, in 2 h 5 min: its time limit was changed",
        )
        session.now = NOW + 8000 - 1800
        assert "30 min left" in session.hear(running(8000))[0]

    def test_a_limit_may_be_shortened_or_lifted(self) -> None:
        session = Session()
        session.hear(running(7200))
        assert "now ends at 16:20, in 10 min" in session.hear(running(1200))[0]
        assert session.hear(line("RUNNING", node="c1")) == ("job 12 has no time limit any more",)

    def test_an_end_that_slurm_rounds_is_no_other_limit(self) -> None:
        session = Session()
        session.hear(running(7200))
        assert session.hear(running(7201)) == ()

    def test_one_over_its_time_is_asked_for_still(self) -> None:
        """Slurm ends jobs up to half a minute late, or later where OverTimeLimit says so."""
        session = Session()
        session.hear(running(100))
        session.now = NOW + 130
        assert session.hear(running(100)) == ()

    def test_a_limit_that_may_change_is_looked_at_every_ten_minutes(self) -> None:
        assert answer_to(running(5 * 86400)).ask_again == 600


class TestOtherStates:
    def test_nodes_that_are_booted_are_told_of_once(self) -> None:
        session = Session()
        configuring = line("CONFIGURING", node="c1")
        assert session.hear(configuring) == ("job 12 has got c1, being made ready",)
        assert session.hear(configuring) == ()

    def test_a_job_that_goes_on_runs_anew(self) -> None:
        session = Session()
        session.hear(running(7200))
        assert "is suspended by Slurm" in session.hear(line("SUSPENDED", node="c1"))[0]
        assert "runs on c1" in session.hear(running(9000))[0]

    def test_a_state_that_is_new_to_us_is_told_as_it_is(self) -> None:
        assert Session().hear(line("RESV_DEL_HOLD")) == ("job 12 is resv del hold",)

    @pytest.mark.parametrize("state", ["COMPLETING", "TIMEOUT", "CANCELLED", "NODE_FAIL"])
    def test_one_that_is_over_is_not_asked_for_any_more(self, state: str) -> None:
        answer = answer_to(line(state))
        assert (answer.lines, answer.ask_again) == ((), None)


class TestWithoutAnAnswer:
    def test_it_is_told_once_and_asked_less_often(self) -> None:
        session = Session()
        session.hear(waiting())
        said = [session.hear(b"", status=1) for _ in range(5)]
        assert said == [("job 12: Slurm does not answer; waiting",), (), (), (), ()]
        before = session.now
        session.hear(b"", status=1)
        assert session.now - before == 120

    def test_what_holds_is_said_again_afterwards(self) -> None:
        session = Session()
        first = session.hear(waiting())[0]
        session.hear(b"", status=1)
        assert session.hear(waiting()) == (first.replace("submitted, ", ""),)
        assert session.hear(waiting()) == ()

    def test_it_may_be_so_from_the_start(self) -> None:
        session = Session()
        session.hear(b"", status=137)
        assert session.hear(waiting())[0].startswith("job 12 submitted, queued: ")

    def test_a_job_that_runs_is_not_held_up_by_it(self) -> None:
        session = Session()
        session.hear(running(7200))
        assert session.hear(b"", status=1) == ()
        assert session.hear(running(7200)) == ()

    def test_an_answer_about_others_is_none(self) -> None:
        for output in (b"", b"\n", b"CLUSTER: one\n", b"\xff\xfe|||", running(60)[3:]):
            answer = answer_to(output)
            assert (answer.lines, answer.ask_again) == ((), 15)


class TestTheEnd:
    @pytest.mark.parametrize(
        ("state", "said"),
        [
            ("TIMEOUT", "was ended by Slurm: its time was over (limit 2 h)"),
            ("CANCELLED", "was cancelled"),
            ("NODE_FAIL", "was ended by Slurm: its node failed"),
            ("PREEMPTED", "was ended by Slurm: it had to make room for a job that goes first"),
            ("COMPLETED", "has ended"),
            ("FAILED", "failed"),
        ],
    )
    def test_it_is_told_why(self, state: str, said: str) -> None:
        assert ended(line(state)) == f"job 12 {said}"

    def test_out_of_memory_says_what_was_too_much(self) -> None:
        assert "used more memory than it had asked for" in ended(line("OUT_OF_MEMORY"))

    def test_while_it_ends_the_reason_tells(self) -> None:
        assert "its time was over" in ended(line("COMPLETING", reason="TimeLimit"))
        assert "its node failed" in ended(line("COMPLETING", reason="NodeDown"), revoked=True)

    def test_while_it_ends_without_a_reason_the_launcher_tells(self) -> None:
        assert ended(line("COMPLETING")) == ""
        assert "was taken back by Slurm: it was cancelled" in ended(
            line("COMPLETING"), revoked=True
        )

    @pytest.mark.parametrize("output", [b"", b"x\n", line("RUNNING"), waiting()])
    def test_what_does_not_tell_is_not_told(self, output: bytes) -> None:
        assert ended(output, revoked=True) == ""


def test_the_first_component_of_a_heterogeneous_job_is_the_job() -> None:
    output = line("RUNNING", job="12+0", node="c1") + line("RUNNING", job="12+1", node="c2")
    assert answer_to(output).lines == ("job 12 runs on c1, with no time limit",)
