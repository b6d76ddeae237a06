"""`python -m benchmarks.fleet`: a fleet of 1,000 nodes and 50,000 servers, merged in one process.

Once the snapshots of a shared directory, as every run of cleanup reads them: checked, parsed,
counted, and the messages chosen; once the reports of all nodes, as `fleet report` merges them.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from benchmarks.stopwatch import Laps, race
from benchmarks.verdict import Target, judged

NODES, TREES = 1000, 50  # and as many trees on each
MOST_SECONDS, MOST_MEMORY = 5.0, 300.0  # MB, of 10^6 bytes
_ROUNDS = 3
_NOW = 1_790_000_000.0
_USERS = 2000
_KINDS = ("snapshots", "reports")


def main() -> int:
    """Write the fleet, merge it in processes of their own; return 1 if a limit is passed."""
    with tempfile.TemporaryDirectory(prefix="vscadmin-fleet-") as folder:
        write_snapshots(folder)
        write_reports(folder)
        commands = {
            kind: [sys.executable, "-m", "benchmarks.fleet", kind, folder] for kind in _KINDS
        }
        return _judge(race(commands, _ROUNDS))


def _judge(results: dict[str, Laps]) -> int:
    print(f"{NODES:,} nodes, {NODES * TREES:,} servers; quickest of {_ROUNDS} rounds, median CPU.")
    words, are_met = judged(each for kind, laps in results.items() for each in _targets(kind, laps))
    print(words)
    return 0 if are_met else 1


def _targets(kind: str, laps: Laps) -> Iterator[Target]:
    yield Target(f"{kind}: wall, s", laps.least_wall, MOST_SECONDS)
    yield Target(f"{kind}: CPU, s", laps.cpu, MOST_SECONDS)
    yield Target(f"{kind}: peak memory, MB", laps.peak / 1e6, MOST_MEMORY)


def write_snapshots(folder: str, nodes: int = NODES) -> None:
    """Write the shared directory below *folder*: every fifth server waits for a message."""
    from vscadmin.cleanup.peers import Ask, Peer, Standing  # noqa: PLC0415 - not while measuring
    from vscadmin.cleanup.snapshots import write  # noqa: PLC0415
    from vscadmin.policy.settings import Action  # noqa: PLC0415

    shared = os.path.join(folder, "shared")
    os.mkdir(shared, 0o700)
    for number in range(nodes):
        trees = []
        for pid in range(TREES):
            uid = 10_000 + (number * TREES + pid) % _USERS
            trees.append(Standing(uid, f"u{uid}", 4000 + pid, 9000 + pid, _NOW - 90_000))
        asks = [
            Ask(
                *each,
                product="vscode",
                rule="abandoned",
                action=Action.TERMINATE,
                notice=86_400,
                earliest=_NOW,
                since=_NOW - 600,
                clear_since=_NOW - 9000,
                title="VS Code, Remote-SSH",
                started="Fri 2026-09-18 08:00 UTC",
                age="25h",
                client="none since Fri 2026-09-18 09:00 UTC (24h)",
                memory="812M",
                reasons=("state is abandoned", "abandoned for 25h, limit 24h"),
            )
            for each in trees[::5]
        ]
        peer = Peer(f"login{number:04}", "b00710ad", _NOW, _NOW, True, tuple(trees), tuple(asks))
        write(shared, peer)


def read_snapshots(folder: str) -> int:
    """Do what a run does with the shared directory; return how many servers are asked for."""
    from vscadmin.cleanup.recipients import chosen  # noqa: PLC0415 - imports are measured
    from vscadmin.cleanup.snapshots import read  # noqa: PLC0415
    from vscadmin.cleanup.turns import fleet_of  # noqa: PLC0415
    from vscadmin.policy.settings import Policy  # noqa: PLC0415

    shared = read(os.path.join(folder, "shared"), "login0000")
    assert not shared.problems
    fleet = fleet_of("login0000", shared.peers, None, _NOW + 60, 2400)
    assert sum(map(len, fleet.trees.values())) == (len(shared.peers)) * TREES
    assert len(chosen((), {}, Policy(), _NOW + 60, fleet=fleet)) == len(fleet.asks)
    return sum(map(len, fleet.asks.values()))


def write_reports(folder: str) -> None:
    """Write what every node answers to `vscadmin report --json`."""
    for number in range(NODES):
        document = {
            "schema": 1,
            "kind": "report",
            "host": f"login{number:04}",
            "time": "2026-09-21T14:13:20Z",
            "boot_id": f"boot-{number}",
            "processes_seen": 4000,
            "complete": True,
            "policy": {
                "source": "/etc/vscadmin/policy.toml",
                "sha256": "0" * 64,
                "mode": "enforce",
            },
            "trees": [one_tree(number, pid) for pid in range(TREES)],
            "users": [],
        }
        with open(os.path.join(folder, f"login{number:04}"), "w", encoding="ascii") as file:
            json.dump(document, file, indent=1)


def one_tree(number: int, pid: int) -> dict[str, Any]:
    """Return a server of node *number*, as its report shows it."""
    uid = 10_000 + (number * TREES + pid) % _USERS
    folder = f"/home/u{uid}/.vscode-server/bin/{'0f1e2d3c4b' * 4}"
    return {
        "pid": 4000 + pid,
        "start_ticks": 9000 + pid,
        "uid": uid,
        "user": f"u{uid}",
        "product": "vscode",
        "layout": "server",
        "verified": True,
        "state": "abandoned",
        "since": "2026-09-20T14:13:20Z",
        "evidence": ["listens on 127.0.0.1:40123", "no client for 25h", "grace 3h (catalogue)"],
        "started": "2026-09-19T14:13:20Z",
        "orphan": True,
        "processes": 7,
        "rss_bytes": 812 << 20,
        "cpu_seconds": 97.5,
        "listeners": ["127.0.0.1:40123"],
        "clients": [],
        "agents": [],
        "foreign_pids": [],
        "command": f"sh {folder}/bin/code-server --start-server --host=127.0.0.1",
        "cpu_percent": 0.4,
        "action": "terminate",
        "wanted": "terminate",
        "rung": "told",
        "due": "keep",
        "rule": "abandoned",
        "rule_holds": True,
        "findings": [],
        "held_back": [],
        "notes": [],
        "next": [{"action": "terminate", "not_before": "2026-09-22T14:13:20Z", "allowed": True}],
    }


def merge_reports(folder: str) -> int:
    """Do what `fleet report` does with the answers; return the number of servers."""
    from vscadmin.fleet.merge import heard_report, merge  # noqa: PLC0415 - imports are measured

    heard = []
    for number in range(NODES):
        name = f"login{number:04}"
        with open(os.path.join(folder, name), "rb") as file:
            heard.append(heard_report(name, file.read(), 0))
    merged = merge(heard)
    assert not merged.missing
    return len(merged.trees)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(main())
    work = {"snapshots": read_snapshots, "reports": merge_reports}[sys.argv[1]]
    print(work(sys.argv[2]))
