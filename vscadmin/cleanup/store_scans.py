"""Recording a scan, and forgetting old ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from vscadmin.cleanup.facts import to_facts
from vscadmin.cleanup.records import Delivery, Identity, Result, Run
from vscadmin.cleanup.store_memory import seal_of_scan
from vscadmin.cleanup.store_replay import Packed, pack
from vscadmin.cleanup.store_rows import (
    COMPLETED,
    MEMORY,
    NOTICE,
    RUN,
    of_memory,
    of_notice,
    of_run,
    to_members,
    to_memory,
    to_notice,
)
from vscadmin.cleanup.store_sql import Database, Row, insert, select, update
from vscadmin.model import Snapshot
from vscadmin.policy.decide import Decision, Plan

_TREE = f"{MEMORY}, facts, uid, user, product"
_SCAN = "scan, taken_at, boot_id, boot_time, ticks, run_id, processes, logins, seal"
_SIGHTING = "scan, tree, facts, judgement, rss, cpu_ticks"
_JUDGEMENT = "digest, last_scan, state, clients, wanted, action, rule, rung, held_back"
SAME_NOTICE = "boot_id = ? AND pid = ? AND start_ticks = ? AND created_at = ?"
_SET_BACK = "the clock was set back after it, so it counts as none"
_WORDS = 20  # lines of what held a tree back that are kept
_BATCH = 50  # scans that one call forgets: a long backlog is worked off over some runs
_SPARE = 4  # a file with more than one page in so many unused gives some back
_GIVEN_BACK = 256  # pages, at most, at a time


class _Known(NamedTuple):
    """What the store has of a tree before this scan; facts and digest are its last."""

    tree: int
    last_scan: int
    facts: int
    digest: bytes


def record(
    database: Database,
    run_id: str,
    snapshot: Snapshot,
    plan: Plan,
    logins: Mapping[int, str],
) -> None:
    """Write a scan, what is remembered of its trees, and what was decided. One transaction."""
    uids = {each.tree.root.uid for each in plan}
    of_owners = pack({uid: words for uid, words in logins.items() if uid in uids})
    with database.transaction():
        scan = (database.value("SELECT max(scan) FROM scans") or 0) + 1
        sightings = _sightings(database, scan, snapshot.boot_id, plan)
        database.run_many(insert("sightings", _SIGHTING), sightings)
        head = (
            scan,
            snapshot.taken_at,
            snapshot.boot_id,
            snapshot.boot_time,
            snapshot.ticks_per_second,
        )
        sealed = seal_of_scan(head, {row[1]: row[5] for row in sightings})
        what = (run_id, len(snapshot.processes), of_owners.body, sealed)
        database.run(insert("scans", _SCAN), *head, *what)
        _doubt_notices(database, snapshot.taken_at)


def _doubt_notices(database: Database, now: float) -> None:
    """Count the notices from after *now* for none: the clock was set back since they were sent.

    A run of scans that begins before their moment comes would take them for its own.
    """
    where = "WHERE created_at > ? AND delivery = ?"
    wrong = database.read(to_notice, select(NOTICE, "notices", where), now, str(Delivery.DELIVERED))
    for each in wrong:
        uncertain = replace(each, delivery=Delivery.SENDING, delivered_at=None, error=_SET_BACK)
        sql = update("notices", NOTICE, SAME_NOTICE)
        database.run(sql, *of_notice(uncertain), *each.identity, each.created_at)


def _sightings(database: Database, scan: int, boot_id: str, plan: Plan) -> list[Row]:
    judgements: dict[bytes, int] = {}
    rows = []
    for decision in plan:
        used = decision.tree
        tree, facts = _remember(database, boot_id, scan, decision)
        judgement = _judgement(database, scan, decision, judgements)
        rows.append((scan, tree, facts, judgement, used.rss, used.cpu_ticks))
    return rows


def _remember(database: Database, boot_id: str, scan: int, decision: Decision) -> tuple[int, int]:
    """Write what the next scan has to know of a tree; return its number and that of its facts."""
    tree, owner = decision.tree, decision.owner
    identity = Identity(boot_id, *tree.key)
    members = tuple(each.key for each in tree.members)
    memory = of_memory(identity, decision.memory, members, scan)
    known = _known(database, identity)
    number = known.tree if known else _new_tree(database, identity)
    facts = _facts(database, number, pack(to_facts(tree, owner)), known)
    row = (*memory, facts, owner.uid, owner.name, tree.product)
    database.run(update("trees", _TREE, "tree = ?"), *row, number)
    return number, facts


def restart_ladder(database: Database, identity: Identity, client_at: float | None) -> None:
    """Forget the run of scans that agreed, so that no notice from before counts any more."""
    where = "boot_id = ? AND pid = ? AND start_ticks = ?"
    rows = database.rows(select(MEMORY, "trees", f"WHERE {where}"), *identity)
    for (_, history), (_, members), row in zip(
        database.decoded(to_memory, rows), database.decoded(to_members, rows), rows, strict=True
    ):
        known = replace(history, clear_since=None, clear_scans=0)
        if client_at is not None:
            known = replace(known, last_client=client_at)
        last_scan = row[MEMORY.split(", ").index("last_scan")]
        database.run(
            update("trees", MEMORY, where),
            *of_memory(identity, known, members, last_scan),
            *identity,
        )


def _known(database: Database, identity: Identity) -> _Known | None:
    rows = database.rows(
        "SELECT tree, last_scan, facts, (SELECT digest FROM facts WHERE facts.facts = trees.facts)"
        " FROM trees WHERE boot_id = ? AND pid = ? AND start_ticks = ?",
        *identity,
    )
    return _Known(*rows[0]) if rows else None


def _new_tree(database: Database, identity: Identity) -> int:
    sql = "INSERT INTO trees (boot_id, pid, start_ticks) VALUES (?, ?, ?)"
    return int(database.run(sql, *identity).lastrowid or 0)


def _facts(database: Database, tree: int, packed: Packed, known: _Known | None) -> int:
    """Return the number of a tree's facts; those that it had are its facts of now no more."""
    if known and known.digest == packed.digest:
        return known.facts
    if known:
        sql = "UPDATE facts SET last_scan = ? WHERE facts = ?"
        database.run(sql, known.last_scan, known.facts)
    sql = "SELECT facts FROM facts WHERE tree = ? AND digest = ?"
    again = database.value(sql, tree, packed.digest)
    if again is not None:
        database.run("UPDATE facts SET last_scan = NULL WHERE facts = ?", again)
        return int(again)
    sql = "INSERT INTO facts (tree, digest, body) VALUES (?, ?, ?)"
    return int(database.run(sql, tree, packed.digest, packed.body).lastrowid or 0)


