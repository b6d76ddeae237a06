"""A store with a year of history: one real scan, copied back through the year every ten minutes."""

from __future__ import annotations

import os
import sqlite3
import sys

from vscadmin.cleanup.store_memory import seal_of_scan

YEAR = 52_560  # scans, one every ten minutes
_SPAN = 600.0
# The ladder is climbed with the built-in rules, and nobody comes to the top of it: what is
# measured is everything but mail and ends.
POLICY = """
version = 1
mode = "enforce"
[notify]
smtp = "localhost:25"
from = "noreply@example.edu"
address = "{user}@example.edu"
[session]
grace_default = "24h"
[[rule]]
name = "runaway"
when = { state = "abandoned", cpu_over = "80%", cpu_for = "30m" }
action = "terminate"
notice = "1h"
[[rule]]
name = "too-many"
when = { state = "abandoned", user_sessions_over = 3 }
action = "terminate"
keep = "newest"
notice = "24h"
[[rule]]
name = "abandoned"
when = { state = "abandoned", for = "24h" }
action = "terminate"
notice = "24h"
[store]
history = "365d"
"""


def write_policy(folder: str) -> tuple[str, str]:
    """Write the policy below *folder*; return its path and the store's."""
    policy, store = os.path.join(folder, "policy.toml"), os.path.join(folder, "store", "s.sqlite")
    with open(policy, "w", encoding="ascii") as file:
        file.write(f'{POLICY}path = "{store}"\n[output]\nlog = "{folder}/log/cleanup"\n')
        file.write(f'textfile = "{folder}/vscadmin.prom"\n')
    return policy, store


def age(store: str) -> None:
    """Give a store that holds one scan a year of them."""
    database = sqlite3.connect(store, isolation_level=None)
    try:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("BEGIN")
        columns = "scan, taken_at, boot_id, boot_time, ticks"
        last = database.execute(f"SELECT {columns} FROM scans ORDER BY scan DESC").fetchone()  # noqa: S608
        cpu = dict(
            database.execute("SELECT tree, cpu_ticks FROM sightings WHERE scan = ?", last[:1])
        )
        for back in range(YEAR, 0, -1):
            _copy(database, last, cpu, back)
        database.execute("COMMIT")
    finally:
        database.close()


def _copy(
    database: sqlite3.Connection, last: tuple[object, ...], cpu: dict[int, int], back: int
) -> None:
    """Add the scan of *back* times ten minutes earlier; its number is below those of real ones."""
    scan, taken_at, *rest = last
    assert isinstance(taken_at, float)
    earlier = (-back, taken_at - back * _SPAN, *rest)
    database.execute(
        "INSERT INTO scans (scan, taken_at, boot_id, boot_time, ticks, run_id, processes, logins,"
        " seal) SELECT ?, ?, ?, ?, ?, run_id, processes, logins, ? FROM scans WHERE scan = ?",
        (*earlier, seal_of_scan(earlier, cpu), scan),
    )
    database.execute(
        "INSERT INTO sightings (scan, tree, facts, judgement, rss, cpu_ticks)"
        " SELECT ?, tree, facts, judgement, rss, cpu_ticks FROM sightings WHERE scan = ?",
        (-back, scan),
    )


if __name__ == "__main__":
    age(sys.argv[1])
