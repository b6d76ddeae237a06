"""From a look at this machine to a plan: what report shows and cleanup acts on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vscadmin.model import ProcessKey, Tree
from vscadmin.policy.decide import Plan, Scene, decide
from vscadmin.policy.settings import Policy
from vscadmin.policy.states import History
from vscadmin.procs.sight import Sight
from vscadmin.procs.trees import logins


def wants_groups(policy: Policy) -> bool:
    """Whether anything in *policy* asks for the groups of owners: looking them up may be slow."""
    return bool(policy.protect.groups) or any(rule.when.group for rule in policy.rules)


def cpu_spans(policy: Policy) -> frozenset[int]:
    """Return the times over which the rules ask for CPU use, in seconds."""
    return frozenset(rule.when.cpu_for for rule in policy.rules if rule.when.cpu_for is not None)


def plan_of(
    seen: Sight,
    policy: Policy,
    histories: Mapping[ProcessKey, History],
    trees: Iterable[Tree] | None = None,
) -> Plan:
    """Return one decision for every tree that was seen."""
    snapshot = seen.snapshot
    scene = Scene(
        owners=seen.owners,
        logins=logins(snapshot, seen.forest),
        histories=histories,
        ticks=snapshot.ticks_per_second,
    )
    return decide(seen.forest.trees if trees is None else trees, scene, policy, snapshot.taken_at)
