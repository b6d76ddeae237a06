"""Decide about every tree that a survey found: what report and explain show."""

from __future__ import annotations

from vscadmin.cli.survey import Survey
from vscadmin.policy.decide import Plan, Scene, decide
from vscadmin.procs.trees import logins


def plan_of(found: Survey) -> Plan:
    """Return one decision for every tree, by the survey's policy."""
    scene = Scene(
        owners=found.owners,
        logins=logins(found.snapshot, found.forest),
        ticks=found.snapshot.ticks_per_second,
    )
    return decide(found.forest.trees, scene, found.loaded.policy, found.snapshot.taken_at)
