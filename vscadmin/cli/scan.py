"""`vscadmin scan`: the server trees of this machine, and whether anybody uses them."""

from __future__ import annotations

import click

from vscadmin.cli import as_json as js
from vscadmin.cli import options
from vscadmin.cli.survey import select, survey, warn


@click.command("scan")
@options.inputs
@options.user
@options.product
@options.as_json
@options.wide
def command(
    policy_path: str | None,
    catalogue_dir: str | None,
    user: str | None,
    product: str | None,
    as_json: bool,
    wide: bool,
) -> int:
    """List every remote-editor server tree, process by process.

    Says whose it is and whether anybody uses it; judges nothing and changes nothing.
    """
    found = survey(policy_path, catalogue_dir)
    plan = select(found, user, product)
    warn(found)
    if as_json:
        ticks = found.snapshot.ticks_per_second
        trees = [js.tree_facts(decision, ticks) for decision in plan]
        js.emit("scan", {**js.seen(found), "trees": trees})
    else:
        from vscadmin.cli.render import show_trees  # noqa: PLC0415 - rich is for people only

        show_trees(found, plan, wide=wide)
    return found.exit_code
