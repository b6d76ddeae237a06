"""SQLite as the store uses it: plain transactions, and its failures as ours.

A rollback journal, not a write-ahead log: there is one writer every ten minutes, whoever
only reads must need no file of their own, and at rest the store is one file that can be
copied. synchronous=EXTRA: what is committed survives the loss of power, the removal of
the journal included.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

from vscadmin.cleanup import store_file
from vscadmin.errors import StoreFailedError

_PATIENCE = 10.0  # seconds to wait for a reader, or for a writer, to be done
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_WORDS = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "reading or writing failed",
    sqlite3.SQLITE_READONLY: "it cannot be written",
    sqlite3.SQLITE_BUSY: "another program keeps it locked",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_PERM: "it cannot be opened",
    sqlite3.SQLITE_CORRUPT: "it is damaged",
    sqlite3.SQLITE_NOTADB: "it is damaged",
}

Row = tuple[Any, ...]
T = TypeVar("T")


class DamagedError(StoreFailedError):
    """The store holds what it was never given: the next run sets it aside, this one stops."""


def seal(values: Row) -> int:
    """Return a checksum of a row: SQLite notices a damaged page, not a damaged number."""
    return zlib.crc32("\x1f".join(map(_sealed, values)).encode("utf-8", "backslashreplace"))


def _sealed(value: Any) -> str:
    if value is None:
        return "\x00"
    return str(value) if isinstance(value, str) else repr(float(value))


def unsealed(row: Row) -> Row:
    """Return a row without the seal at its end; raises ValueError where that is broken."""
    *values, sealed = row
    if sealed != seal(tuple(values)):
        raise ValueError("a row is not what was written")
    return tuple(values)


def insert(table: str, columns: str) -> str:
    """Return the statement that adds a row; names are ours, values are bound."""
    marks = ", ".join("?" for _ in columns.split(", "))
    return f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608


def update(table: str, columns: str, where: str) -> str:
    """Return the statement that writes *columns* of the rows *where* says."""
    pairs = ", ".join(f"{column} = ?" for column in columns.split(", "))
    return f"UPDATE {table} SET {pairs} WHERE {where}"  # noqa: S608


def select(columns: str, table: str, rest: str) -> str:
    """Return the query for *columns*; *rest* begins with WHERE or ORDER."""
    return f"SELECT {columns} FROM {table} {rest}"  # noqa: S608


def bindable(value: Any) -> Any:
    """Return *value* as SQLite takes it: a name that is not UTF-8 arrives as lone surrogates."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value


class Database:
    """An open store. Raises StoreFailedError for whatever the disk or SQLite refuses."""

    def __init__(self, path: str, *, readonly: bool = False) -> None:
        self.path = path
        self._readonly = readonly
        mode = "ro" if readonly else "rw"
        with self.failures():
            self.connection = sqlite3.connect(
                f"file:{quote(path)}?mode={mode}",
                uri=True,
                isolation_level=None,
                timeout=_PATIENCE,
            )
        try:
            with self.failures():
                for pragma in ("cell_size_check = ON", "trusted_schema = OFF"):
                    self.connection.execute(f"PRAGMA {pragma}")
                if not readonly:
                    self.connection.execute("PRAGMA synchronous = EXTRA")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """Return all rows of a query."""
        with self.failures():
            return self.connection.execute(sql, tuple(map(bindable, values))).fetchall()

    def value(self, sql: str, *values: Any) -> Any:
        """Return the first value of the first row, None where there is none."""
        rows = self.rows(sql, *values)
        return rows[0][0] if rows else None

    def run(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """Execute a statement that changes something."""
        with self.failures():
            return self.connection.execute(sql, tuple(map(bindable, values)))

    def run_many(self, sql: str, rows: list[Row]) -> None:
        """Execute a statement once for every row."""
        with self.failures():
            self.connection.executemany(sql, [tuple(map(bindable, row)) for row in rows])

    def give_back(self, pages: int) -> None:
        """Shorten the file by unused pages, at most so many.

        As a script: execute() makes one step of a statement without columns, a page.
        """
        with self.failures():
            self.connection.executescript(f"PRAGMA incremental_vacuum({pages})")

    def read(self, decode: Callable[[Row], T], sql: str, *values: Any) -> list[T]:
        """Return all rows of a query, decoded; a row that cannot be is damage."""
        return self.decoded(decode, self.rows(sql, *values))

    def decoded(self, decode: Callable[[Row], T], rows: list[Row]) -> list[T]:
        """Decode *rows*; one that cannot be is damage."""
        try:
            return [decode(row) for row in rows]
        except (ValueError, TypeError, LookupError, zlib.error) as error:
            raise self.damaged() from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything within one change: whole and on the disk after, or not at all."""
        try:
            self.run("BEGIN" if self._readonly else "BEGIN IMMEDIATE")
            yield
            self.run("COMMIT")
        except BaseException:
            if self.connection.in_transaction:  # a full disk may have rolled it back already
                self.connection.execute("ROLLBACK")
            raise

    def damaged(self) -> DamagedError:
        """Return the error for a damaged store, after noting that for the next run."""
        if not self._readonly:
            store_file.mark_suspect(self.path)
        return DamagedError(f"{self.path}: it is damaged")

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turn what the disk did to SQLite into our errors; anything else is a bug of ours."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            undecodable = isinstance(error, sqlite3.OperationalError) and "decode" in str(error)
            if code in _DAMAGE or undecodable:
                raise self.damaged() from error
            if code not in _WORDS:
                raise
            raise StoreFailedError(f"{self.path}: {self._words(code)} ({error})") from error

    def _words(self, code: int) -> str:
        if not self._readonly:
            return f"{_WORDS[code]}: nothing is recorded, so nothing is done"
        if code == sqlite3.SQLITE_READONLY:  # a journal that only a writer may play back
            return "a run that was cut short left it half-written, and the next one repairs it"
        return _WORDS[code]
