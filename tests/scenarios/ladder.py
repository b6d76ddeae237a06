"""Read a scenario over several scans: one process table, and what changes from scan to scan."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.builders import NOW, TICKS
from tests.scenarios.table import read_policy, read_snapshot
from vscadmin.cleanup.replay import Rehearsal, Scanned
from vscadmin.model import Owner
from vscadmin.policy.decide import Decision, Plan
from vscadmin.procs.families import load_catalogue
from vscadmin.procs.trees import find_trees, logins
from vscadmin.units import parse_duration


@dataclass(frozen=True)
class Scan:
    """One scan of a scenario: what was decided, and what the file expects of it."""

    at: str
    plan: Plan
    ended: dict[int, str]
    expected: list[dict[str, Any]]


def scans(path: Path) -> Iterator[Scan]:
    """Rehearse the scenario at *path*, scan by scan; see docs/scenarios.md for the format."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    rehearsal = Rehearsal(read_policy(data, path))
    for scan in data["scan"]:
        later = parse_duration(scan["at"])
        plan = rehearsal.scan(_scanned({**data, **scan}, later))
        ended = {
            each.identity.pid: each.rule
            for each in rehearsal.ended.values()
            if each.at == NOW + later
        }
        yield Scan(scan["at"], plan, ended, scan.get("expect", []))


def _scanned(data: dict[str, Any], later: int) -> Scanned:
    snapshot = read_snapshot(data, NOW + later)
    forest = find_trees(snapshot, load_catalogue())
    users, groups = data.get("user", {}), data.get("groups", {})
    uids = {tree.root.uid for tree in forest.trees}
    owners = {
        uid: Owner(uid, users.get(str(uid), f"user{uid}"), tuple(groups.get(str(uid), ())))
        for uid in uids
    }
    return Scanned(
        snapshot.taken_at, snapshot.boot_id, forest.trees, owners, logins(snapshot, forest), TICKS
    )


def seen(decision: Decision, ended: dict[int, str]) -> dict[str, Any]:
    """Say of a decision everything that a scan may expect."""
    pid = decision.tree.root.pid
    return {
        "root": pid,
        "state": str(decision.verdict.state),
        "rule": None if decision.is_forecast else decision.rule,
        "action": str(decision.action),
        "rung": str(decision.standing.rung),
        "due": str(decision.standing.due),
        "held_back": list(decision.held_back),
        "notes": list(decision.notes),
        "ended": pid in ended,
    }
