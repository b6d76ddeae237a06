"""What a run leaves behind: frozen, and the same for the store, the notices and the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from vscadmin.model import ProcessKey
from vscadmin.policy.settings import Action


class Identity(NamedTuple):
    """A tree for ever: its root's pid and start are unique only within one boot."""

    boot_id: str
    pid: int
    start_ticks: int

    @property
    def key(self) -> ProcessKey:
        """The root's identity within its boot."""
        return ProcessKey(self.pid, self.start_ticks)


class Delivery(StrEnum):
    """What became of a notice. SENDING that a run left behind may have arrived, or not."""

    SENDING = "sending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Result(StrEnum):
    """What became of a termination. STARTED that a run left behind becomes CUT_SHORT."""

    STARTED = "started"
    CUT_SHORT = "cut-short"
    ENDED = "ended"
    GONE = "gone"
    SPARED = "spared"
    SURVIVORS = "survivors"


class Outcome(StrEnum):
    """How a run ended. RUNNING that is not locked any more was killed."""

    RUNNING = "running"
    DONE = "done"
    INCOMPLETE = "incomplete"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Notice:
    """One tree in one message to its owner. Only DELIVERED ever justifies anything.

    *not_before* is the earliest end that the message announces, None where it announces
    none. Times are seconds since the epoch.
    """

    identity: Identity
    user: str
    product: str
    rule: str
    action: Action
    address: str
    created_at: float
    delivery: Delivery
    not_before: float | None = None
    delivered_at: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Termination:
    """One attempt to end a tree. *words* say why it was spared or what survived, a line each."""

    identity: Identity
    user: str
    product: str
    rule: str
    started_at: float
    result: Result
    rss: int = 0
    finished_at: float | None = None
    survivors: int = 0
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """One run of cleanup."""

    run_id: str
    host: str
    started_at: float
    mode: str
    policy_digest: str
    outcome: Outcome = Outcome.RUNNING
    finished_at: float | None = None
    plan_hash: str = ""
    words: tuple[str, ...] = ()
