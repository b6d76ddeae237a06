"""What --json prints; docs/json.md describes it, and its schema number changes with it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from vscadmin.cli.survey import Loaded, Survey
from vscadmin.escape import command_line, printable
from vscadmin.model import Process, ProcessKey, Tree
from vscadmin.policy.states import Judged

if TYPE_CHECKING:  # scan does without
    from vscadmin.cli.plan import Intent
    from vscadmin.policy.decide import Decision, Plan
    from vscadmin.policy.rules import Finding

SCHEMA = 1


def emit(kind: str, body: Mapping[str, Any]) -> None:
    """Print one JSON document, ASCII only: nothing in it can reach a terminal as a control."""
    document = {"schema": SCHEMA, "kind": kind, "host": os.uname().nodename, **body}
    click.echo(json.dumps(document, indent=1))


def moment(at: float | None) -> str | None:
    """Return a time as ISO 8601 in UTC, to the second."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def seen(survey: Survey) -> dict[str, Any]:
    """Return what every survey states: when, of which boot, how much was looked at."""
    snapshot = survey.snapshot
    return {
        "time": moment(snapshot.taken_at),
        "boot_id": snapshot.boot_id,
        "processes_seen": len(snapshot.processes),
        "processes_unreadable": len(snapshot.unreadable),
        "complete": not survey.is_partial,
    }


def policy_facts(loaded: Loaded) -> dict[str, Any]:
    """Return which policy judged."""
    return {
        "source": loaded.source,
        "sha256": loaded.digest or None,
        "mode": str(loaded.policy.mode),
        "warnings": list(loaded.warnings),
    }


def tree_facts(judged: Judged | Decision, ticks: int) -> dict[str, Any]:
    """Return the facts and the state of one tree."""
    tree, verdict = judged.tree, judged.verdict
    return {
        "pid": tree.root.pid,
        "start_ticks": tree.root.start_ticks,
        "uid": tree.root.uid,
        "user": judged.owner.name,
        "product": tree.product,
        "layout": tree.layout,
        "verified": tree.verified,
        "state": str(verdict.state),
        "since": moment(verdict.since),
        "evidence": [printable(each) for each in verdict.evidence],
        "started": moment(tree.started_at),
        "orphan": tree.orphan,
        "processes": len(tree.members),
        "rss_bytes": tree.rss,
        "cpu_seconds": round(tree.cpu_ticks / ticks, 2),
        "listeners": list(tree.connections.listeners),
        "clients": [printable(each) for each in tree.connections.clients],
        "agents": list(tree.agents),
        "foreign_pids": [each.pid for each in tree.foreign],
        "command": command_line(tree.root.argv),
    }


def decision_facts(decision: Decision) -> dict[str, Any]:
    """Return what is decided about one tree, and why."""
    return {
        "action": str(decision.action),
        "wanted": str(decision.wanted),
        "rung": str(decision.standing.rung),
        "due": str(decision.due),
        "rule": decision.rule,
        "rule_holds": decision.rule is not None and not decision.is_forecast,
        "findings": [finding_facts(each) for each in decision.findings],
        "held_back": [printable(each) for each in decision.held_back],
        "notes": [printable(each) for each in decision.notes],
        "next": [
            {"action": str(step.action), "not_before": moment(step.at), "allowed": step.allowed}
            for step in decision.steps
        ],
    }


def intent_facts(intent: Intent) -> dict[str, Any]:
    """Return what a run of cleanup would do now."""
    return {
        "hash": intent.plan_hash or None,
        "notices_due": intent.notices,
        "ends_due": intent.ends,
        "ends_waiting": intent.waiting,
        "users_due": intent.users,
        "refused_because": list(intent.objections),
    }


def finding_facts(finding: Finding) -> dict[str, Any]:
    """Return one condition's finding."""
    return {
        "check": finding.check,
        "holds": finding.holds,
        "words": printable(finding.words),
        "holds_at": moment(finding.holds_at),
    }


def process_facts(process: Process, tree: Tree, ticks: int) -> dict[str, Any]:
    """Return one member of a tree."""
    return {
        "pid": process.pid,
        "ppid": process.ppid,
        "uid": process.uid,
        "state": process.state,
        "rss_bytes": process.rss,
        "cpu_seconds": round(process.cpu_ticks / ticks, 2),
        "foreign": process in tree.foreign,
        "command": command_line(process.argv),
    }


def user_totals(plan: Plan, cpu: Mapping[ProcessKey, float]) -> list[dict[str, Any]]:
    """Return one row a user, the one with the most memory first."""
    rows: dict[int, dict[str, Any]] = {}
    for decision in plan:
        tree = decision.tree
        row = rows.setdefault(
            tree.root.uid,
            {
                "uid": tree.root.uid,
                "user": decision.owner.name,
                "trees": 0,
                "connected": 0,
                "abandoned": 0,
                "processes": 0,
                "rss_bytes": 0,
                "cpu_percent": 0.0,
            },
        )
        row["trees"] += 1
        if str(decision.verdict.state) in ("connected", "abandoned"):
            row[str(decision.verdict.state)] += 1
        row["processes"] += len(tree.members)
        row["rss_bytes"] += tree.rss
        row["cpu_percent"] = round(row["cpu_percent"] + cpu.get(tree.key, 0.0), 1)
    return sorted(rows.values(), key=lambda row: -row["rss_bytes"])
