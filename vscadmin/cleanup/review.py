"""What a span of days came to, as a text for the admins: `vscadmin digest`. Pure.

The headings are those of the digest of one run. What went wrong is told one by one; what
went well, by user.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from vscadmin.cleanup.approve import refused_in_short
from vscadmin.cleanup.digest import Section, bounded
from vscadmin.cleanup.letters import local_time, plain
from vscadmin.cleanup.records import Delivery, Notice, Outcome, Result, Run, Termination
from vscadmin.escape import printable
from vscadmin.policy.settings import Exemption
from vscadmin.units import counted, format_duration, format_moment, format_size


@dataclass(frozen=True, slots=True)
class Usage:
    """What the first and the last scan of a span saw: servers, and resident memory in bytes."""

    first_trees: int
    first_rss: int
    last_trees: int
    last_rss: int


@dataclass(frozen=True, slots=True)
class Review:
    """What the store remembers from *begin* to *end* (seconds since the epoch), oldest first.

    *regretted* are those of *terminations* whose owner opened the same product again within
    an hour; *usage* is None where no scan is stored. *exemptions* end soon, counted from
    *end*; *sessions* are the proxy's that run on this node at *end*, of so many *users*.
    """

    host: str
    begin: float
    end: float
    runs: tuple[Run, ...] = ()
    notices: tuple[Notice, ...] = ()
    terminations: tuple[Termination, ...] = ()
    regretted: tuple[Termination, ...] = ()
    usage: Usage | None = None
    exemptions: tuple[Exemption, ...] = ()
    sessions: int = 0
    users: int = 0

    @property
    def ended(self) -> tuple[Termination, ...]:
        """The servers of which nothing is left."""
        return self._with_result(Result.ENDED)

    @property
    def told(self) -> tuple[Notice, ...]:
        """The notices that were delivered."""
        return tuple(each for each in self.notices if each.delivery is Delivery.DELIVERED)

    @property
    def given_back(self) -> int:
        """Resident memory of the servers ended, bytes."""
        return sum(each.rss for each in self.ended)

    def _with_result(self, *results: Result) -> tuple[Termination, ...]:
        return tuple(each for each in self.terminations if each.result in results)


def subject(review: Review) -> str:
    """Return the subject of the mail: one line."""
    ended = counted(len(review.ended), "server")
    days = format_duration(review.end - review.begin)
    return (
        f"[{printable(review.host, 64)}] vscadmin digest of {days}: {ended} ended, "
        f"{format_size(review.given_back)} given back"
    )


def text(review: Review) -> str:
    """Return the digest: sums, then sections, what needs an admin first."""
    span = f"{local_time(review.begin)} to {local_time(review.end)}"
    lines = [f"vscadmin on {review.host}, {span}", "", *_sums(review)]
    for section in bounded(_sections(review)):
        lines += ["", section.title, *(f"- {line}" for line in section.lines)]
        if section.more:
            lines.append(f"- and {section.more} more")
    return plain("\n".join(lines))


def _sums(review: Review) -> Iterator[str]:
    ended, told = review.ended, review.told
    yield (
        f"Given back: {format_size(review.given_back)} of memory; "
        f"{counted(len(ended), 'server')} of {_users(ended)} ended."
    )
    regret = counted(len(review.regretted), "server")
    yield f"Regret: {regret} whose owner opened the same product again within an hour."
    failed = sum(each.delivery is Delivery.FAILED for each in review.notices)
    yield f"Told: {_users(told)}, of {counted(len(told), 'server')}; {failed} not delivered."
    outcomes = Counter(each.outcome for each in review.runs)
    yield (
        f"Runs: {len(review.runs)}; {outcomes[Outcome.REFUSED]} refused, "
        f"{outcomes[Outcome.INCOMPLETE]} incomplete, {outcomes[Outcome.FAILED]} failed."
    )
    if use := review.usage:
        yield (
            f"Servers: {use.first_trees} ({format_size(use.first_rss)}) at first, "
            f"{use.last_trees} ({format_size(use.last_rss)}) at last."
        )
    yield (
        f"In jobs now: {counted(review.sessions, 'session')} of {counted(review.users, 'user')} "
        "from this node."
    )


def _users(records: Iterable[Notice | Termination]) -> str:
    return counted(len({each.user for each in records}), "user")


def _sections(review: Review) -> Iterator[Section]:
    problems, refused = _said(review.runs)
    yield Section("Problems", tuple(problems))
    yield Section("Plans that were refused", tuple(refused))
    for title, result in (
        ("Ended, but something survived", Result.SURVIVORS),
        ("Cut short", Result.CUT_SHORT),
        ("Spared at the last moment", Result.SPARED),
    ):
        found = (each for each in review.terminations if each.result is result)
        yield Section(title, tuple(map(_termination_words, found)))
    regretted = tuple(map(_termination_words, review.regretted))
    yield Section("Ended, and opened again within an hour", regretted)
    for title, delivery in (
        ("Notices that were not delivered", Delivery.FAILED),
        ("Notices that may have arrived", Delivery.SENDING),
    ):
        told = (each for each in review.notices if each.delivery is delivery)
        yield Section(title, tuple(map(_notice_words, told)))
    exempt = (f"{each.user}: until {each.until}: {each.reason}" for each in review.exemptions)
    yield Section("Exemptions that end soon", tuple(exempt))
    yield Section("Ended", tuple(_ended_by_user(review.ended)))
    yield Section("Notices that were delivered", tuple(_told_by_user(review.told)))


def _said(runs: Iterable[Run]) -> tuple[Iterator[str], Iterator[str]]:
    """Return what runs said: problems, and plans that the breaker refused."""
    problems: dict[str, list[float]] = defaultdict(list)
    refused: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        for words in run.words:
            plan = refused_in_short(words)
            (refused if plan else problems)[plan or words].append(run.started_at)
    return _once_each(problems), _once_each(refused)


def _once_each(times: Mapping[str, list[float]]) -> Iterator[str]:
    """Yield all words once, with how often and when last."""
    for words, moments in times.items():
        often = f"{len(moments)} times, last " if len(moments) > 1 else ""
        yield f"{words} ({often}{format_moment(moments[-1])})"


def _termination_words(each: Termination) -> str:
    words = (
        f"{format_moment(each.started_at)}: {each.user} pid {each.identity.pid}: {each.product}, "
        f"rule {each.rule}, {format_size(each.rss)}"
    )
    if each.survivors:
        words += f", {each.survivors} left"
    return "; ".join((words, *each.words))


def _notice_words(each: Notice) -> str:
    when = format_moment(each.created_at)
    what = f"{each.user} pid {each.identity.pid}: {each.product}, rule {each.rule}"
    return f"{when}: {what}; {each.address}: {each.error or each.delivery}"


def _ended_by_user(ended: Iterable[Termination]) -> Iterator[str]:
    """Yield a line a user, who gave back most first."""
    by_user: dict[str, list[int]] = defaultdict(list)
    for each in ended:
        by_user[each.user].append(each.rss)
    for user, sizes in sorted(by_user.items(), key=lambda item: (-sum(item[1]), item[0])):
        yield f"{user}: {counted(len(sizes), 'server')}, {format_size(sum(sizes))}"


def _told_by_user(told: Iterable[Notice]) -> Iterator[str]:
    by_user: dict[str, list[Notice]] = defaultdict(list)
    for each in told:
        by_user[each.user].append(each)
    for user, notices in sorted(by_user.items()):
        servers = counted(len({each.identity for each in notices}), "server")
        last = format_moment(max(each.created_at for each in notices))
        yield f"{user}: {servers}, last {last}"
