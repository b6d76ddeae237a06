"""Whatever users write into names and comments, and whatever a broken Slurm prints."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vscadmin.cli.session_list import sessions
from vscadmin.proxy.statuses import Status
from vscadmin.slurm.chatter import Chatter
from vscadmin.slurm.job import Job
from vscadmin.slurm.listing import parse_listing
from vscadmin.slurm.progress import Progress, ended
from vscadmin.slurm.reasons import explain

MARK = "0123456789abcdef"
ANYTHING = st.text(max_size=40) | st.text("|\n%i." + MARK, max_size=60)
WRITTEN = ANYTHING.filter(lambda text: MARK not in text)
STATES = ("PENDING", "RUNNING", "SUSPENDED", "CONFIGURING", "COMPLETING", "TIMEOUT", "SPECIAL_EXIT")
NUMBERS = st.integers(0, 10**11).map(str)
MOMENTS = NUMBERS | st.just("N/A")
LIMITS = st.just("UNLIMITED") | st.integers(0, 10**6).map(lambda hours: f"{hours}:00:00")
REASONS = st.sampled_from(("Priority", "Resources", "None", "QOSMaxJobsPerUserLimit")) | WRITTEN
ROWS = st.tuples(
    *(st.sampled_from(("12", "9", "12+0", "13_[1-9]")), NUMBERS, st.sampled_from(STATES)),
    *(MOMENTS, MOMENTS, LIMITS, st.just("devel"), st.just("c1"), NUMBERS, REASONS),
).map("|".join)
ANSWERS = st.lists(ROWS, max_size=6).map(lambda rows: "".join(f"{row}\n" for row in rows).encode())


@given(st.lists(st.tuples(WRITTEN, WRITTEN), max_size=5))
def test_nothing_in_a_name_or_a_comment_makes_or_hides_a_job(names: list[tuple[str, str]]) -> None:
    safe = ("12", "alice", "20001", "RUNNING", "None", "devel", "c1", "1:00", "1", "2", "3")
    rows = (f"|{MARK}|".join((*safe, *pair)) + f"|{MARK}.\n" for pair in names)
    found = list(parse_listing("".join(rows).encode("utf-8", "surrogatepass"), MARK))
    shown = [tuple(_shown(word) for word in pair) for pair in names]
    assert [(job.name, job.comment) for job in found] == shown
    assert {(job.id, job.uid) for job in found} <= {(12, 20001)}


def _shown(word: str) -> str:
    return word.encode("utf-8", "surrogatepass").decode("utf-8", "backslashreplace")


@given(st.binary(max_size=200))
def test_a_listing_is_jobs_or_an_expected_failure(output: bytes) -> None:
    try:
        assert all(isinstance(job, Job) for job in parse_listing(output, MARK))
    except ValueError as error:
        assert str(error)  # noqa: PT017 - either is right


@given(st.lists(st.tuples(st.binary(max_size=200) | ANSWERS, st.integers(0, 2)), max_size=8))
def test_no_answer_of_squeue_stops_the_session_or_makes_it_ask_too_often(
    answers: list[tuple[bytes, int]],
) -> None:
    progress, now = Progress(), 1_795_276_800.0
    for output, status in answers:
        progress.question(12)
        answer = progress.answer(output, status, now)
        assert answer.ask_again is None or 15 <= answer.ask_again <= 600
        assert all(line.isprintable() for line in answer.lines)
        assert len(answer.lines) <= 1
        assert ended(output).isprintable()
        now += answer.ask_again or 15


@given(ANSWERS, st.integers(1, 5))
def test_the_same_answer_is_told_once(output: bytes, times: int) -> None:
    progress, now = Progress(), 1_795_276_800.0
    said: list[str] = []
    for _ in range(times):
        progress.question(12)
        answer = progress.answer(output, 0, now)
        said += answer.lines
        now += 1  # so soon that no time left is news
    assert len(said) == len(set(said))


@given(st.binary(max_size=100) | st.binary(max_size=60).map(b"salloc: ".__add__))
def test_any_line_of_a_launcher_is_read(line: bytes) -> None:
    said = Chatter().feed(line)
    assert said.job_id is None or not said.pass_on


@given(ANYTHING)
def test_any_reason_is_one_printable_line(reason: str) -> None:
    assert explain(reason).isprintable()


USERS = st.integers(1, 3)
COMMENTS = st.sampled_from([f"vscode-shell-proxy 0000000{n} login{n}:7" for n in range(3)])
JOBS = st.builds(
    Job,
    id=st.integers(1, 5),
    uid=USERS,
    comment=ANYTHING | COMMENTS,
    name=st.sampled_from(("vscode-shell-proxy", "x")),
)
STATUSES = st.builds(
    Status,
    uid=USERS,
    session=st.sampled_from(("00000000", "00000001")),
    pid=st.integers(1, 5),
    job=st.integers(0, 5),
)


@given(st.lists(JOBS, max_size=6), st.lists(STATUSES, max_size=6))
def test_every_session_is_listed_and_joined_within_one_user(
    jobs: list[Job], statuses: list[Status]
) -> None:
    found = sessions(jobs, statuses, "login1")
    assert len([each for each in found if each.status]) == len(statuses)
    for each in found:
        assert each.job or each.status
        assert {one.uid for one in (each.job, each.status) if one} == {each.uid}
