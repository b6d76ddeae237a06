"""Scans as they were: written once, and read again to judge them by another policy."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

from vscadmin.cleanup.facts import Seen, from_facts
from vscadmin.cleanup.store_memory import seal_of_scan
from vscadmin.cleanup.store_sql import Database, Row, select
from vscadmin.model import Owner, Tree
from vscadmin.policy.ladder import Rung
from vscadmin.policy.settings import Action, State

_JSON = json.JSONEncoder(separators=(",", ":"), sort_keys=True)
_KEPT = 2048  # facts that stay decoded while scans are read


@dataclass(frozen=True, slots=True)
class Sighting:
    """A tree in one scan: as it was, and what was decided.

    Its CPU time and memory are summed at the root of *tree*.
    """

    tree: Tree
    owner: Owner
    state: State
    clients: bool
    wanted: Action
    action: Action
    rule: str | None
    rung: Rung
    held_back: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoredScan:
    """A scan with all it saw. *logins* are those of the trees' owners; *processes* is a number."""

    run_id: str
    boot_id: str
    taken_at: float
    ticks: int
    processes: int
    logins: Mapping[int, str]
    sightings: tuple[Sighting, ...]


class Packed(NamedTuple):
    """Something as JSON, compressed, with what it is recognised by."""

    digest: bytes
    text: bytes

    @property
    def body(self) -> bytes:
        """The compressed text."""
        return zlib.compress(self.text)


def pack(something: Any) -> Packed:
    """Return JSON that is the same for what is equal."""
    text = _JSON.encode(something).encode()
    return Packed(blake2b(text, digest_size=16).digest(), text)


def unpack(body: bytes) -> Any:
    """Return what was packed; raises ValueError or zlib.error for what never was."""
    return json.loads(zlib.decompress(body))


def scans(database: Database, since: float, until: float) -> Iterator[StoredScan]:
    """Yield the scans between two moments, one read at a time, the oldest first.

    Each is read in a moment of its own, so a writer never waits long for a slow reader.
    """
    sql = "SELECT scan FROM scans WHERE taken_at >= ? AND taken_at < ? ORDER BY scan"

    @lru_cache(maxsize=_KEPT)
    def facts(number: int) -> Mapping[str, Any]:
        (found,) = database.rows("SELECT digest, body FROM facts WHERE facts = ?", number)
        (unpacked,) = database.decoded(_facts, [found])
        return unpacked

    for (scan,) in database.rows(sql, since, until):
        with database.transaction():
            found = _scan(database, scan, facts)
        if found is not None:
            yield found


def _facts(row: Row) -> Mapping[str, Any]:
    digest, body = row
    found = unpack(body)
    if pack(found).digest != digest or not isinstance(found, dict):
        raise ValueError("facts are not what was written")
    return found


def _logins(row: Row) -> dict[int, str]:
    return {int(uid): words for uid, words in unpack(row[0]).items()}


def _scan(
    database: Database, scan: int, facts: Callable[[int], Mapping[str, Any]]
) -> StoredScan | None:
    """Return a scan; None if it was pruned since it was listed."""
    head = "run_id, processes, logins, scan, taken_at, boot_id, boot_time, ticks, seal"
    found = database.rows(select(head, "scans", "WHERE scan = ?"), scan)
    if not found:
        return None
    run_id, processes, logins, *sealed_head, sealed = found[0]
    _, taken_at, boot_id, boot_time, ticks = sealed_head
    rows = database.rows(
        "SELECT tree, cpu_ticks, facts, rss, state, clients, wanted, action, rule, rung, held_back"
        " FROM sightings LEFT JOIN judgements USING (judgement) WHERE scan = ? ORDER BY tree",
        scan,
    )
    if sealed != seal_of_scan(tuple(sealed_head), {row[0]: row[1] for row in rows}):
        raise database.damaged()

    def sighting(row: Row) -> Sighting:
        return _sighting(row[1:], facts(row[2]), boot_time, ticks)

    (of_whom,) = database.decoded(_logins, [(logins,)])
    return StoredScan(
        run_id=run_id,
        boot_id=boot_id,
        taken_at=taken_at,
        ticks=ticks,
        processes=processes,
        logins=of_whom,
        sightings=tuple(database.decoded(sighting, rows)),
    )


def _sighting(row: Row, facts: Mapping[str, Any], boot_time: float, ticks: int) -> Sighting:
    cpu_ticks, _, rss, state, clients, wanted, action, rule, rung, held_back = row
    started_at = boot_time + facts["members"][0][1] / ticks
    tree, owner = from_facts(facts, Seen(rss, cpu_ticks / ticks, started_at), ticks)
    return Sighting(
        tree=tree,
        owner=owner,
        state=State(state),
        clients=bool(clients),
        wanted=Action(wanted),
        action=Action(action),
        rule=rule,
        rung=Rung(rung),
        held_back=tuple(json.loads(held_back)),
    )
