"""From a look at this machine to a plan: what report shows and cleanup acts on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from vscadmin.model import ProcessKey, Snapshot
from vscadmin.policy.decide import Elsewhere, Plan, Scene, decide
from vscadmin.policy.settings import Policy
from vscadmin.policy.states import History
from vscadmin.procs.catalogue import Catalogue
from vscadmin.procs.sight import Sight, see

if TYPE_CHECKING:
    from vscadmin.cleanup.store_read import Reader

_CLOCK_SLACK = 5.0  # seconds by which two ways to tell the boot time may differ
NOBODY: Elsewhere = MappingProxyType({})
"""No tree on another node: this node alone."""
UNHINDERED: Mapping[str, float] = MappingProxyType({})
"""No user for whose next message an earlier one is in the way."""


class Messages(NamedTuple):
    """When each user was last written to, and when that was begun if it failed."""

    last: Mapping[str, float | None] = MappingProxyType({})
    failed: Mapping[str, float | None] = MappingProxyType({})


NO_MESSAGES = Messages()


def wants_groups(policy: Policy) -> bool:
    """Whether anything in *policy* asks for the groups of owners: looking them up may be slow."""
    return bool(policy.protect.groups) or any(rule.when.group for rule in policy.rules)


def look(policy: Policy, catalogue: Catalogue, recorded: Mapping[ProcessKey, ProcessKey]) -> Sight:
    """Look at this machine for all that *policy* asks about."""
    return see(catalogue, with_groups=wants_groups(policy), recorded=recorded)


def remembered(
    store: Reader,
    policy: Policy,
    boot_id: str,
    now: float,
    keys: Iterable[ProcessKey] | None = None,
) -> dict[ProcessKey, History]:
    """Return what *store* knows of this boot's trees, or of *keys*, for all that rules ask."""
    spans = {rule.when.cpu_for for rule in policy.rules if rule.when.cpu_for is not None}
    return store.histories(boot_id, keys, cpu_spans=spans, now=now)


def clock_step(store: Reader, snapshot: Snapshot) -> float:
    """Return by how many seconds the clock was set since the last recorded scan of this boot.

    0.0 for none: two readings of one boot's time differ a little.
    """
    before = store.boot_time(snapshot.boot_id)
    step = 0.0 if before is None else snapshot.boot_time - before
    return step if abs(step) > _CLOCK_SLACK else 0.0


def messages(store: Reader, policy: Policy, now: float) -> Messages:
    """Return what *store* knows of messages that can still be in the way of the next."""
    return messages_to(store, store.written_to(now - policy.notify.every))


def messages_to(store: Reader, users: Collection[str]) -> Messages:
    """Return what *store* knows of messages to *users*."""
    return Messages(
        {user: store.last_message_to(user) for user in users},
        {user: store.last_failure_to(user) for user in users},
    )


def plan_of(
    seen: Sight,
    policy: Policy,
    histories: Mapping[ProcessKey, History],
    abroad: Elsewhere = NOBODY,
    waiting: Mapping[str, float] = UNHINDERED,
) -> Plan:
    """Return one decision for every tree that was seen; *abroad* are those on other nodes.

    *waiting* is when the next message may go to a user who may get none now.
    """
    snapshot = seen.snapshot
    scene = Scene(
        owners=seen.owners,
        logins=seen.logins,
        histories=histories,
        ticks=snapshot.ticks_per_second,
        abroad=abroad,
        messages=waiting,
    )
    return decide(seen.forest.trees, scene, policy, snapshot.taken_at)
