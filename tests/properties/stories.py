"""Random stories: policies, what scans show of a few trees, and a rehearsal somebody watches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.builders import BOOT, NOW, TICKS, launcher, process, tree
from vscadmin.cleanup.recipients import Recipient, chosen
from vscadmin.cleanup.records import Identity
from vscadmin.cleanup.replay import Ended, Rehearsal, Scanned
from vscadmin.model import Connections, Owner, Place, Tree
from vscadmin.policy.decide import Plan
from vscadmin.policy.quiet import QuietHours, parse_quiet_hours
from vscadmin.policy.settings import (
    Action,
    Count,
    Exemption,
    Keep,
    Mode,
    Notify,
    Policy,
    Protect,
    Rule,
    Seconds,
    Session,
    State,
    Terminate,
    When,
)

MINUTE, HOUR, DAY = 60, 3600, 86400
QUIET = [parse_quiet_hours(text) for text in ("Mon-Fri 08:00-18:00", "22:00-06:00")]


# Situations: all that a scan can show of a tree, told in one word.


class Situation(Enum):
    """What a scan shows of a tree; all but IDLE and GONE put it back to the start."""

    IDLE = "nobody is connected, nothing is in the way"
    GONE = "not in the table"
    CLIENT = "a client"
    BETWEEN = "an extension host younger than the last scan"
    TMUX = "a protected command inside"
    JOB = "a job in the editor's terminal"
    LOGIN = "its owner is logged in elsewhere"
    UNREADABLE = "something could not be read"
    NAMELESS = "its owner's name could not be looked up"
    ODD = "its owner's name has unusual characters"
    SLURM = "it is in a job's cgroup"
    SYSTEM = "its uid is below uid_min"


SPARING = [each for each in Situation if each not in (Situation.IDLE, Situation.GONE)]
SITUATIONS = st.sampled_from([*[Situation.IDLE] * 60, *Situation])


def shown(what: Situation, pid: int, uid: int, **facts: Any) -> Tree:
    """Return a tree that is in a situation; BETWEEN is the caller's to date."""
    uid = 999 if what is Situation.SYSTEM else uid
    root = launcher(pid, uid=uid, age=facts.pop("age", HOUR))
    inside = {
        Situation.TMUX: process(pid + 1, "tmux", "new", "-d", ppid=pid, uid=uid),
        Situation.JOB: process(pid + 1, "make", "-j8", ppid=pid, uid=uid, tty=0x8803),
    }
    clients = ("10.0.0.1:5",) if what is Situation.CLIENT else ()
    in_job = what is Situation.SLURM
    return tree(
        root=root,
        members=(root, inside[what]) if what in inside else (root,),
        connections=Connections(clients=clients),
        place=Place.JOB if in_job else Place.HERE,
        unreadable=("the cgroup",) if what is Situation.UNREADABLE else (),
        started_at=BOOT + root.start_ticks / TICKS,
        **facts,
    )


def owner(what: Situation, uid: int, name: str) -> Owner:
    odd = {Situation.NAMELESS: None, Situation.ODD: f"../{name}"}
    return Owner(uid, odd.get(what, name), ("physics",))


# Policies.

RARELY = [None, None, None]
WHENS = st.builds(
    When,
    state=st.sampled_from([None, None, None, State.ABANDONED, *State]),
    orphan=st.sampled_from([*RARELY, True, False]),
    age_over=st.sampled_from([*RARELY, Seconds(HOUR), Seconds(5 * DAY)]),
    lasting=st.sampled_from([*RARELY, Seconds(HOUR), Seconds(DAY)]),
    user_sessions_over=st.sampled_from([*RARELY, Count(1), Count(2)]),
    user=st.sampled_from([*RARELY, "ada", "bob"]),
)
NOTICES = st.sampled_from([MINUTE, HOUR, DAY]).map(Seconds)


def rules(whens: st.SearchStrategy[When], most: int = 3) -> st.SearchStrategy[tuple[Rule, ...]]:
    some = st.builds(
        Rule,
        name=st.sampled_from("abcdef"),
        when=whens,
        action=st.sampled_from([*[Action.TERMINATE] * 4, Action.NOTIFY, Action.KEEP]),
        notice=NOTICES,
        keep=st.sampled_from([None, Keep.NEWEST]),
    )
    unique = st.lists(some, min_size=1, max_size=most, unique_by=lambda rule: rule.name)
    return unique.map(tuple)


PLAIN = st.just(When(state=State.ABANDONED))  # often, so that random stories get to an end
SOMEHOW = st.booleans().flatmap(lambda is_plain: PLAIN if is_plain else WHENS)
EXEMPTIONS = st.builds(
    Exemption,
    user=st.sampled_from(["ada", "bob"]),
    until=st.integers(-3, 9).map(lambda days: date.fromtimestamp(NOW) + timedelta(days)),
    reason=st.just("a ticket"),
)
POLICIES = st.builds(
    Policy,
    mode=st.sampled_from([Mode.ENFORCE, Mode.ENFORCE, *Mode]),
    session=st.builds(
        Session,
        grace_default=st.sampled_from([0, HOUR]).map(Seconds),
        confirm=st.sampled_from([1, 2, 2, 3]).map(Count),
        confirm_span=st.sampled_from([0, 10 * MINUTE]).map(Seconds),
    ),
    rules=rules(SOMEHOW),
    protect=st.sampled_from([*[Protect()] * 4, Protect(users=("bob",))]),
    terminate=st.builds(
        Terminate,
        max_trees_per_user=st.sampled_from([1, 2, 5]).map(Count),
        max_trees_per_run=st.sampled_from([1, 2, 20, 20]).map(Count),
        max_users_per_run=st.sampled_from([1, 10, 10]).map(Count),
        quiet_hours=st.sampled_from([(), (), (), tuple(QUIET)]),
    ),
    notify=st.builds(Notify, every=st.sampled_from([MINUTE, HOUR, DAY]).map(Seconds)),
    exempt=st.sampled_from([False, False, True]).flatmap(
        lambda is_any: st.tuples(EXEMPTIONS) if is_any else st.just(())
    ),
)


