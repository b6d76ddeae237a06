"""A store with something in it: runs of decide() recorded as cleanup records them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.builders import ADA, NOW, child, launcher, server, snapshot, tree
from vscadmin.cleanup.records import Delivery, Identity, Notice, Result, Run, Termination
from vscadmin.cleanup.store import Store
from vscadmin.model import Snapshot, Tree
from vscadmin.policy.decide import Plan, Scene, decide
from vscadmin.policy.settings import Action, Mode, Policy

BOOT_ID = "b00710ad"
HOUR = 3600.0
ENFORCE = Policy(mode=Mode.ENFORCE)


def trees(count: int = 3, **facts: Any) -> list[Tree]:
    """Return trees of four processes each."""
    found = []
    for pid in range(4100, 4100 + count * 10, 10):
        root = launcher(pid)
        node = server(pid + 1, pid, "--connection-token=s3cret")
        helpers = (child(pid + 2, pid + 1, "extensionHost"), child(pid + 3, pid + 1, "ptyHost"))
        found.append(tree(root=root, members=(root, node, *helpers), **facts))
    return found


def seen(found: Iterable[Tree], at: float, **facts: Any) -> Snapshot:
    """Return the snapshot at *at* that *found* are of."""
    return snapshot([each for one in found for each in one.members], taken_at=at, **facts)


def scan(store: Store, found: list[Tree], at: float, **facts: Any) -> Plan:
    """Judge *found* by what *store* remembers and record that, as a run does."""
    boot_id = facts.get("boot_id", BOOT_ID)
    logins, owner = facts.pop("logins", {}), facts.pop("owner", ADA)
    histories = store.histories(boot_id, [each.key for each in found], now=at)
    plan = decide(found, Scene({1001: owner}, logins, histories), ENFORCE, at)
    store.record_scan(f"run-{at}", seen(found, at, **facts), plan, logins)
    return plan


def aged(store: Store, found: list[Tree], scans: int = 4) -> None:
    """Record *scans* of trees that nobody uses, an hour apart, the last at NOW."""
    for number in range(scans):
        scan(store, found, NOW - (scans - 1 - number) * HOUR)


def identity(found: Tree, boot_id: str = BOOT_ID) -> Identity:
    """Return a tree's identity for ever."""
    return Identity(boot_id, *found.key)


def notice(found: Tree, at: float = NOW, **facts: Any) -> Notice:
    """Return a notice that announces the end of a tree and is being sent."""
    known: dict[str, Any] = {
        "identity": identity(found),
        "user": "ada",
        "product": "vscode",
        "rule": "abandoned",
        "action": Action.TERMINATE,
        "address": "ada@example.edu",
        "created_at": at,
        "delivery": Delivery.SENDING,
        "not_before": at + 24 * HOUR,
    }
    return Notice(**{**known, **facts})


def delivered(store: Store, found: Tree, at: float = NOW, **facts: Any) -> Notice:
    """Record a notice that was sent and accepted."""
    sending = notice(found, at, **facts)
    store.add_notices([sending])
    return store.finish_notices([sending], Delivery.DELIVERED, at + 1)[0]


def termination(found: Tree, at: float = NOW, **facts: Any) -> Termination:
    """Return a termination that has begun."""
    known = Termination(
        identity(found), "ada", "vscode", "abandoned", at, Result.STARTED, rss=found.rss
    )
    return replace(known, **facts)


def run(run_id: str = "r1", at: float = NOW, **facts: Any) -> Run:
    """Return a run that has begun."""
    return replace(Run(run_id, "login1", at, "enforce", "0" * 64), **facts)


def new(folder: Path, now: float = NOW) -> Store:
    """Open the store in *folder*."""
    return Store.open(str(folder / "store.sqlite"), now)
