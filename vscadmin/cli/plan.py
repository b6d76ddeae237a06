"""Decide about every tree that a survey found: what report and explain show."""

from __future__ import annotations

import os
from dataclasses import dataclass

import click

from vscadmin.cleanup import look
from vscadmin.cleanup.approve import hash_of, objections, share
from vscadmin.cleanup.recipients import waiting
from vscadmin.cleanup.turns import ALONE, Fleet
from vscadmin.cli.survey import Survey
from vscadmin.policy.decide import Plan
from vscadmin.policy.settings import Action, Policy
from vscadmin.units import counted


@dataclass(frozen=True, slots=True)
class Intent:
    """What cleanup would do if it ran now, and what the breaker would have against it."""

    plan_hash: str
    ends: int
    waiting: int
    users: int
    notices: int
    objections: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """Say it in lines; nothing where nothing would be done."""
        lines = []
        if self.notices:
            lines.append(f"Due now: {counted(self.notices, 'server')} to tell the owner of.")
        if self.ends:
            waiting = f"; {self.waiting} more wait (max_trees_per_user)" if self.waiting else ""
            lines.append(
                f"Due now: {counted(self.ends, 'server')} of {counted(self.users, 'user')} to end"
                f"{waiting}; plan {self.plan_hash}."
            )
        if self.objections:
            lines.append(
                f"The breaker refuses it: {'; '.join(self.objections)}. To carry it out once: "
                f"vscadmin cleanup --approve {self.plan_hash}"
            )
        return tuple(lines)


def plan_of(found: Survey) -> Plan:
    """Return one decision for every tree, by the survey's policy and what is remembered."""
    policy, memory, now = found.loaded.policy, found.memory, found.snapshot.taken_at
    fleet = _fleet(policy, now)
    waits = waiting(memory.messages.last, memory.messages.failed, policy, now, fleet=fleet)
    return look.plan_of(found.sight, policy, memory.histories, fleet.trees, waits)


def _fleet(policy: Policy, now: float) -> Fleet:
    """Return the other nodes as cleanup hears of them; warns of what cannot be heard."""
    if policy.fleet.snapshot is None or os.geteuid() != 0:  # the directory is root's alone
        return ALONE
    from vscadmin.cleanup.together import fleet_elsewhere  # noqa: PLC0415 - fleets alone

    fleet, problems = fleet_elsewhere(policy, os.uname().nodename, now)
    for problem in problems:
        click.echo(f"vscadmin: warning: {problem}", err=True)
    return fleet


def intent_of(found: Survey, plan: Plan) -> Intent:
    """Return what a run of cleanup would make of *plan*."""
    limits = found.loaded.policy.terminate
    cut = share(plan, limits)
    return Intent(
        plan_hash=hash_of(cut.ends, found.snapshot.boot_id),
        ends=len(cut.ends),
        waiting=len(cut.waiting),
        users=cut.users,
        notices=sum(each.due is Action.NOTIFY for each in plan),
        objections=objections(cut, limits),
    )
