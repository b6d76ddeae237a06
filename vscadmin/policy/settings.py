"""What a site decided: the policy, frozen. Defaults are the built-in policy.

Durations are seconds, sizes bytes, percentages of one core. The names are those of
policy.toml, where `for` is spelled *lasting* here because it is a word of Python.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import NewType

from vscadmin.policy.quiet import QuietHours
from vscadmin.units import DAY, HOUR, MINUTE

SPELLED = {"rules": "rule", "lasting": "for", "sender": "from"}
"""How policy.toml spells the names that differ here."""

Seconds = NewType("Seconds", int)
Bytes = NewType("Bytes", int)
Percent = NewType("Percent", int)
Count = NewType("Count", int)
Glob = NewType("Glob", str)
"""A shell pattern (fnmatch) for the name of a program; never a regular expression."""


class State(StrEnum):
    """What is known of a tree's use, in the order it is asked."""

    OUT_OF_SCOPE = "out-of-scope"
    UNKNOWN = "unknown"
    CONNECTED = "connected"
    GRACE = "grace"
    ABANDONED = "abandoned"


class Mode(StrEnum):
    """How far any rule may go."""

    OBSERVE = "observe"
    NOTIFY = "notify"
    ENFORCE = "enforce"


class Action(StrEnum):
    """What a rule asks for."""

    KEEP = "keep"
    NOTIFY = "notify"
    TERMINATE = "terminate"

    @property
    def rank(self) -> int:
        """How far it goes."""
        return list(Action).index(self)


class Keep(StrEnum):
    """Which of a user's trees a `user_sessions_over` rule leaves alone."""

    NEWEST = "newest"


@dataclass(frozen=True, slots=True)
class Scope:
    """Who and what can be a candidate at all."""

    uid_min: Count = Count(1000)
    products: tuple[str, ...] = (
        "vscode",
        "vscode-insiders",
        "cursor",
        "windsurf",
        "vscodium",
        "positron",
    )
    catalogue_dir: str = "/etc/vscadmin/catalogue.d"


@dataclass(frozen=True, slots=True)
class Session:
    """When "disconnected" becomes "abandoned"."""

    grace_default: Seconds = Seconds(3 * HOUR)
    grace_max: Seconds = Seconds(24 * HOUR)
    confirm: Count = Count(2)
    confirm_span: Seconds = Seconds(10 * MINUTE)


@dataclass(frozen=True, slots=True)
class Protect:
    """Any hit: the tree is reported, never signalled."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    commands: tuple[Glob, ...] = (
        Glob("tmux*"),
        Glob("screen"),
        Glob("rsync"),
        Glob("scp"),
        Glob("sftp-server"),
        Glob("nextflow*"),
        Glob("snakemake"),
        Glob("srun"),
        Glob("salloc"),
        Glob("sbatch"),
    )
    terminal_jobs: bool = True
    login_session: bool = True


@dataclass(frozen=True, slots=True)
class When:
    """The conditions of a rule; all that are given must hold."""

    state: State | None = None
    orphan: bool | None = None
    age_over: Seconds | None = None
    lasting: Seconds | None = None
    cpu_over: Percent | None = None
    cpu_for: Seconds | None = None
    rss_over: Bytes | None = None
    user_sessions_over: Count | None = None
    product: str | None = None
    user: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """The first rule whose conditions hold decides."""

    name: str
    when: When
    action: Action
    notice: Seconds | None = None
    keep: Keep | None = None


@dataclass(frozen=True, slots=True)
class Terminate:
    """How trees are ended, and how many at most."""

    term_wait: Seconds = Seconds(20)
    max_trees_per_user: Count = Count(5)
    max_trees_per_run: Count = Count(20)
    max_users_per_run: Count = Count(10)
    quiet_hours: tuple[QuietHours, ...] = ()


@dataclass(frozen=True, slots=True)
class Notify:
    """How owners and admins are told."""

    smtp: str | None = None
    sendmail: str | None = None
    sender: str | None = None
    reply_to: str | None = None
    address: str | None = None
    admins: tuple[str, ...] = ()
    every: Seconds = Seconds(24 * HOUR)
    terminal: bool = True
    help_url: str | None = None
    templates: str | None = None


@dataclass(frozen=True, slots=True)
class Exemption:
    """A user whose trees are left alone up to and including the day *until*."""

    user: str
    until: date
    reason: str


@dataclass(frozen=True, slots=True)
class Run:
    """Bounds of one run."""

    timeout: Seconds = Seconds(10 * MINUTE)


@dataclass(frozen=True, slots=True)
class Store:
    """Where scans are remembered, and for how long."""

    path: str = "/var/lib/vscadmin/store.sqlite"
    history: Seconds = Seconds(30 * DAY)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The login nodes that are looked at together; None is this node alone.

    A node whose snapshot in the shared directory is older than *stale* is not live: by
    default four runs of the cron file that comes with vscadmin.
    """

    nodes: str | None = None
    snapshot: str | None = None
    stale: Seconds = Seconds(40 * MINUTE)


@dataclass(frozen=True, slots=True)
class Output:
    """Where the log and the metrics go."""

    log: str = "journal"
    textfile: str | None = None


_ABANDONED = State.ABANDONED
BUILT_IN_RULES = (
    Rule(
        "runaway",
        When(state=_ABANDONED, cpu_over=Percent(80), cpu_for=Seconds(30 * MINUTE)),
        Action.TERMINATE,
        notice=Seconds(HOUR),
    ),
    Rule(
        "too-many",
        When(state=_ABANDONED, user_sessions_over=Count(3)),
        Action.TERMINATE,
        notice=Seconds(24 * HOUR),
        keep=Keep.NEWEST,
    ),
    Rule(
        "abandoned",
        When(state=_ABANDONED, lasting=Seconds(24 * HOUR)),
        Action.TERMINATE,
        notice=Seconds(24 * HOUR),
    ),
    Rule(
        "old-orphan",
        When(state=_ABANDONED, orphan=True, age_over=Seconds(5 * DAY)),
        Action.TERMINATE,
        notice=Seconds(HOUR),
    ),
    Rule(
        "heavy-but-in-use",
        When(state=State.CONNECTED, rss_over=Bytes(8 << 30)),
        Action.NOTIFY,
    ),
)


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything a site decided. No mode but *enforce* ends anything."""

    mode: Mode = Mode.OBSERVE
    scope: Scope = field(default_factory=Scope)
    session: Session = field(default_factory=Session)
    protect: Protect = field(default_factory=Protect)
    rules: tuple[Rule, ...] = BUILT_IN_RULES
    terminate: Terminate = field(default_factory=Terminate)
    notify: Notify = field(default_factory=Notify)
    exempt: tuple[Exemption, ...] = ()
    run: Run = field(default_factory=Run)
    store: Store = field(default_factory=Store)
    fleet: Fleet = field(default_factory=Fleet)
    output: Output = field(default_factory=Output)