def _judgement(
    database: Database, scan: int, decision: Decision, judgements: dict[bytes, int]
) -> int:
    """Return the number of what was decided: a few judgements come again and again."""
    row: Row = (
        str(decision.verdict.state),
        bool(decision.tree.connections.clients),
        str(decision.wanted),
        str(decision.action),
        decision.rule,
        str(decision.standing.rung),
        json.dumps(decision.held_back[:_WORDS]),
    )
    digest = pack(row).digest
    if digest in judgements:
        return judgements[digest]
    number = database.value("SELECT judgement FROM judgements WHERE digest = ?", digest)
    if number is None:
        sql = insert("judgements", _JUDGEMENT)
        number = database.run(sql, digest, scan, *row).lastrowid
    else:
        database.run("UPDATE judgements SET last_scan = ? WHERE judgement = ?", scan, number)
    judgements[digest] = int(number or 0)
    return judgements[digest]


def write_run(database: Database, run: Run) -> None:
    """Write a run, over what was known of it."""
    database.run("DELETE FROM runs WHERE run_id = ?", run.run_id)
    database.run(insert("runs", RUN), *of_run(run))


def prune(database: Database, before: float) -> None:
    """Forget what is older than *before*, but nothing that a ladder still stands on.

    The trees of the last scan stay with their notices, however long ago those were; so do
    the last run and what was interrupted. Approvals stay: each is good for once.
    """
    with database.transaction():
        _forget_scans(database, before)
        database.run(
            "DELETE FROM notices WHERE created_at < ? AND NOT EXISTS (SELECT 1 FROM trees WHERE"
            " trees.boot_id = notices.boot_id AND trees.pid = notices.pid"
            " AND trees.start_ticks = notices.start_ticks)",
            before,
        )
        sql = "DELETE FROM terminations WHERE started_at < ? AND result != ?"
        database.run(sql, before, str(Result.STARTED))
        database.run(
            "DELETE FROM runs WHERE started_at < ? AND started_at < (SELECT max(started_at)"
            " FROM runs WHERE outcome IN (?, ?, ?))",
            before,
            *map(str, COMPLETED),
        )
    _shrink(database)


def _forget_scans(database: Database, before: float) -> None:
    """Forget some old scans, and what only they used; never the last scan."""
    rows = database.rows(
        "SELECT scan FROM scans WHERE taken_at < ? AND scan < (SELECT max(scan) FROM scans)"
        " ORDER BY scan LIMIT ?",
        before,
        _BATCH,
    )
    if not rows:
        return
    database.run_many("DELETE FROM sightings WHERE scan = ?", rows)
    database.run_many("DELETE FROM scans WHERE scan = ?", rows)
    first = database.value("SELECT min(scan) FROM scans")
    gone = database.rows("SELECT tree FROM trees WHERE last_scan < ?", first)
    database.run_many("DELETE FROM facts WHERE tree = ?", gone)
    database.run_many("DELETE FROM trees WHERE tree = ?", gone)
    for table in ("facts", "judgements"):
        database.run(f"DELETE FROM {table} WHERE last_scan < ?", first)  # noqa: S608


def _shrink(database: Database) -> None:
    """Give unused pages back, a few at a time; a steady history uses its own again."""
    unused = database.value("PRAGMA freelist_count")
    if unused * _SPARE > database.value("PRAGMA page_count"):
        database.give_back(_GIVEN_BACK)
