"""`vscadmin report`: the plan, printed; nothing is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from vscadmin.cli import as_json as js
from vscadmin.cli import options
from vscadmin.cli.plan import Intent, intent_of, plan_of
from vscadmin.cli.survey import Survey, select, survey, warn
from vscadmin.errors import Exit, UsageError
from vscadmin.model import ProcessKey
from vscadmin.policy.decide import Plan
from vscadmin.policy.settings import Action


@click.command("report")
@options.inputs
@options.user
@options.product
@click.option(
    "--exit-code", is_flag=True, help="Exit with 12 when a rule asks for something to be done."
)
@options.as_json
@click.option("--html", metavar="FILE", help="Write a page for a browser to FILE, print nothing.")
@options.wide
def command(
    policy_path: str | None,
    catalogue_dir: str | None,
    user: str | None,
    product: str | None,
    exit_code: bool,
    as_json: bool,
    html: str | None,
    wide: bool,
) -> int:
    """Show every server tree and what the policy would do about it: a dry run.

    One line a tree: whose, in use or not, what it costs, the rule that decides and what
    would happen when; then totals per user. Nothing is changed and nobody is told.
    """
    if as_json and html is not None:
        raise UsageError("--json: does not go with --html")
    from vscadmin.procs.usage import measure  # noqa: PLC0415 - psutil; scan goes without

    found = survey(policy_path, catalogue_dir)
    whole = plan_of(found)
    intent = intent_of(found, whole)
    plan = select(found, whole, user, product)
    warn(found)
    cpu = {key: use.cpu_percent for key, use in measure(each.tree for each in plan).items()}
    if as_json:
        js.emit("report", _body(found, plan, cpu, intent))
    elif html is not None:
        from vscadmin.cli.html import page_of, write_page  # noqa: PLC0415 - jinja2

        write_page(page_of(found, plan, cpu, intent.words), html)
    else:
        from vscadmin.cli.render import show_report  # noqa: PLC0415 - rich is for people only

        show_report(found, plan, cpu, wide=wide)
        for line in intent.words:
            click.echo(line)
    asked = any(each.wanted is not Action.KEEP and not each.held_back for each in plan)
    if exit_code and asked:
        return Exit.WOULD_ACT
    return found.exit_code


def _body(
    found: Survey, plan: Plan, cpu: Mapping[ProcessKey, float], intent: Intent
) -> dict[str, Any]:
    ticks = found.snapshot.ticks_per_second
    trees = [
        js.tree_facts(each, ticks)
        | {"cpu_percent": round(cpu[each.tree.key], 1)}
        | js.decision_facts(each)
        for each in plan
    ]
    return {
        **js.seen(found),
        "policy": js.policy_facts(found.loaded),
        "trees": trees,
        "users": js.user_totals(plan, cpu),
        "plan": js.intent_facts(intent),
    }
