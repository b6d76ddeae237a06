"""What the next judgement has to know, out of the store: members, memories, notices, CPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from vscadmin.cleanup.records import Delivery, Identity, Notice
from vscadmin.cleanup.store_rows import MEMORY, NOTICE, to_members, to_memory, to_notice
from vscadmin.cleanup.store_sql import Database, Row, seal, select
from vscadmin.model import ProcessKey
from vscadmin.policy.settings import Action
from vscadmin.policy.states import CpuSample, History, Told

_LOOK_BACK = 144  # scans, a day of them, in which a tree or its CPU sample is looked for

Members = tuple[ProcessKey, tuple[ProcessKey, ...]]


def last_seen(database: Database) -> tuple[str, list[Members]]:
    """Return the boot of the last scan, and its trees with their members."""
    last = database.rows("SELECT scan, boot_id FROM scans ORDER BY scan DESC LIMIT 1")
    if not last:
        return "", []
    scan, boot_id = last[0]
    return boot_id, database.read(to_members, select(MEMORY, "trees", "WHERE last_scan = ?"), scan)


def recorded(database: Database, boot_id: str) -> dict[ProcessKey, ProcessKey]:
    """Map the members of the trees of the last scan to their root; another boot's are nobody."""
    boot, trees = last_seen(database)
    if boot != boot_id:
        return {}
    return {member: root for root, members in trees for member in members}


def histories(
    database: Database,
    boot_id: str,
    keys: Iterable[ProcessKey] | None,
    cpu_spans: frozenset[int],
    now: float,
) -> dict[ProcessKey, History]:
    """Return what is known of the trees of this boot that *keys* name, None: seen lately.

    Lately is a day of scans: a year of uptime has known ten thousand trees that are gone.
    """
    columns = f"tree, {MEMORY}"
    if keys is None:
        first = (database.value("SELECT max(scan) FROM scans") or 0) - _LOOK_BACK
        lately = select(columns, "trees", "WHERE last_scan > ? AND +boot_id = ?")
        rows = database.rows(lately, first, boot_id)
    else:
        one = select(columns, "trees", "WHERE boot_id = ? AND pid = ? AND start_ticks = ?")
        rows = [row for key in keys for row in database.rows(one, boot_id, *key)]
    known = dict(zip((row[0] for row in rows), database.decoded(_memory, rows), strict=True))
    told = {
        tree: _with_notices(database, identity, history, now)
        for tree, (identity, history) in known.items()
    }
    samples = _samples(database, boot_id, told, cpu_spans, now)
    return {
        identity.key: replace(told[tree], cpu=samples.get(tree, ()))
        for tree, (identity, _) in known.items()
    }


def _memory(row: Row) -> tuple[Identity, History]:
    return to_memory(row[1:])


def _with_notices(database: Database, identity: Identity, history: History, now: float) -> History:
    """Add the delivered notices of the run of scans that counts; without one, none counts.

    One from after *now* may be from before that run: the clock was set back since.
    """
    if history.clear_since is None:
        return history
    sql = (
        "WHERE boot_id = ? AND pid = ? AND start_ticks = ?"
        " AND created_at BETWEEN ? AND ? AND delivery = ? ORDER BY created_at DESC"
    )
    delivered = str(Delivery.DELIVERED)
    values = (*identity, history.clear_since, now, delivered)
    notices = database.read(to_notice, select(NOTICE, "notices", sql), *values)
    told = next(filter(None, map(_told, notices)), None)
    return replace(
        history,
        told=told,
        notified=frozenset(each.rule for each in notices),
        notified_at=max((each.delivered_at or each.created_at for each in notices), default=None),
    )


def _told(notice: Notice) -> Told | None:
    if notice.action is not Action.TERMINATE or notice.not_before is None:
        return None
    if notice.delivered_at is None:
        return None
    return Told(notice.delivered_at, notice.not_before)


def _samples(
    database: Database,
    boot_id: str,
    trees: Mapping[int, History],
    spans: frozenset[int],
    now: float,
) -> dict[int, tuple[CpuSample, ...]]:
    """Return, for every span, each tree's newest sample at or before its beginning."""
    found: dict[int, list[CpuSample]] = {tree: [] for tree in trees}
    for span in sorted(spans):
        before = now - span
        missing = {tree for tree, history in trees.items() if (history.first_seen or now) <= before}
        for tree, sample in _newest(database, boot_id, missing, before):
            if sample not in found[tree]:
                found[tree].append(sample)
    return {tree: tuple(samples) for tree, samples in found.items()}


def _newest(
    database: Database, boot_id: str, missing: set[int], before: float
) -> Iterable[tuple[int, CpuSample]]:
    """Yield the newest sample of each of *missing*; nearly always one scan has them all.

    The key of the sightings begins with the scan, so a tree's own cannot be looked up; a
    tree that no scan of a whole day has seen has no sample, and a rule over CPU does not hold.
    """
    if not missing:
        return
    sql = (
        "SELECT scan, taken_at, boot_id, boot_time, ticks, seal FROM scans"
        " WHERE boot_id = ? AND taken_at <= ? ORDER BY taken_at DESC, scan DESC LIMIT ?"
    )
    for scan, *rest in database.rows(sql, boot_id, before, _LOOK_BACK):
        taken_at, _, _, ticks, sealed = rest
        cpu = cpu_of(database, scan)
        if sealed != seal_of_scan((scan, *rest[:-1]), cpu):
            raise database.damaged()
        for tree in sorted(missing & cpu.keys()):
            yield tree, CpuSample(taken_at, cpu[tree] / ticks)
        missing -= cpu.keys()
        if not missing:
            return


def cpu_of(database: Database, scan: int) -> dict[int, int]:
    """Return the CPU time, in ticks, of every tree that a scan saw."""
    return dict(database.rows("SELECT tree, cpu_ticks FROM sightings WHERE scan = ?", scan))


def seal_of_scan(row: Row, cpu: Mapping[int, int]) -> int:
    """Return the checksum of a scan (its number, moment, boot and ticks) and its CPU times."""
    numbers = [number for pair in sorted(cpu.items()) for number in pair]
    return seal((*row, *numbers))