def is_exempt(name: str | None, policy: Policy, at: float) -> bool:
    today = date.fromtimestamp(at)
    return any(each.user == name and each.until >= today for each in policy.exempt)


def is_quiet(at: float, windows: tuple[QuietHours, ...]) -> bool:
    return any(window.ends(datetime.fromtimestamp(at)) for window in windows)


# Scans, one after the other.


class Moment(NamedTuple):
    """One scan of a random story: what it shows of each of the trees, and how far it is on."""

    step: int
    mode: Mode
    trees: tuple[Situation, ...]
    reused: int | None
    rebooted: bool


USERS = {1001: "ada", 1002: "bob"}
PLACES = ((4100, 1001), (4200, 1001), (4300, 1002))  # the pids and owners of the trees
MOMENTS = st.lists(
    st.builds(
        Moment,
        step=st.sampled_from([5 * MINUTE, 10 * MINUTE, HOUR, 5 * HOUR, DAY, 2 * DAY]),
        mode=st.sampled_from([Mode.ENFORCE] * 9 + list(Mode)),
        trees=st.tuples(*[SITUATIONS] * len(PLACES)),
        reused=st.sampled_from([None] * 40 + list(range(len(PLACES)))),
        rebooted=st.sampled_from([False] * 20 + [True]),
    ),
    min_size=8,
    max_size=16,
)


@dataclass
class Seen:
    """One scan as somebody saw it who watched what went in, what came out, and kept the mail."""

    at: float
    policy: Policy
    scanned: Scanned
    situations: dict[Identity, Situation]
    plan: Plan
    shares: tuple[Recipient, ...]
    ended: list[Ended]
    refused: bool


@dataclass
class Story:
    """Turns moments into scans of trees, and remembers what a tree is made of."""

    boots: int = 0
    starts: dict[int, int] = field(default_factory=dict)
    hosts: dict[int, float] = field(default_factory=dict)

    def scan(self, moment: Moment, now: float) -> tuple[Scanned, dict[Identity, Situation]]:
        self.boots += moment.rebooted
        if moment.reused is not None:
            pid, _ = PLACES[moment.reused]
            self.starts[pid] = self.starts.get(pid, 0) + 1
            self.hosts.pop(pid, None)
        boot = f"boot {self.boots}"
        trees: list[Tree] = []
        situations: dict[Identity, Situation] = {}
        owners: dict[int, Owner] = {}
        logins: dict[int, str] = {}
        for (pid, uid), what in zip(PLACES, moment.trees, strict=True):
            if what is Situation.GONE:
                continue
            if what is Situation.BETWEEN:
                self.hosts[pid] = now - 1
            age = 9 * DAY - self.starts.get(pid, 0)
            one = shown(what, pid, uid, age=age, host_started_at=self.hosts.get(pid))
            trees.append(one)
            situations[Identity(boot, *one.key)] = what
            found = owner(what, one.root.uid, USERS[uid])
            if found.uid not in owners or what in (Situation.NAMELESS, Situation.ODD):
                owners[found.uid] = found
            if what is Situation.LOGIN:
                logins[uid] = "pid 7 (bash) has a terminal"
        return Scanned(now, boot, tuple(trees), owners, logins, TICKS), situations


def told_of(story: list[Seen]) -> dict[Identity, list[tuple[float, float]]]:
    """Return when each tree was told of an end, and of which."""
    found: dict[Identity, list[tuple[float, float]]] = {}
    for seen in story:
        for each in seen.shares:
            for decision, end in each.told:
                if end is not None:
                    identity = Identity(seen.scanned.boot_id, *decision.tree.key)
                    found.setdefault(identity, []).append((seen.at, end))
    return found


def replayed(policy: Policy, moments: list[Moment]) -> Iterator[Seen]:
    """Rehearse *moments*; the messages are worked out anew, not asked of the rehearsal."""
    rehearsal, story, now = Rehearsal(policy), Story(), NOW
    written: dict[str, float | None] = {}
    for moment in moments:
        now += moment.step
        rehearsal.policy = replace(policy, mode=moment.mode)
        scanned, situations = story.scan(moment, now)
        before, refused = dict(rehearsal.ended), rehearsal.refused
        plan = rehearsal.scan(scanned)
        was_refused = rehearsal.refused > refused
        shares = () if was_refused else chosen(plan, written, rehearsal.policy, now)
        written.update({each.user: now for each in shares})
        ended = [each for key, each in rehearsal.ended.items() if key not in before]
        yield Seen(now, rehearsal.policy, scanned, situations, plan, shares, ended, was_refused)


def disturbed_at(identity: Identity, seen: Seen) -> float | None:
    """Return when something came up that puts a tree back to the start, as a scan shows it."""
    what = seen.situations.get(identity, Situation.GONE)
    if what is Situation.GONE:
        return None
    uid = 999 if what is Situation.SYSTEM else dict(PLACES)[identity.pid]
    name = seen.scanned.owners[uid].name
    in_the_way = (
        what not in (Situation.IDLE, Situation.BETWEEN)
        or uid in seen.scanned.logins
        or name not in USERS.values()
        or name in seen.policy.protect.users
        or is_exempt(name, seen.policy, seen.at)
    )
    if in_the_way:
        return seen.at
    return seen.at - 1 if what is Situation.BETWEEN else None
