"""The store for whoever only asks: report, explain, history, replay, doctor."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from math import inf
from typing import NamedTuple, Self

from vscadmin.cleanup import store_file, store_memory, store_replay
from vscadmin.cleanup.records import (
    Delivery,
    Identity,
    Notice,
    Outcome,
    Result,
    Run,
    Termination,
)
from vscadmin.cleanup.schema import (
    APPLICATION_ID,
    VERSION,
    application_of,
    expected,
    tables,
    version_of,
)
from vscadmin.cleanup.store_replay import StoredScan
from vscadmin.cleanup.store_rows import (
    COMPLETED,
    NOTICE,
    RUN,
    TERMINATION,
    to_notice,
    to_run,
    to_termination,
)
from vscadmin.cleanup.store_sql import DamagedError, Database, select
from vscadmin.errors import StoreError, StoreFailedError
from vscadmin.model import ProcessKey
from vscadmin.policy.states import History

_ALL = -1  # what LIMIT takes for "no limit"


class Opened(NamedTuple):
    """A tree that scans have seen: whose, which product, when it started and was seen first."""

    identity: Identity
    user: str
    product: str
    started_at: float
    first_seen: float


class Reader:
    """The questions. Opening it creates, repairs and migrates nothing; it never writes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, path: str) -> Self | None:
        """Open the store at *path*; None where there is none, or none that we may read.

        Raises StoreError where it is damaged, of another version or open to others.
        """
        if not os.access(path, os.R_OK):
            return None
        store_file.check(path)
        if store_file.is_suspect(path) or store_file.is_empty(path):
            raise StoreFailedError(f"{path}: it is damaged: the next run of cleanup sets it aside")
        database = Database(path, readonly=True)
        try:
            version = inspect(database)
            if version < VERSION:
                words = f"the next run of cleanup brings it from version {version} to {VERSION}"
                raise StoreFailedError(f"{path}: {words}")
        except BaseException:
            database.close()
            raise
        return cls(database)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def recorded(self, boot_id: str) -> dict[ProcessKey, ProcessKey]:
        """Map the members of the trees of the last scan of this boot to their tree's root."""
        return store_memory.recorded(self._database, boot_id)

    def histories(
        self,
        boot_id: str,
        keys: Iterable[ProcessKey] | None = None,
        *,
        cpu_spans: Collection[int] = (),
        now: float = inf,
    ) -> dict[ProcessKey, History]:
        """Return what is known of the trees that *keys* name, by default of all seen lately.

        For each of *cpu_spans* the CPU sample that a rule over so many seconds compares with.
        No notice from after *now* counts.
        """
        return store_memory.histories(self._database, boot_id, keys, frozenset(cpu_spans), now)

    def is_in_order(self, boot_id: str, taken_at: float) -> bool:
        """Whether a scan of that moment is stored, and none since then is from before it.

        Else the clock was set back: what happened after that moment may have been before it.
        """
        sql = (
            "SELECT NOT EXISTS (SELECT 1 FROM scans AS later"
            " WHERE later.scan > scans.scan AND later.taken_at < scans.taken_at)"
            " FROM scans WHERE boot_id = ? AND taken_at = ? ORDER BY scan LIMIT 1"
        )
        return bool(self._database.value(sql, boot_id, taken_at))

    def scans(self, since: float, until: float) -> Iterator[StoredScan]:
        """Yield the scans between two moments with all they saw, the oldest first."""
        return store_replay.scans(self._database, since, until)

    def runs(self, since: float = 0.0) -> tuple[Run, ...]:
        """Return the runs that began since then, the oldest first."""
        order = "WHERE started_at >= ? ORDER BY started_at, rowid"
        return self._runs(order, since)

    def unfinished_runs(self, ours: str = "") -> tuple[Run, ...]:
        """Return the runs that never said how they ended, all but *ours*."""
        return self._runs("WHERE outcome = ? AND run_id != ?", str(Outcome.RUNNING), ours)

    def last_completed_run(self) -> Run | None:
        """Return the last run that came to its end, whatever that was."""
        order = "WHERE outcome IN (?, ?, ?) ORDER BY started_at DESC, rowid DESC LIMIT 1"
        found = self._runs(order, *map(str, COMPLETED))
        return found[0] if found else None

    def _runs(self, rest: str, *values: str | float) -> tuple[Run, ...]:
        return tuple(self._database.read(to_run, select(RUN, "runs", rest), *values))

    def notices(
        self, user: str | None = None, since: float | None = None, limit: int = _ALL
    ) -> tuple[Notice, ...]:
        """Return the notices of a user or of all, the newest first."""
        sql = "WHERE created_at >= ?"
        values: list[str | float] = [since or 0.0]
        if user is not None:
            sql += " AND user = ?"
            values.append(user)
        sql += " ORDER BY created_at DESC, notice DESC LIMIT ?"
        sql = select(NOTICE, "notices", sql)
        return tuple(self._database.read(to_notice, sql, *values, limit))

    def written_to(self, since: float) -> frozenset[str]:
        """Return the users to whom a message was begun since then, whatever became of it."""
        sql = "SELECT DISTINCT user FROM notices WHERE created_at >= ?"
        return frozenset(str(user) for (user,) in self._database.rows(sql, since))

    def last_message_to(self, user: str) -> float | None:
        """Return when the last message to *user* was begun that arrived, or may have."""
        sql = "SELECT max(created_at) FROM notices WHERE user = ? AND delivery IN (?, ?)"
        may_have = (str(Delivery.SENDING), str(Delivery.DELIVERED))
        found = self._database.value(sql, user, *may_have)
        return None if found is None else float(found)

    def last_failure_to(self, user: str) -> float | None:
        """Return when the newest message to *user* was begun if that failed, else None."""
        sql = (
            "SELECT delivery, created_at FROM notices WHERE user = ?"
            " ORDER BY created_at DESC, notice DESC LIMIT 1"
        )
        found = self._database.rows(sql, user)
        if not found or found[0][0] != Delivery.FAILED:
            return None
        return float(found[0][1])

    def uncertain_notices(self, since: float) -> tuple[Notice, ...]:
        """Return the notices begun since then that may have arrived, the oldest first.

        One without words of error was left behind by a run that died, or is being sent.
        """
        order = "WHERE delivery = ? AND created_at >= ? ORDER BY created_at, notice"
        sql = select(NOTICE, "notices", order)
        return tuple(self._database.read(to_notice, sql, str(Delivery.SENDING), since))

    def notice_counts(self) -> dict[tuple[str, Delivery], int]:
        """Count all notices by rule and what became of them; without reading every one."""
        sql = "SELECT rule, delivery, count(*) FROM notices GROUP BY rule, delivery"
        return {
            (rule, delivery): count
            for rule, delivery, count in self._database.read(
                lambda row: (row[0], Delivery(row[1]), row[2]), sql
            )
        }

    def termination_counts(self) -> dict[tuple[str, Result], int]:
        """Count all terminations by rule and what became of them."""
        sql = "SELECT rule, result, count(*) FROM terminations GROUP BY rule, result"
        return {
            (rule, result): count
            for rule, result, count in self._database.read(
                lambda row: (row[0], Result(row[1]), row[2]), sql
            )
        }

    def survivors(self) -> int:
        """Return how many processes survived, of all terminations."""
        return int(self._database.value("SELECT coalesce(sum(survivors), 0) FROM terminations"))

    def terminations(
        self, user: str | None = None, since: float | None = None
    ) -> tuple[Termination, ...]:
        """Return the terminations of a user's trees or of all, the newest first."""
        sql = "WHERE started_at >= ?"
        values: list[str | float] = [since or 0.0]
        if user is not None:
            sql += " AND user = ?"
            values.append(user)
        return self._terminations(f"{sql} ORDER BY started_at DESC, termination DESC", *values)

    def opened(self, since: float) -> tuple[Opened, ...]:
        """Return the trees of all boots that were seen first since then."""
        sql = (
            "SELECT trees.boot_id, pid, start_ticks, user, product,"
            " boot_time + start_ticks * 1.0 / ticks, first_seen"
            " FROM trees JOIN scans ON scan = last_scan WHERE first_seen >= ?"
        )
        rows = self._database.rows(sql, since)
        return tuple(Opened(Identity(*row[:3]), *row[3:]) for row in rows)

    def interrupted_terminations(self) -> tuple[Termination, ...]:
        """Return those that a run began and never said how they ended."""
        return self._terminations("WHERE result = ?", str(Result.STARTED))

    def _terminations(self, rest: str, *values: str | float) -> tuple[Termination, ...]:
        sql = select(TERMINATION, "terminations", rest)
        return tuple(self._database.read(to_termination, sql, *values))

    def last_successful_run(self) -> Run | None:
        """Return the last run that did all it had to."""
        order = "WHERE outcome = ? ORDER BY started_at DESC, rowid DESC LIMIT 1"
        found = self._runs(order, str(Outcome.DONE))
        return found[0] if found else None

    def boot_time(self, boot_id: str) -> float | None:
        """Return when this boot was by the clock of its last scan, None without one."""
        sql = "SELECT boot_time FROM scans WHERE boot_id = ? ORDER BY scan DESC LIMIT 1"
        found = self._database.value(sql, boot_id)
        return None if found is None else float(found)

    def is_approval_used(self, plan_hash: str) -> bool:
        """Whether an admin's approval of this plan was carried out before."""
        sql = "SELECT 1 FROM approvals WHERE plan_hash = ?"
        return self._database.value(sql, plan_hash) is not None

    def last_admin_mail(self, kind: str) -> float | None:
        """Return when the admins last got a mail of this kind."""
        found = self._database.value("SELECT at FROM admin_mails WHERE kind = ?", kind)
        return None if found is None else float(found)


