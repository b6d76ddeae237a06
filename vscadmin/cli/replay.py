"""`vscadmin replay`: rehearse a policy on the stored scans; nothing is done."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from vscadmin.cleanup.look import wants_groups
from vscadmin.cli import as_json as js
from vscadmin.cli import options, past
from vscadmin.cli.survey import Loaded, load_families, load_policy
from vscadmin.escape import printable
from vscadmin.policy.settings import Mode
from vscadmin.units import DAY

if TYPE_CHECKING:
    from vscadmin.cleanup.records import Termination
    from vscadmin.cleanup.replay import Ended, Rehearsal, Scanned
    from vscadmin.cleanup.store_read import Reader
    from vscadmin.cleanup.store_replay import StoredScan


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What a rehearsal showed, and what was really done in the same time.

    *without_groups* counts the sightings of servers whose owner's groups no scan looked
    up, where the policy asks for them: it could not judge those.
    """

    loaded: Loaded
    scans: int = 0
    first: float | None = None
    last: float | None = None
    messages: int = 0
    refused: int = 0
    ended: tuple[Ended, ...] = ()
    really: tuple[Termination, ...] = ()
    really_regretted: tuple[Termination, ...] = ()
    without_groups: int = 0

    @property
    def users(self) -> int:
        """How many owners' trees would have been ended."""
        return len({each.user for each in self.ended})

    @property
    def rss(self) -> int:
        """Memory that the ends would have given back, bytes."""
        return sum(each.rss for each in self.ended)

    @property
    def regretted(self) -> int:
        """How many of those that would have been ended had a client later."""
        return sum(each.client_at is not None for each in self.ended)

    @property
    def unknowable(self) -> int:
        """How many of them cleanup ended in truth: nobody could have a client there later."""
        really = {each.identity for each in self.really}
        return sum(each.identity in really for each in self.ended)


@click.command("replay")
@click.argument("policy_path", metavar="POLICY")
@click.option(
    "--last", type=options.Duration(), default=14 * DAY, metavar="TIME", help="Default 14d."
)
@click.option(
    "--mode", type=click.Choice([str(each) for each in Mode]), help="Instead of the policy's."
)
@options.catalogue
@options.as_json
@options.wide
def command(
    policy_path: str, last: int, mode: str | None, catalogue_dir: str | None, as_json: bool,
    wide: bool,
) -> int:  # fmt: skip
    """Rehearse a policy on the stored scans of the last days: what it would have ended.

    And regret: of what it would have ended, how much had a client later. Nothing is done,
    and nobody is told. Root, or whoever may read the store that POLICY names.
    """
    loaded = load_policy(policy_path)
    load_families(loaded, catalogue_dir)
    if mode is not None:
        loaded = replace(loaded, policy=replace(loaded.policy, mode=Mode(mode)))
    path = loaded.policy.store.path
    with past.stored(path) as store:
        known = store is not None
        found = Rehearsed(loaded) if store is None else _rehearse(loaded, store, last)
    if as_json:
        js.emit("replay", {"store": path if known else None, **_facts(found)})
    elif not known:
        past.nothing_stored(path)
    elif not found.scans:
        click.echo("No scan is stored of that time.")
    else:
        from vscadmin.cli.render_past import show_rehearsal  # noqa: PLC0415 - rich is for people

        show_rehearsal(found, wide=wide)
    return 0


def _rehearse(loaded: Loaded, store: Reader, last: int) -> Rehearsed:
    from vscadmin.cleanup.regret import regretted  # noqa: PLC0415 - where there is a store
    from vscadmin.cleanup.replay import Rehearsal  # noqa: PLC0415

    now = time.time()
    begin, rehearsal = now - last, Rehearsal(loaded.policy)
    moments, without_groups = _take(rehearsal, store.scans(begin, now))
    really = store.terminations(since=begin)
    return Rehearsed(
        loaded=loaded,
        scans=len(moments),
        first=moments[0] if moments else None,
        last=moments[-1] if moments else None,
        messages=rehearsal.messages,
        refused=rehearsal.refused,
        ended=tuple(rehearsal.ended.values()),
        really=tuple(each for each in really if each.result in ("ended", "survivors")),
        really_regretted=regretted(store, really),
        without_groups=without_groups,
    )


def _take(rehearsal: Rehearsal, scans: Iterable[StoredScan]) -> tuple[list[float], int]:
    """Let the rehearsal see every scan; return when they were, and what they lack of groups."""
    moments, without_groups = [], 0
    for each in scans:
        rehearsal.scan(scanned(each))
        moments.append(each.taken_at)
        # Whoever was looked up has one group at least; a scan of another policy looked up none.
        without_groups += sum(not sighting.owner.groups for sighting in each.sightings)
    return moments, without_groups if wants_groups(rehearsal.policy) else 0


def scanned(scan: StoredScan) -> Scanned:
    """Return a stored scan as a rehearsal takes it."""
    from vscadmin.cleanup.replay import Scanned  # noqa: PLC0415 - as above

    return Scanned(
        taken_at=scan.taken_at,
        boot_id=scan.boot_id,
        trees=tuple(each.tree for each in scan.sightings),
        owners={each.owner.uid: each.owner for each in scan.sightings},
        logins=scan.logins,
        ticks=scan.ticks,
    )


def _facts(found: Rehearsed) -> dict[str, Any]:
    return {
        "policy": js.policy_facts(found.loaded),
        "first_scan": js.moment(found.first),
        "last_scan": js.moment(found.last),
        "scans": found.scans,
        "messages": found.messages,
        "plans_refused": found.refused,
        "servers": len(found.ended),
        "users": found.users,
        "rss_bytes": found.rss,
        "regretted": found.regretted,
        "regret_unknown": found.unknowable,
        "sightings_without_groups": found.without_groups,
        "ended": [_ended_facts(each) for each in found.ended],
        "really_ended": len(found.really),
        "really_regretted": [past.termination_facts(each) for each in found.really_regretted],
    }


def _ended_facts(ended: Ended) -> dict[str, Any]:
    return past.tree_facts(ended.identity) | {
        "user": printable(ended.user),
        "product": ended.product,
        "rule": ended.rule,
        "at": js.moment(ended.at),
        "rss_bytes": ended.rss,
        "client_at": js.moment(ended.client_at),
    }
