"""What people read of a fleet: one table over all nodes, and who is missing from it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from vscadmin.cli.render import console
from vscadmin.fleet.answers import Heard, Outcome
from vscadmin.fleet.drift import COMPARED, State, odd
from vscadmin.fleet.merge import Merged, owner_of
from vscadmin.fleet.nodes import folded
from vscadmin.units import HOUR, counted, format_duration, format_size

_STYLES = {"connected": "green", "grace": "yellow", "abandoned": "red", "unknown": "magenta"}
_VERBS = {"notify": "tell owner", "terminate": "end"}
_MARK = "*"
_ENDLESS = 10_000  # columns
_LATE = HOUR  # seconds since the last run: five more were due since


def show_report(merged: Merged, *, wide: bool) -> None:
    """Print the servers of all nodes, the totals of each user, and the nodes that are missing."""
    out = console(wide=wide)
    answered = [each for each in merged.nodes if each.outcome is Outcome.ANSWERED]
    memory = format_size(sum(tree["rss_bytes"] for tree in merged.trees))
    out.print(
        Text(
            f"{counted(len(merged.trees), 'server')} of {counted(len(merged.users), 'user')} on "
            f"{len(answered)} of {counted(len(merged.nodes), 'node')}, {memory} resident.\n"
        )
    )
    if merged.trees:
        times = {each.node: moment_of(each.document["time"]) for each in answered}
        out.print(_servers(merged, times))
        out.print()
        out.print(_totals(merged.users))
        out.print()
    for line in _missing_lines(merged.missing):
        out.print(Text(line))


def _servers(merged: Merged, times: dict[str, float | None]) -> Table:
    table = _table("NODE", "USER", "PID", "PRODUCT", "STATE", "AGE", "PROC", "MEM", "CPU", "RULE")
    table.add_column("NEXT", overflow="fold")
    for tree in merged.trees:
        now, started = times[tree["node"]], moment_of(tree["started"])
        age = "?" if now is None or started is None else format_duration(now - started)
        table.add_row(
            Text(tree["node"]),
            Text(owner_of(tree)),
            str(tree["pid"]),
            Text(tree["product"]),
            Text(tree["state"], style=_STYLES.get(tree["state"], "")),
            age + ("o" if tree["orphan"] else " "),
            str(tree["processes"]),
            format_size(tree["rss_bytes"]),
            f"{tree['cpu_percent']:.0f}%",
            Text(tree["rule"] or "-"),
            Text(next_words(tree, now)),
        )
    return table


def _table(*names: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for name in names:
        right = name in ("PID", "AGE", "PROC", "MEM", "CPU", "SERVERS", "NODES")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    return table


def next_words(tree: dict[str, Any], now: float | None) -> str:
    """Say in a few words what would happen to a tree when, or why nothing would."""
    if steps := tree["next"]:
        return ", ".join(_step_words(step, now) for step in steps)
    if tree["state"] in ("unknown", "out-of-scope"):
        return f"kept: {tree['state']}"
    if tree["state"] == "connected" and tree["rule"] is None:
        return "kept: in use"
    if tree.get("rung") == "told":
        return "told; nothing follows"
    reason = "no rule" if tree["rule"] is None else "by the rule"
    return f"kept: {next(iter((*tree['held_back'], *tree['notes'])), reason)}"


def _step_words(step: dict[str, Any], now: float | None) -> str:
    at, verb = moment_of(step["not_before"]), _VERBS.get(step["action"], str(step["action"]))
    if at is None or now is None:
        return verb
    return f"{verb} now" if at <= now else f"{verb} in {format_duration(at - now)}"


def moment_of(text: str) -> float | None:
    """Return the moment that a node wrote, None for what is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if found.tzinfo is None else found.timestamp()


def _totals(users: Iterable[dict[str, Any]]) -> Table:
    table = _table("USER", "NODES", "SERVERS")
    for name in ("CONNECTED", "ABANDONED", "PROC", "MEM", "CPU"):
        table.add_column(name, justify="right")
    for row in users:
        table.add_row(
            Text(owner_of(row)),
            *(str(row[key]) for key in ("nodes", "trees", "connected", "abandoned", "processes")),
            format_size(row["rss_bytes"]),
            f"{row['cpu_percent']:.0f}%",
        )
    return table


def _missing_lines(missing: Sequence[Heard]) -> Iterator[str]:
    """Name the nodes of which something is missing, and why."""
    if missing:
        yield f"INCOMPLETE: {counted(len(missing), 'node')} missing, in part or whole:"
    for each in missing:
        yield f"  {each.node}: {each.words}"


def show_doctor(states: Sequence[State], *, wide: bool) -> None:
    """Print one line a node, what differs marked, then each node's own complaints."""
    out = console(wide=wide)
    different = odd(states)
    told = [each for each in states if each.heard.outcome is Outcome.ANSWERED]
    table = _table("NODE", *(name.upper() for name in COMPARED), "CLOCK", "LAST RUN", "DOCTOR")
    for each in told:
        node, shown = each.heard.node, {**each.compared, "plugins": _plugin_words(each)}
        cells = [shown[key] + (_MARK if node in different[key] else "") for key in COMPARED]
        table.add_row(*map(Text, (node, *cells, _clock_words(each), _run_words(each), each.grade)))
    if told:
        # A line a node, however long: what is cut or folded can be neither copied nor searched.
        table.width = out.measure(table, options=out.options.update(max_width=_ENDLESS)).maximum
        out.print(table, crop=False)
        out.print()
    for key, names in different.items():
        if names:
            out.print(Text(f"{_MARK} {key} differs: {folded(tuple(sorted(names)))}"))
    for each in told:
        for words in each.checks:
            out.print(Text(f"{each.heard.node}: {words}"))
    for line in _missing_lines([each.heard for each in states if each not in told]):
        out.print(Text(line))


def _plugin_words(state: State) -> str:
    plugins = sorted((each["name"], each["sha256"] or "") for each in state.facts["plugins"])
    words = (f"{name} {digest[:4]}…" if digest else f"{name} missing" for name, digest in plugins)
    return ", ".join(words) or "-"


def _clock_words(state: State) -> str:
    if (clock := state.clock) is None:
        return "?"
    mark = _MARK if clock.is_wrong else ""
    return f"{clock.offset:+.1f}s ±{clock.uncertainty:.1f}{mark}"


def _run_words(state: State) -> str:
    at = None if state.last_run is None else moment_of(state.last_run)
    if at is None:
        return f"never{_MARK}"
    age = time.time() - at
    late = _MARK if age > _LATE else ""
    return f"{format_duration(max(0.0, age))} ago{late}, {state.last_outcome or '?'}"