def inspect(database: Database) -> int:
    """Return the version of the schema.

    Cheap, whatever the size: the header, the tables and the trees of the last scan. A
    check of every page would read a year of history every ten minutes; damage elsewhere
    shows where it is read, as a broken page to SQLite or as a broken seal to us. Raises
    StoreError for a database that is newer or another program's, DamagedError for a damaged one.
    """
    owner, version = _in_header(database)
    if owner != APPLICATION_ID:
        raise StoreError(f"{database.path}: is another program's database, no store of ours")
    if version > VERSION:
        words = f"schema {version}, and this one knows {VERSION}"
        raise StoreError(f"{database.path}: was written by a newer vscadmin ({words})")
    if version == VERSION:
        if _tables(database) != expected():
            raise DamagedError(f"{database.path}: its tables are not those of a store")
        store_memory.last_seen(database)
    return version


def _in_header(database: Database) -> tuple[int, int]:
    """Return whose database it is, and the version of its schema."""
    try:
        with database.failures():
            return application_of(database.connection), version_of(database.connection)
    except sqlite3.Error as error:  # a file format that SQLite does not know, and the like
        raise database.damaged() from error


def _tables(database: Database) -> dict[str, str | None]:
    try:
        with database.failures():
            return tables(database.connection)
    except sqlite3.Error as error:
        raise database.damaged() from error
