"""The store for the one run that holds the lock: what was seen, decided, said and done.

Nothing is done that is not recorded before: whatever of it cannot be written raises, and
the run stops there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Self

from vscadmin.cleanup import store_file, store_scans
from vscadmin.cleanup.records import Delivery, Notice, Outcome, Run, Termination
from vscadmin.cleanup.schema import VERSION, migrate
from vscadmin.cleanup.store_read import Reader, inspect
from vscadmin.cleanup.store_rows import NOTICE, TERMINATION, of_notice, of_termination
from vscadmin.cleanup.store_sql import DamagedError, Database, Row, insert, update
from vscadmin.errors import StoreError
from vscadmin.model import Snapshot
from vscadmin.policy.decide import Plan

_SAME_TERMINATION = "boot_id = ? AND pid = ? AND start_ticks = ? AND started_at = ?"


class Store(Reader):
    """What is asked, and what is recorded; each call is committed when it returns.

    *problems* says, a line each, what was wrong with the store when it was opened: after
    that all ladders begin anew.
    """

    problems: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: str, now: float = 0.0) -> Self:
        """Open the store at *path*, made if need be; a damaged one is set aside as of *now*.

        Raises StoreError where it must not be used, StoreFailedError where it cannot be.
        """
        path = store_file.prepare(path)
        if store_file.create(path):
            return cls(_new(path))
        store_file.check(path)
        try:
            return cls(_existing(path))
        except DamagedError as error:
            aside = store_file.set_aside(path, now)
            store_file.create(path)
            store = cls(_new(path))
            store.problems = (f"{error}: set aside as {aside}; every ladder begins anew",)
            return store

    def begin_run(self, run: Run) -> None:
        """Record that a run has begun."""
        with self._database.transaction():
            store_scans.write_run(self._database, run)

    def finish_run(self, run: Run) -> None:
        """Record how a run ended."""
        self.begin_run(run)

    def fail_unfinished_runs(self, ours: str, now: float) -> tuple[Run, ...]:
        """Return the runs that were cut short, all but *ours*, and mark them failed as of *now*."""
        cut_short = self.unfinished_runs(ours)
        failed = tuple(replace(each, outcome=Outcome.FAILED, finished_at=now) for each in cut_short)
        with self._database.transaction():
            for each in failed:
                store_scans.write_run(self._database, each)
        return failed

    def record_scan(
        self, run_id: str, snapshot: Snapshot, plan: Plan, logins: Mapping[int, str]
    ) -> None:
        """Record a scan and what was decided; before anything of it is done."""
        store_scans.record(self._database, run_id, snapshot, plan, logins)

    def add_notices(self, notices: Iterable[Notice]) -> None:
        """Record the trees of one message before it is sent."""
        self._write(insert("notices", NOTICE), [of_notice(each) for each in notices])

    def finish_notices(
        self,
        notices: Iterable[Notice],
        delivery: Delivery,
        delivered_at: float | None = None,
        error: str = "",
    ) -> tuple[Notice, ...]:
        """Record what became of a message that was being sent; return its notices as they are now.

        Raises LookupError for one that was not: nothing is delivered that was not begun.
        """
        finished = tuple(
            replace(each, delivery=delivery, delivered_at=delivered_at, error=error)
            for each in notices
        )
        sql = update("notices", NOTICE, f"{store_scans.SAME_NOTICE} AND delivery = ?")
        self._write(
            sql,
            [
                (*of_notice(each), *each.identity, each.created_at, str(Delivery.SENDING))
                for each in finished
            ],
        )
        return finished

    def begin_termination(self, termination: Termination) -> None:
        """Record that a tree is about to be ended, before the first signal."""
        sql = insert("terminations", TERMINATION)
        self._write(sql, [of_termination(termination)])

    def finish_termination(self, termination: Termination) -> None:
        """Record what became of one; it is known by its tree and when it began."""
        self._write(*_finished(termination))

    def spare(self, termination: Termination, client_at: float | None) -> None:
        """Record that a tree was spared, and put it back to the start of its ladder.

        *client_at* is when a client was seen, None if that was not the reason.
        """
        with self._database.transaction():
            self._change(*_finished(termination))
            store_scans.restart_ladder(self._database, termination.identity, client_at)

    def forget_admin_mail(self, kind: str) -> None:
        """Take back that the admins got a mail of this kind: it did not go out."""
        with self._database.transaction():
            self._database.run("DELETE FROM admin_mails WHERE kind = ?", kind)

    def note_admin_mail(self, kind: str, at: float) -> None:
        """Record that the admins got a mail of this kind."""
        self._write("INSERT OR REPLACE INTO admin_mails VALUES (?, ?)", [(kind, at)])

    def use_approval(self, plan_hash: str, now: float) -> bool:
        """Use up an admin's approval of one plan; False where that was done before."""
        with self._database.transaction():
            sql = "INSERT OR IGNORE INTO approvals VALUES (?, ?)"
            return self._database.run(sql, plan_hash, now).rowcount == 1

    def prune(self, now: float, history: float) -> None:
        """Forget what is more than *history* seconds old, but nothing a ladder stands on."""
        store_scans.prune(self._database, now - history)

    def _write(self, sql: str, rows: list[Row]) -> None:
        """Change exactly one record for each of *rows*, all or none."""
        with self._database.transaction():
            self._change(sql, rows)

    def _change(self, sql: str, rows: list[Row]) -> None:
        for row in rows:
            if self._database.run(sql, *row).rowcount != 1:
                raise LookupError("no such record")


def _finished(termination: Termination) -> tuple[str, list[Row]]:
    """Return what records the end of a termination: it is known by its tree and when it began."""
    sql = update("terminations", TERMINATION, _SAME_TERMINATION)
    return sql, [(*of_termination(termination), *termination.identity, termination.started_at)]


def _new(path: str) -> Database:
    """Make the tables in an empty file; one that cannot hold them goes again."""
    try:
        database = Database(path)
        try:
            with database.failures():
                database.connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                migrate(database.connection)
        except BaseException:
            database.close()
            raise
    except StoreError:
        store_file.remove(path)
        raise
    return database


def _existing(path: str) -> Database:
    """Open a store; raises DamagedError for one that is, or that an earlier run found to be."""
    if store_file.is_suspect(path):
        raise DamagedError(f"{path}: an earlier run found it damaged")
    if store_file.is_empty(path):
        raise DamagedError(f"{path}: it is empty")
    store_file.check_writable(path)
    database = Database(path)
    try:
        if inspect(database) < VERSION:
            with database.failures():
                migrate(database.connection)
            inspect(database)
    except BaseException:
        database.close()
        raise
    return database
