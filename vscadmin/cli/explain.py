"""`vscadmin explain`: every check of a tree, its evidence, the rule and the next step."""

from __future__ import annotations

from typing import Any

import click

from vscadmin.cli import as_json as js
from vscadmin.cli import options
from vscadmin.cli.plan import plan_of
from vscadmin.cli.survey import Survey, known_uid, survey, warn
from vscadmin.errors import UsageError
from vscadmin.escape import command_line, printable
from vscadmin.policy.decide import Decision, Plan
from vscadmin.procs.usage import Usage, measure

_LONGEST_PID = 19  # digits; longer ones are no pid, and slow to convert


@click.command("explain")
@click.argument("who", metavar="PID|USER")
@options.inputs
@options.as_json
@options.wide
def command(
    who: str, policy_path: str | None, catalogue_dir: str | None, as_json: bool, wide: bool
) -> int:
    """Explain one server tree, by any pid in it, or all of a user's.

    Every check with its evidence, every rule with what it found, the rule that decides
    and the next step. For a pid that is in no tree it says why not.
    """
    found = survey(policy_path, catalogue_dir)
    warn(found)
    plan = _chosen(found, plan_of(found), who)
    strangers = "" if plan or not _is_pid(who) else stranger(found, int(who))
    usage = measure((each.tree for each in plan), closely=True)
    if as_json:
        ticks = found.snapshot.ticks_per_second
        trees = [_facts(each, ticks, usage[each.tree.key]) for each in plan]
        body = {**js.seen(found), "policy": js.policy_facts(found.loaded), "trees": trees}
        js.emit("explain", {**body, "no_tree": printable(strangers) if strangers else None})
    else:
        from vscadmin.cli.render import show_explanation  # noqa: PLC0415 - rich is for people

        show_explanation(found, plan, usage, strangers, wide=wide)
    return found.exit_code


def _chosen(found: Survey, plan: Plan, who: str) -> Plan:
    """Return the decisions about a pid's tree or a user's trees; raises UsageError for neither."""
    if not _is_pid(who):
        uid = known_uid(who, found.owners.values())
        return tuple(each for each in plan if each.tree.root.uid == uid)
    pid = int(who)
    if pid not in found.snapshot.processes and pid not in found.snapshot.unreadable:
        raise UsageError(f"pid {pid}: there is no such process (any more)")
    return tuple(each for each in plan if any(member.pid == pid for member in each.tree.members))


def _is_pid(who: str) -> bool:
    """Whether *who* is a number; the kernel's pids have at most seven digits."""
    return who.isascii() and who.isdecimal() and len(who) <= _LONGEST_PID


def stranger(found: Survey, pid: int) -> str:
    """Say why *pid* is in no tree."""
    process = found.snapshot.processes.get(pid)
    if process is None:
        return f"pid {pid} cannot be read, so it is unknown and never acted on"
    named = f"pid {pid} ({command_line(process.argv, 80) or 'no command line'})"
    if pid in found.snapshot.ourselves:
        return f"{named} is this command or an ancestor of it, and never a candidate"
    if reason := found.forest.rejected.get(pid):
        return f"{named} {reason}"
    return (
        f"{named} is in no remote-editor tree: neither its program nor its script is a path "
        "of the catalogue, and no process above it is one's"
    )


def _facts(decision: Decision, ticks: int, use: Usage) -> dict[str, Any]:
    tree = decision.tree
    return (
        js.tree_facts(decision, ticks)
        | js.decision_facts(decision)
        | {
            "cpu_percent": round(use.cpu_percent, 1),
            "unique_bytes": use.unique,
            "terminals": list(use.terminals),
            "parent": printable(tree.parent),
            "rules": [
                {
                    "rule": each.rule.name,
                    "holds": each.holds,
                    "holds_at": js.moment(each.at),
                    "findings": [js.finding_facts(finding) for finding in each.findings],
                }
                for each in decision.checked
            ],
            "members": [js.process_facts(each, tree, ticks) for each in tree.members],
        }
    )
