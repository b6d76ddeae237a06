"""What the admins are told of a run, and of a plan that was refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from vscadmin.cleanup.letters import Letter, local_time, plain
from vscadmin.cleanup.notify import Author
from vscadmin.cleanup.peers import node_and_boot
from vscadmin.cleanup.records import Delivery, Notice, Result, Run, Termination
from vscadmin.escape import printable
from vscadmin.policy.decide import Decision, Plan, is_regular
from vscadmin.policy.settings import Action, Exemption, Policy
from vscadmin.units import format_duration, format_size

MOST_LINES = 50  # of all sections together
NEAR_END = 7  # days before its end in which an exemption is pointed out
_LONGEST = 300  # characters of a line


@dataclass(frozen=True, slots=True)
class Digest:
    """What a run did, and what it found that an admin should look at.

    *problems* are in words: a store that was set aside, runs turned away or cut short.
    *left_alone* and *exemptions* merely persist: see `left_alone` and `exemptions`.
    """

    run: Run
    notices: tuple[Notice, ...] = ()
    terminations: tuple[Termination, ...] = ()
    problems: tuple[str, ...] = ()
    left_alone: tuple[str, ...] = ()
    exemptions: tuple[Exemption, ...] = ()


class Section(NamedTuple):
    """A heading with its lines, and how many there was no room for."""

    title: str
    lines: tuple[str, ...]
    more: int = 0


def left_alone(plan: Plan) -> tuple[str, ...]:
    """Return what stays as it is until an admin looks: other users' members, odd names."""
    return tuple(
        f"{_printable_owner(each)} pid {each.tree.root.pid}: {words}"
        for each in plan
        for words in _reasons(each)
    )


def _reasons(decision: Decision) -> Iterable[str]:
    if decision.tree.foreign:
        pids = ", ".join(str(each.pid) for each in decision.tree.foreign[:10])
        yield f"holds processes of other users, never signalled: pid {pids}"
    name = decision.owner.name
    if decision.held_back and name is not None and not is_regular(name):
        yield "the user name has unusual characters: no mail, no termination"


def _printable_owner(decision: Decision) -> str:
    return printable(str(decision.owner), 64)


def exemptions(policy: Policy, now: float) -> tuple[Exemption, ...]:
    """Return the exemptions that end within a week, the nearest first."""
    today = datetime.fromtimestamp(now).date()
    near = [each for each in policy.exempt if 0 <= (each.until - today).days <= NEAR_END]
    return tuple(sorted(near, key=lambda each: (each.until, each.user)))


def is_due(digest: Digest, last: float | None, policy: Policy, now: float) -> bool:
    """Say whether the admins are to hear of a run; *last* is when they got a digest.

    What the run did is told at once. What merely persists, a mailbox that does not exist
    as well, is told once in notify.every, or every run would tell it again.
    """
    news = any(each.delivery is Delivery.DELIVERED for each in digest.notices)
    if news or digest.terminations or digest.problems or digest.run.words:
        return True
    persists = digest.notices or digest.left_alone or digest.exemptions
    return bool(persists) and (last is None or now - last >= policy.notify.every)


def digest_letters(digest: Digest, author: Author) -> tuple[Letter, ...]:
    """Return the digest of a run, once for every admin."""
    return _letters("digest", digest_values(digest, author), author)


def digest_values(digest: Digest, author: Author) -> dict[str, object]:
    """Return what the templates of the digest may use; docs/notices.md explains each."""
    results = [each.result for each in digest.terminations]
    delivered = [each for each in digest.notices if each.delivery is Delivery.DELIVERED]
    return {
        "host": printable(author.host),
        "run_id": printable(digest.run.run_id),
        "mode": str(digest.run.mode),
        "started": local_time(digest.run.started_at),
        "told": len({each.user for each in delivered}),
        "ended": results.count(Result.ENDED),
        "problems": len(_problems(digest)),
        "sections": [each._asdict() for each in bounded(_sections(digest))],
    }


