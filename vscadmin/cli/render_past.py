"""Tables for people: notices, a rehearsal, and one's own servers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vscadmin.cleanup.records import Delivery, Notice
from vscadmin.cli.render import console
from vscadmin.escape import printable
from vscadmin.model import Tree
from vscadmin.policy.settings import Mode
from vscadmin.policy.states import Judged
from vscadmin.units import counted, format_duration, format_moment, format_size

if TYPE_CHECKING:
    from vscadmin.cli.replay import Rehearsed

_NEVER = "-"


def _table(*columns: str, right: str = "") -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for name in columns:
        is_number = name in right.split()
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    return table


def _at(at: float | None) -> str:
    return _NEVER if at is None else format_moment(at)


def show_notices(notices: Sequence[Notice], *, wide: bool) -> None:
    """Print a line for each server that a notice named."""
    table = _table(
        "SENT", "USER", "PID", "PRODUCT", "RULE", "DELIVERY", "END FROM", "TO", right="PID"
    )
    for each in notices:
        arrived = str(each.delivery)
        if each.delivery is Delivery.SENDING:
            arrived = "sending: cut short, or going on"
        if each.error:
            arrived += f": {printable(each.error, 200)}"
        table.add_row(
            format_moment(each.created_at),
            Text(printable(each.user)),
            str(each.identity.pid),
            Text(printable(each.product)),
            Text(printable(each.rule)),
            Text(arrived),
            _at(each.not_before),
            Text(printable(each.address)),
        )
    console(wide=wide).print(table)


def show_rehearsal(found: Rehearsed, *, wide: bool) -> None:
    """Print what a policy would have ended, and what would have been regretted."""
    out, loaded = console(wide=wide), found.loaded
    head = f"policy {loaded.source} ({loaded.digest[:12]}), mode {loaded.policy.mode}"
    out.print(
        Text(f"{head}\n{counted(found.scans, 'scan')}, {_at(found.first)} to {_at(found.last)}.")
    )
    if found.ended:
        out.print(Padding(_would_end(found), (1, 0)))
    for line in _rehearsal_words(found):
        out.print(Text(line))


def _would_end(found: Rehearsed) -> Table:
    table = _table(
        "ENDED", "USER", "PID", "PRODUCT", "RULE", "MEM", "CLIENT LATER", right="PID MEM"
    )
    for each in found.ended:
        table.add_row(
            format_moment(each.at),
            Text(printable(each.user)),
            str(each.identity.pid),
            Text(printable(each.product)),
            Text(printable(each.rule)),
            format_size(each.rss),
            _at(each.client_at),
        )
    return table


def _rehearsal_words(found: Rehearsed) -> list[str]:
    would = f"{counted(len(found.ended), 'server')} of {counted(found.users, 'user')}"
    again = len(found.really_regretted)
    lines = [
        f"Would have ended {would}, {format_size(found.rss)} in all.",
        f"Messages to owners: {found.messages}; plans refused by the breaker: {found.refused}.",
        f"Regret: {found.regretted} of these {len(found.ended)} had a client later.",
        f"Really ended: {len(found.really)}; opened again within an hour: {again}.",
    ]
    if found.unknowable:
        lines[2] += f" {found.unknowable} of them cleanup really ended: no client could come."
    if found.without_groups:
        lines.append(
            f"Warning: {counted(found.without_groups, 'sighting')} of servers without the groups "
            "of their owner: protect.groups and rules about groups could not be judged there."
        )
    if found.loaded.policy.mode is not Mode.ENFORCE:
        lines.append(
            f"In mode {found.loaded.policy.mode} nothing is ended; as if it were: --mode enforce"
        )
    return lines


def show_mine(judged: Sequence[Judged], now: float, editors_own: int | None, *, wide: bool) -> None:
    """Print one's own servers; *editors_own* is the one in whose terminal this runs."""
    out = console(wide=wide)
    if judged:
        out.print(_own_table(judged, now))
        if os.geteuid() != 0:
            out.print(Text("To end one: vscadmin mine --stop PID"))
    else:
        out.print(Text(f"You have no remote-editor server on {os.uname().nodename}."))
    if editors_own is not None:
        out.print(
            Text(
                f"Left out: the server in whose terminal this runs (pid {editors_own}). "
                "It can be ended from another login."
            )
        )


def _own_table(judged: Sequence[Judged], now: float) -> Table:
    table = _table(
        "PID", "PRODUCT", "STARTED", "AGE", "IN USE", "PROC", "MEM", right="PID AGE PROC MEM"
    )
    for each in judged:
        tree = each.tree
        table.add_row(
            str(tree.root.pid),
            Text(printable(tree.title)),
            format_moment(tree.started_at),
            format_duration(now - tree.started_at),
            _in_use(tree),
            str(len(tree.members)),
            format_size(tree.rss),
        )
    return table


def _in_use(tree: Tree) -> str:
    if tree.connections.clients:
        return "yes"
    return "?" if tree.unreadable or tree.connections.unreadable else "no"
