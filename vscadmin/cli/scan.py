"""`vscadmin scan`: the server trees of this machine, and whether anybody uses them."""

from __future__ import annotations

import click

from vscadmin.cli import as_json as js
from vscadmin.cli import options
from vscadmin.cli.survey import Survey, select, survey, warn
from vscadmin.policy.states import NOTHING_KNOWN, Judged, judge


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
    judged = select(found, _judged(found), user, product)
    warn(found)
    if as_json:
        ticks = found.snapshot.ticks_per_second
        trees = [js.tree_facts(each, ticks) for each in judged]
        js.emit("scan", {**js.seen(found), "trees": trees})
    else:
        from vscadmin.cli.render import show_trees  # noqa: PLC0415 - rich is for people only

        show_trees(found, judged, wide=wide)
    return found.exit_code


def _judged(found: Survey) -> list[Judged]:
    policy, now = found.loaded.policy, found.snapshot.taken_at
    judged = []
    for tree in found.forest.trees:
        owner = found.owners[tree.root.uid]
        history = found.memory.histories.get(tree.key, NOTHING_KNOWN)
        judged.append(Judged(tree, owner, judge(tree, owner, history, policy, now)))
    return judged