def _problems(digest: Digest) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*digest.run.words, *digest.problems)))


def _sections(digest: Digest) -> Iterable[Section]:
    """Yield all there is to say, what needs an admin first."""
    yield Section("Problems", _problems(digest))
    for title, results in (
        ("Ended, but something survived", (Result.SURVIVORS,)),
        ("Cut short", (Result.CUT_SHORT,)),
        ("Spared at the last moment", (Result.SPARED,)),
        ("Ended", (Result.ENDED,)),
        ("Gone by themselves", (Result.GONE,)),
    ):
        found = [each for each in digest.terminations if each.result in results]
        yield Section(title, tuple(map(_termination_words, found)))
    for title, delivery in (
        ("Notices that were not delivered", Delivery.FAILED),
        ("Notices that may have arrived", Delivery.SENDING),
        ("Notices that were delivered", Delivery.DELIVERED),
    ):
        told = [each for each in digest.notices if each.delivery is delivery]
        yield Section(title, tuple(map(_notice_words, told)))
    yield Section("Left alone", digest.left_alone)
    exempt = (f"{each.user}: until {each.until}: {each.reason}" for each in digest.exemptions)
    yield Section("Exemptions that end soon", tuple(exempt))


def bounded(sections: Iterable[Section]) -> Iterable[Section]:
    """Leave out what is empty, and the lines there is no room for; those are counted."""
    room = MOST_LINES
    for title, lines, _ in sections:
        shown = tuple(printable(line, _LONGEST) for line in lines[:room])
        room -= len(shown)
        if lines:
            yield Section(title, shown, len(lines) - len(shown))


def _termination_words(each: Termination) -> str:
    words = f"{each.user} pid {each.identity.pid}: {each.product}, rule {each.rule}"
    if each.result is Result.ENDED:
        words += f", {format_size(each.rss)}"
        if each.finished_at is not None:
            words += f", took {format_duration(each.finished_at - each.started_at)}"
    if each.survivors:
        words += f", {each.survivors} left"
    return "; ".join((words, *each.words))


def _notice_words(each: Notice) -> str:
    node, _ = node_and_boot(each.identity.boot_id)
    where = f"{node} pid" if node else "pid"
    words = f"{each.user} {where} {each.identity.pid}: {each.product}, rule {each.rule}"
    if each.delivery is not Delivery.DELIVERED:
        return f"{words}; {each.address}: {each.error or each.delivery}"
    return words if each.not_before is None else f"{words}, ends {local_time(each.not_before)}"


def refusal_letters(
    run: Run, reasons: Iterable[str], plan: Plan, author: Author
) -> tuple[Letter, ...]:
    """Return the mail about a plan that the breaker refused, once for every admin."""
    return _letters("refused", refusal_values(run, reasons, plan, author), author)


def refusal_values(
    run: Run, reasons: Iterable[str], plan: Plan, author: Author
) -> dict[str, object]:
    """Return what the templates of a refusal may use; docs/notices.md explains each."""
    due = [each for each in plan if each.standing.due is Action.TERMINATE]
    lines = tuple(
        f"{_printable_owner(each)} pid {each.tree.root.pid}: {each.tree.title}, rule {each.rule}"
        for each in due
    )
    (shown,) = bounded([Section("", lines)]) if lines else (Section("", ()),)
    return {
        "host": printable(author.host),
        "started": local_time(run.started_at),
        "plan_hash": printable(run.plan_hash),
        "reasons": [printable(each, _LONGEST) for each in reasons],
        "servers": len(due),
        "users": len({each.owner.uid for each in due}),
        "lines": list(shown.lines),
        "more": shown.more,
    }


def _letters(name: str, values: dict[str, object], author: Author) -> tuple[Letter, ...]:
    subject = author.wording.render(f"{name}-subject.txt.j2", values).strip()
    body = plain(author.wording.render(f"{name}.txt.j2", values))
    return tuple(Letter(admin, subject, body) for admin in author.policy.notify.admins)
