"""`vscadmin notices`: who was told of what, whether it arrived, and which end was promised."""

from __future__ import annotations

import click

from vscadmin.cleanup.records import Notice
from vscadmin.cli import as_json as js
from vscadmin.cli import options, past
from vscadmin.cli.survey import load_policy


@click.command("notices")
@options.stored_policy
@options.past_user
@options.since
@options.as_json
@options.wide
def command(
    policy_path: str | None, user: str | None, since: int | None, as_json: bool, wide: bool
) -> int:
    """Show the notices to owners: whether they arrived, and the end they announced.

    One line a server that a notice named, the newest last. Root, or whoever may read the store.
    """
    path = load_policy(policy_path).policy.store.path
    found: tuple[Notice, ...] = ()
    with past.stored(path) as store:
        known = store is not None
        if store is not None:
            found = store.notices(user, past.since_of(since))[::-1]
    if as_json:
        rows = [past.notice_facts(each) for each in found]
        js.emit("notices", {"store": path if known else None, "notices": rows})
    elif not known:
        past.nothing_stored(path)
    elif not found:
        click.echo("No notice stored of that.")
    else:
        from vscadmin.cli.render_past import show_notices  # noqa: PLC0415 - rich is for people

        show_notices(found, wide=wide)
    return 0
