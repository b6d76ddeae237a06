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

_OF_A_SCAN = frozenset({"at", "expect", "messages", "refused"})
_TABLE = frozenset(
    {"ps", "add", "many", "without", "tcp", "unix", "exe", "cgroup", "uids", "pid_levels", "cpu",
     "unreadable", "boot_id", "user", "groups", "policy", "mode"}
)  # fmt: skip


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
    _check_keys(data, _TABLE | {"about", "scan"}, "the file")
    rehearsal = Rehearsal(read_policy(data, path))
    for scan in data["scan"]:
        at, later = scan["at"], parse_duration(scan["at"])
        _check_keys(scan, _TABLE | _OF_A_SCAN, f"at {at}")
        changed = {**data, **scan}
        rehearsal.policy = read_policy(changed, path)
        messages, refused = rehearsal.messages, rehearsal.refused
        plan = rehearsal.scan(_scanned(changed, later))
        found = {"messages": rehearsal.messages - messages, "refused": rehearsal.refused > refused}
        wanted = {key: scan.get(key, found[key]) for key in found}
        assert found == wanted, f"at {at}: {found}, not {wanted}"
        yield Scan(at, plan, _ended(rehearsal, NOW + later), list(_each_root(scan["expect"])))


def _check_keys(table: dict[str, Any], known: frozenset[str], where: str) -> None:
    """Refuse a misspelt key: it would change nothing, and the scenario would show nothing."""
    assert table.keys() <= known, f"{where}: unknown {sorted(table.keys() - known)}"


def _ended(rehearsal: Rehearsal, at: float) -> dict[int, str]:
    return {each.identity.pid: each.rule for each in rehearsal.ended.values() if each.at == at}


def _each_root(expected: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Spell `roots`, the first and the last pid, as one expectation for each."""
    for each in expected:
        first, last = each.get("roots", [each.get("root")] * 2)
        rest = {key: value for key, value in each.items() if key != "roots"}
        for root in range(first, last + 1):
            yield {**rest, "root": root}


def _scanned(data: dict[str, Any], later: int) -> Scanned:
    snapshot = read_snapshot(data, NOW + later)
    forest = find_trees(snapshot, load_catalogue())
    users, groups = data.get("user", {}), data.get("groups", {})
    uids = {tree.root.uid for tree in forest.trees}
    owners = {
        uid: Owner(uid, users.get(str(uid), f"user{uid}") or None, tuple(groups.get(str(uid), ())))
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
        "members": sorted(each.pid for each in decision.tree.members),
        "clients": len(decision.tree.connections.clients),
        "foreign": sorted(each.pid for each in decision.tree.foreign),
        "rule": None if decision.is_forecast else decision.rule,
        "action": str(decision.action),
        "rung": str(decision.standing.rung),
        "due": str(decision.standing.due),
        "held_back": list(decision.held_back),
        "notes": list(decision.notes),
        "ended": pid in ended,
    }
