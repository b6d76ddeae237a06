"""What people read: tables and trees by rich, every foreign word escaped, never as markup."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree as Branches

from vscadmin.cli.as_json import user_totals
from vscadmin.cli.survey import Survey
from vscadmin.cli.unpadded import unpadded
from vscadmin.escape import command_line, printable
from vscadmin.model import Process, ProcessKey, Tree
from vscadmin.policy.decide import Decision, Plan, Step
from vscadmin.policy.ladder import Rung
from vscadmin.policy.settings import Action, Mode, State
from vscadmin.policy.states import Judged
from vscadmin.procs.usage import Usage
from vscadmin.units import counted, format_duration, format_moment, format_size

COLUMNS = 100
_COMMIT = re.compile(rb"[0-9a-f]{40}")
_WHOLE_PATH = 4  # components that scan shows of a path
_WIDE_PIPE = 240  # columns of --wide where there is no terminal to ask
_STYLES = {
    State.CONNECTED: "green",
    State.GRACE: "yellow",
    State.ABANDONED: "red",
    State.UNKNOWN: "magenta",
    State.OUT_OF_SCOPE: "dim",
}
_VERBS = {Action.NOTIFY: "tell owner", Action.TERMINATE: "end"}


def console(*, wide: bool) -> Console:
    """Return where to print: colours only on a terminal, 100 columns unless *wide*."""
    on_terminal = sys.stdout.isatty()
    screen = os.get_terminal_size().columns if on_terminal else 0
    width = screen or _WIDE_PIPE if wide else min(screen or COLUMNS, COLUMNS)
    file = sys.stdout if on_terminal else unpadded(sys.stdout)
    return Console(
        file=file,
        width=width,
        force_terminal=on_terminal,
        highlight=False,
        markup=False,
        emoji=False,
    )


def show_report(found: Survey, plan: Plan, cpu: Mapping[ProcessKey, float], *, wide: bool) -> None:
    """Print the report: a line a tree, totals per user, and what to bear in mind."""
    out = console(wide=wide)
    out.print(_headline(found, plan))
    if plan:
        out.print(_report_table(plan, cpu, found.snapshot.taken_at, wide=wide))
        out.print(_totals_table(plan, cpu))
    for line in _footnotes(found, plan):
        out.print(Text(line), soft_wrap=False)


def _headline(found: Survey, shown: Sequence[Judged | Decision]) -> Text:
    trees = [each.tree for each in shown]
    when = format_moment(found.snapshot.taken_at)
    policy = found.loaded
    judged = f"policy {policy.source}" + (f" ({policy.digest[:12]})" if policy.digest else "")
    head = f"{os.uname().nodename}  {when}  {judged}, mode {policy.policy.mode}"
    looked = f"{len(found.snapshot.processes)} processes looked at"
    if not trees:
        of_these = (
            f" among {counted(len(found.forest.trees), 'server')}" if found.forest.trees else ""
        )
        return Text(f"{head}\nNo remote-editor server found{of_these}, {looked}.")
    memory = format_size(sum(tree.rss for tree in trees))
    owners = len({tree.root.uid for tree in trees})
    count = f"{counted(len(trees), 'server')} of {counted(owners, 'user')}"
    return Text(f"{head}\n{count}, {memory} resident; {looked}.\n")


def _report_table(plan: Plan, cpu: Mapping[ProcessKey, float], now: float, *, wide: bool) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    limit = None if wide else 11
    table.add_column("USER", max_width=None if wide else 10, overflow="ellipsis", no_wrap=True)
    table.add_column("PID", justify="right", no_wrap=True)
    table.add_column("PRODUCT", max_width=limit, overflow="fold")
    table.add_column("STATE", no_wrap=True)
    for name in ("SINCE", "AGE", "PROC", "MEM", "CPU"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("RULE", max_width=limit, overflow="fold")
    table.add_column("NEXT", overflow="fold")
    for decision in plan:
        tree, verdict = decision.tree, decision.verdict
        age = format_duration(now - tree.started_at) + ("o" if tree.orphan else " ")
        table.add_row(
            Text(printable(str(decision.owner))),
            str(tree.root.pid),
            Text(tree.product),
            Text(str(verdict.state), style=_STYLES[verdict.state]),
            "?" if verdict.since is None else format_duration(now - verdict.since),
            age,
            str(len(tree.members)),
            format_size(tree.rss),
            f"{cpu.get(tree.key, 0.0):.0f}%",
            Text(decision.rule or "-"),
            Text(next_words(decision, now)),
        )
    return table


def next_words(decision: Decision, now: float) -> str:
    """Say in a few words what would happen when, or why nothing would."""
    if decision.steps:
        return ", ".join(_step_words(step, now) for step in decision.steps)
    if decision.standing.rung is Rung.TOLD:
        return _told_words(decision)
    return f"kept: {printable(_why_kept(decision), 60)}"


def _told_words(decision: Decision) -> str:
    """Say why nothing follows the notice."""
    at, state = decision.memory.notified_at, decision.verdict.state
    told = "told" if at is None else f"told {datetime.fromtimestamp(at).date()}"
    if decision.wanted is Action.NOTIFY:
        return f"{told}; the rule asks for no more"
    if state is not State.ABANDONED:
        return f"{told}; {state} is not ended"
    return f"{told}; mode notify ends nothing"


def _why_kept(decision: Decision) -> str:
    state = decision.verdict.state
    if state in (State.OUT_OF_SCOPE, State.UNKNOWN):
        return str(state)
    if state is State.CONNECTED and decision.rule is None:
        return "in use"
    if decision.rule is not None and not decision.held_back:
        return "by the rule"
    return next(iter((*decision.held_back, *decision.notes)), "no rule")


def _step_words(step: Step, now: float) -> str:
    verb = _VERBS[step.action]
    return f"{verb} now" if step.at <= now else f"{verb} in {format_duration(step.at - now)}"


def _totals_table(plan: Plan, cpu: Mapping[ProcessKey, float]) -> Padding:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("USER", overflow="ellipsis", no_wrap=True)
    names = ("SERVERS", "CONNECTED", "ABANDONED", "PROC", "MEM", "CPU")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for row in user_totals(plan, cpu):
        table.add_row(
            Text(printable(row["user"] or f"#{row['uid']}")),
            str(row["trees"]),
            str(row["connected"]),
            str(row["abandoned"]),
            str(row["processes"]),
            format_size(row["rss_bytes"]),
            f"{row['cpu_percent']:.0f}%",
        )
    return Padding(table, (1, 0, 1, 0))


def _footnotes(found: Survey, plan: Plan) -> Iterable[str]:
    if plan:
        yield "AGE o: orphan, adopted by pid 1 or a sub-reaper; that alone says nothing about use."
    if found.loaded.policy.mode is Mode.OBSERVE and any(each.steps for each in plan):
        yield "NEXT is the earliest and what the rule asks for; in mode observe nothing is done."
    ends = (step for each in plan for step in each.steps if step.action is Action.TERMINATE)
    if found.loaded.policy.mode is Mode.NOTIFY and any(not step.allowed for step in ends):
        yield "NEXT is the earliest and what the rule asks for; in mode notify nothing is ended."
    if any(each.verdict.since is None for each in plan):
        yield "SINCE ?: no earlier scan is stored, so how long it has been like this is not known."
    if count := sum(each.verdict.state is State.UNKNOWN for each in plan):
        yield (
            f"{counted(count, 'server')} unknown: something could not be read or looked up"
            + ("." if os.geteuid() == 0 else "; root would see them.")
        )
    notes = Counter(note for each in plan for note in each.notes)
    for note, times in notes.items():
        yield printable(note, 200) + f" ({counted(times, 'server')})"
    if plan:
        yield "Why: vscadmin explain PID"


def show_trees(found: Survey, judged: Sequence[Judged], *, wide: bool) -> None:
    """Print every tree with its members as the kernel relates them."""
    out = console(wide=wide)
    if not judged:
        out.print(_headline(found, judged))
    for each in judged:
        tree, verdict = each.tree, each.verdict
        head = Text.assemble(
            f"{printable(str(each.owner))}  {tree.product} ({tree.layout})  ",
            (str(verdict.state), _STYLES[verdict.state]),
            f"  {'; '.join(printable(words) for words in verdict.evidence)}",
        )
        out.print(head)
        out.print(Padding(_branches(tree, wide=wide), (0, 0, 1, 2)), no_wrap=True)


def _branches(tree: Tree, *, wide: bool) -> Branches:
    """Return the members below their parents; adopted ones stand beside the root."""
    top = Branches(_member_words(tree.root, wide=wide))
    places = {tree.root.pid: top}
    for member in tree.members[1:]:
        above = places.get(member.ppid, top)
        places[member.pid] = above.add(_member_words(member, wide=wide))
    return top


def _member_words(process: Process, *, wide: bool) -> Text:
    argv = process.argv if wide else tuple(map(_short_path, process.argv))
    words = f"{process.pid} {format_size(process.rss)} {command_line(argv)}"
    return Text(words, overflow="ellipsis", no_wrap=True)


def _short_path(argument: bytes) -> bytes:
    """Leave two components of a long path and 8 digits of a commit: enough to tell who is who."""
    argument = _COMMIT.sub(lambda commit: commit[0][:8], argument)
    parts = argument.split(b"/")
    if not argument.startswith(b"/") or len(parts) <= _WHOLE_PATH:
        return argument
    return "…/".encode() + b"/".join(parts[-2:])


def show_explanation(
    found: Survey,
    plan: Plan,
    usage: Mapping[ProcessKey, Usage],
    stranger: str,
    *,
    wide: bool,
) -> None:
    """Print each check with its evidence, the rules, and the next step."""
    out = console(wide=wide)
    if stranger:
        out.print(Text(printable(stranger, 400)))
    elif not plan:
        out.print(Text("No remote-editor server of this user on this machine."))
    for decision in plan:
        for label, lines in _explanation(found, decision, usage[decision.tree.key]):
            table = Table.grid(padding=(0, 2))
            table.add_column(width=12, no_wrap=True, style="bold")
            table.add_column(overflow="fold")
            for index, line in enumerate(lines):
                table.add_row(label if index == 0 else "", Text(printable(line, 400)))
            out.print(table)
        out.print()


def _explanation(
    found: Survey, decision: Decision, usage: Usage
) -> Iterable[tuple[str, list[str]]]:
    tree, verdict, now = decision.tree, decision.verdict, found.snapshot.taken_at
    yield "server", [f"pid {tree.root.pid}: {tree.title}, {tree.layout}"]
    yield "command", [command_line(tree.root.argv)]
    yield "owner", [f"{decision.owner} (uid {tree.root.uid})"]
    yield "parent", [tree.parent + (", so it is an orphan" if tree.orphan else "")]
    yield "age", [f"{format_duration(now - tree.started_at)}, since {_when(tree.started_at)}"]
    memory = f"{format_size(tree.rss)} resident"
    if usage.unique is not None:
        memory += f", {format_size(usage.unique)} would be given back"
    yield "memory", [memory]
    spent = format_duration(tree.cpu_ticks / found.snapshot.ticks_per_second)
    yield "CPU", [f"{usage.cpu_percent:.0f}% of a core now, {spent} in all"]
    members = [f"{counted(len(tree.members), 'process')}, listening for clients: {tree.servers}"]
    yield "members", members + [f"agent: {name}" for name in tree.agents]
    if usage.terminals:
        yield "terminals", [", ".join(usage.terminals)]
    yield "state", [str(verdict.state), *(f"- {each}" for each in verdict.evidence)]
    yield from _judgement(decision, found.loaded.policy.mode, now)


def _judgement(decision: Decision, mode: Mode, now: float) -> Iterable[tuple[str, list[str]]]:
    for each in decision.checked:
        holds = "holds" if each.holds else _later(each.at, now)
        lines = [f"{each.rule.name}: {holds}; asks to {each.rule.action}"]
        lines += [f"  {'yes' if one.holds else 'no '} {one.words}" for one in each.findings]
        yield "rule", lines
    if decision.held_back:
        yield "held back", [f"- {each}" for each in decision.held_back]
    if decision.notes:
        yield "note", [f"- {each}" for each in decision.notes]
    decides = decision.rule or "none matches, so it is kept"
    is_coming = decision.rule is not None and decision.is_forecast
    yield "decides", [f"{decides} (the first to come true)" if is_coming else decides]
    steps = [_dated(step, mode, decision.message_at) for step in decision.steps]
    yield "next", steps or [next_words(decision, now)]


def _later(at: float | None, now: float) -> str:
    if at is None:
        return "does not hold"
    return f"not before {_when(at)} (in {format_duration(max(0.0, at - now))})"


def _dated(step: Step, mode: Mode, message_at: float | None) -> str:
    """Say when a step is due, and what is in its way: the mode, an earlier message."""
    limit = "" if step.allowed else f" (mode {mode}: it does not happen)"
    if step.allowed and step.action is Action.NOTIFY and step.at == message_at:
        limit = " (an earlier message to this owner is in the way: notify.every)"
    return f"{_VERBS[step.action]} not before {_when(step.at)}{limit}"


def _when(at: float) -> str:
    return datetime.fromtimestamp(at).strftime("%a %Y-%m-%d %H:%M")
