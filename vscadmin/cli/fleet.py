"""`vscadmin fleet`: many login nodes as one, asked over ssh."""

from __future__ import annotations

import time
from typing import Any

import click

from vscadmin.cli import as_json as js
from vscadmin.cli import options
from vscadmin.cli.survey import load_policy
from vscadmin.errors import Exit, UsageError
from vscadmin.escape import printable
from vscadmin.fleet.answers import Heard, Outcome
from vscadmin.fleet.ask import Answer, Limits, ask
from vscadmin.fleet.drift import State, clock_of, odd, state_of
from vscadmin.fleet.merge import Merged, heard_report, merge
from vscadmin.fleet.nodes import folded, node_names

_REPORT = "vscadmin report --json"
_DOCTOR = "date +%s.%N; vscadmin doctor --json"  # both mean the same in every login shell
_SILENT = "did not answer"
_TIMEOUT = 60  # seconds


@click.group("fleet")
def command() -> None:
    """Look at many login nodes at once, over ssh: one report, and what differs between them."""


def _asking(function: options.Command) -> options.Command:
    """Add the options that say which nodes, and how they are asked."""
    nodes = click.option(
        "-w",
        "--nodes",
        metavar="NODES",
        help="Node set, such as login[01-04] or @login; default the policy's fleet.nodes.",
    )
    fanout = click.option(
        "--fanout", type=click.IntRange(1, 4096), metavar="N", help="Ask so many at once."
    )
    timeout = click.option(
        "--timeout",
        type=options.Duration(),
        default=_TIMEOUT,
        metavar="TIME",
        help="How long a node may take; default 60s.",
    )
    policy = options.policy_for("that names the nodes")
    return nodes(policy(fanout(timeout(function))))


@command.command("report", short_help="Show the servers of all nodes in one table.")
@_asking
@options.user
@options.as_json
@click.option("--html", metavar="FILE", help="Write a page for a browser to FILE, print nothing.")
@options.wide
def report(
    nodes: str | None,
    policy_path: str | None,
    fanout: int | None,
    timeout: int,
    user: str | None,
    as_json: bool,
    html: str | None,
    wide: bool,
) -> int:
    """Show the servers of all nodes in one table, and what each user has on all of them.

    Each node judges by its own policy, as vscadmin report does there. Nodes that did not
    answer are named, and the exit status is 10 then.
    """
    if as_json and html is not None:
        raise UsageError("--json: does not go with --html")
    limits = Limits(timeout, fanout=fanout)
    answers = ask(_names(nodes, policy_path), _REPORT, limits)
    merged = merge([_heard(each) for each in answers], user)
    if as_json:
        js.emit("fleet-report", _report_facts(merged))
    elif html is not None:
        from vscadmin.cli.fleet_page import page_of  # noqa: PLC0415 - jinja2
        from vscadmin.cli.html import write_page  # noqa: PLC0415

        write_page(page_of(merged, time.time()), html)
    else:
        from vscadmin.cli.render_fleet import show_report  # noqa: PLC0415 - rich is for people

        show_report(merged, wide=wide)
    return Exit.INCOMPLETE if merged.missing else Exit.DONE


@command.command("doctor", short_help="Compare the nodes: what differs between them.")
@_asking
@options.as_json
@options.wide
def doctor(
    nodes: str | None,
    policy_path: str | None,
    fanout: int | None,
    timeout: int,
    as_json: bool,
    wide: bool,
) -> int:
    """Compare the nodes: version, policy, plugins, clocks, last runs; a star marks what differs.

    Exits with 10 when a node did not answer, else with the highest code of vscadmin doctor
    on any of them. Differences alone change no exit status.
    """
    limits = Limits(timeout, fanout=fanout)
    answers = ask(_names(nodes, policy_path), _DOCTOR, limits)
    states = [_state(each) for each in answers]
    if as_json:
        js.emit("fleet-doctor", _doctor_facts(states))
    else:
        from vscadmin.cli.render_fleet import show_doctor  # noqa: PLC0415 - rich is for people

        show_doctor(states, wide=wide)
    if any(each.heard.outcome is not Outcome.ANSWERED for each in states):
        return Exit.INCOMPLETE
    return max(each.heard.code or 0 for each in states)


def _names(nodes: str | None, policy_path: str | None) -> tuple[str, ...]:
    """Return the nodes to ask; raises UsageError where nobody says which."""
    if nodes is not None:
        return node_names(nodes, "--nodes")
    loaded = load_policy(policy_path)
    if loaded.policy.fleet.nodes is None:
        raise UsageError("--nodes: which? The policy has no fleet.nodes either")
    return node_names(loaded.policy.fleet.nodes, f"{loaded.source}: fleet.nodes")


def _heard(answer: Answer) -> Heard:
    return _nothing_of(answer) or heard_report(answer.node, b"\n".join(answer.lines), answer.code)


def _state(answer: Answer) -> State:
    if nothing := _nothing_of(answer):
        return State(nothing, {})
    clock = None
    if answer.heard is not None:
        clock = clock_of(answer.lines[0], answer.begun, answer.heard)
    return state_of(answer.node, b"\n".join(answer.lines[1:]), answer.code, clock)


def _nothing_of(answer: Answer) -> Heard | None:
    """Say why there is no document in an answer, None where there may be one."""
    words = printable(answer.words)
    if answer.is_too_long:
        return Heard(answer.node, Outcome.UNUSABLE, "it said too much", answer.code)
    if answer.is_unreachable:
        said = f"{_SILENT}: {words}" if words else f"{_SILENT} in time"
        return Heard(answer.node, Outcome.SILENT, said, answer.code)
    if not answer.lines or answer.code == Exit.USAGE:
        said = f"exit {answer.code}: {words}" if words else f"exit {answer.code}"
        return Heard(answer.node, Outcome.FAILED, said, answer.code)
    return None


def _report_facts(merged: Merged) -> dict[str, Any]:
    return {
        "complete": not merged.missing,
        "nodes": [_node_facts(each) for each in merged.nodes],
        "trees": list(merged.trees),
        "users": list(merged.users),
    }


def _node_facts(heard: Heard) -> dict[str, Any]:
    said = heard.document
    policy = said.get("policy", {})
    return {
        "node": heard.node,
        "outcome": str(heard.outcome),
        "words": heard.words or None,
        "exit_code": heard.code,
        "time": said.get("time"),
        "processes_seen": said.get("processes_seen"),
        "policy_sha256": policy.get("sha256"),
        "mode": policy.get("mode"),
    }


def _doctor_facts(states: list[State]) -> dict[str, Any]:
    different = odd(states)
    return {
        "complete": all(each.heard.outcome is Outcome.ANSWERED for each in states),
        "nodes": [_state_facts(each, different) for each in states],
        "differ": [
            {"what": key, "nodes": folded(tuple(sorted(names)))}
            for key, names in different.items()
            if names
        ],
    }


def _state_facts(state: State, different: dict[str, frozenset[str]]) -> dict[str, Any]:
    node, clock = state.heard.node, state.clock
    return {
        "node": node,
        "outcome": str(state.heard.outcome),
        "words": state.heard.words or None,
        "exit_code": state.heard.code,
        "facts": dict(state.facts) or None,
        "differs": sorted(key for key, names in different.items() if node in names),
        "clock_offset_seconds": None if clock is None else round(clock.offset, 3),
        "clock_uncertainty_seconds": None if clock is None else round(clock.uncertainty, 3),
        "grade": state.grade or None,
        "checks": list(state.checks),
    }
