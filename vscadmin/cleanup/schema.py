"""The tables of the store, and how those of an older version become these.

Every change is one more migration at the end; none that was ever released is edited. SQL
is that of SQLite 3.26, which enterprise systems of 2019 still bring.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

APPLICATION_ID = 0x76736361  # "vsca": SQLite's place to say whose a database is

Migration = tuple[str, ...]

_FIRST: Migration = (
    """CREATE TABLE runs (
        run_id TEXT PRIMARY KEY, host TEXT, started_at REAL, mode TEXT, policy_digest TEXT,
        outcome TEXT, finished_at REAL, plan_hash TEXT, words TEXT, seal INTEGER)""",
    "CREATE INDEX runs_by_time ON runs (started_at)",
    # One row a tree for ever, rewritten at every scan that sees it.
    """CREATE TABLE trees (
        tree INTEGER PRIMARY KEY, boot_id TEXT, pid INTEGER, start_ticks INTEGER,
        first_seen REAL, last_client REAL, previous_scan REAL, state TEXT, state_since REAL,
        clear_since REAL, clear_scans INTEGER, members TEXT, last_scan INTEGER, seal INTEGER,
        facts INTEGER, uid INTEGER, user TEXT, product TEXT,
        UNIQUE (boot_id, pid, start_ticks))""",
    "CREATE INDEX trees_by_last_scan ON trees (last_scan)",
    """CREATE TABLE scans (
        scan INTEGER PRIMARY KEY, run_id TEXT, boot_id TEXT, boot_time REAL, taken_at REAL,
        ticks INTEGER, processes INTEGER, logins BLOB, seal INTEGER)""",
    "CREATE INDEX scans_by_time ON scans (taken_at)",
    "CREATE INDEX scans_by_boot ON scans (boot_id, taken_at)",
    # Ten million rows a year: appended in the order of the key, so that a scan writes few
    # pages, and one scan's rows are read and removed together.
    """CREATE TABLE sightings (
        scan INTEGER, tree INTEGER, facts INTEGER, judgement INTEGER, rss INTEGER,
        cpu_ticks INTEGER, PRIMARY KEY (scan, tree)) WITHOUT ROWID""",
    # last_scan: the last that used it, NULL for a tree's facts of now.
    """CREATE TABLE facts (
        facts INTEGER PRIMARY KEY, tree INTEGER, digest BLOB, last_scan INTEGER, body BLOB,
        UNIQUE (tree, digest))""",
    "CREATE INDEX facts_by_last_scan ON facts (last_scan) WHERE last_scan IS NOT NULL",
    """CREATE TABLE judgements (
        judgement INTEGER PRIMARY KEY, digest BLOB UNIQUE, last_scan INTEGER, state TEXT,
        clients INTEGER, wanted TEXT, action TEXT, rule TEXT, rung TEXT, held_back TEXT)""",
    """CREATE TABLE notices (
        notice INTEGER PRIMARY KEY, boot_id TEXT, pid INTEGER, start_ticks INTEGER, user TEXT,
        product TEXT, rule TEXT, action TEXT, address TEXT, created_at REAL, delivery TEXT,
        not_before REAL, delivered_at REAL, error TEXT, seal INTEGER,
        UNIQUE (boot_id, pid, start_ticks, created_at))""",
    "CREATE INDEX notices_by_user ON notices (user, created_at)",
    "CREATE INDEX notices_by_time ON notices (created_at)",
    """CREATE TABLE terminations (
        termination INTEGER PRIMARY KEY, boot_id TEXT, pid INTEGER, start_ticks INTEGER,
        user TEXT, product TEXT, rule TEXT, started_at REAL, result TEXT, rss INTEGER,
        finished_at REAL, survivors INTEGER, words TEXT, seal INTEGER,
        UNIQUE (boot_id, pid, start_ticks, started_at))""",
    "CREATE INDEX terminations_by_time ON terminations (started_at)",
    "CREATE TABLE admin_mails (kind TEXT PRIMARY KEY, at REAL)",
    "CREATE TABLE approvals (plan_hash TEXT PRIMARY KEY, used_at REAL)",
)
MIGRATIONS: tuple[Migration, ...] = (_FIRST,)
VERSION = len(MIGRATIONS)


def version_of(connection: sqlite3.Connection) -> int:
    """Return the schema's version; 0 for a database without one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def application_of(connection: sqlite3.Connection) -> int:
    """Return the number that says whose database it is."""
    return int(connection.execute("PRAGMA application_id").fetchone()[0])


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the tables to the newest version, each step whole or not at all."""
    for version in range(version_of(connection), len(migrations)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in migrations[version]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def tables(connection: sqlite3.Connection) -> dict[str, str | None]:
    """Return the SQL of every table and index by name: the same for equal schemas."""
    return dict(connection.execute("SELECT name, sql FROM sqlite_master"))


def expected(migrations: Sequence[Migration] = MIGRATIONS) -> dict[str, str | None]:
    """Return what `tables` says of a store that is whole."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(connection, migrations)
        return tables(connection)
    finally:
        connection.close()
