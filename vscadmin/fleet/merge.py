"""Many nodes' reports as one: a table over all, totals per user, and who is missing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vscadmin.fleet.answers import (
    Heard,
    Outcome,
    SchemaError,
    UnusableError,
    document,
    is_useful,
    must,
)

_TEXT, _WHOLE, _NUMBER, _TRUTH = (str,), (int,), (int, float), (bool,)
_MAYBE = (str, type(None))
_REPORT = {
    "host": _TEXT,
    "time": _TEXT,
    "boot_id": _TEXT,
    "processes_seen": _WHOLE,
    "complete": _TRUTH,
    "policy": (dict,),
    "trees": (list,),
}
_POLICY = {"source": _TEXT, "sha256": _MAYBE, "mode": _TEXT}
_TREE = {
    "pid": _WHOLE,
    "start_ticks": _WHOLE,
    "uid": _WHOLE,
    "user": _MAYBE,
    "product": _TEXT,
    "state": _TEXT,
    "since": _MAYBE,
    "started": _TEXT,
    "orphan": _TRUTH,
    "processes": _WHOLE,
    "rss_bytes": _WHOLE,
    "cpu_percent": _NUMBER,
    "rule": _MAYBE,
    "held_back": (list,),
    "notes": (list,),
    "next": (list,),
    "command": _TEXT,
}
_STEP = {"action": _TEXT, "not_before": _TEXT, "allowed": _TRUTH}


@dataclass(frozen=True, slots=True)
class Merged:
    """The reports of a fleet: every node that was asked, all servers, totals per user.

    *trees* and *users* are as in `vscadmin report --json`, each tree with its `node`.
    """

    nodes: tuple[Heard, ...]
    trees: tuple[dict[str, Any], ...]
    users: tuple[dict[str, Any], ...]

    @property
    def missing(self) -> tuple[Heard, ...]:
        """The nodes of which something, or all, is missing."""
        return tuple(each for each in self.nodes if not each.is_whole)


def heard_report(node: str, data: bytes, code: int | None) -> Heard:
    """Return what *node* said to `vscadmin report --json`."""
    try:
        found = _report(data)
    except SchemaError as error:
        return Heard(node, Outcome.OTHER_SCHEMA, str(error), code)
    except UnusableError as error:
        return Heard(node, Outcome.UNUSABLE, str(error), code)
    if not is_useful(code):
        return Heard(node, Outcome.FAILED, f"exit {code}", code)
    words = "" if found["complete"] else "something on it could not be read"
    return Heard(node, Outcome.ANSWERED, words, code, found)


def _report(data: bytes) -> dict[str, Any]:
    found = document(data, "report")
    must(found, _REPORT, "report")
    must(found["policy"], _POLICY, "policy")
    for index, tree in enumerate(found["trees"]):
        must(tree, _TREE, f"trees[{index}]")
        for step in tree["next"]:
            must(step, _STEP, f"trees[{index}].next")
        for words in (*tree["held_back"], *tree["notes"]):
            if not isinstance(words, str):
                raise UnusableError(f"trees[{index}]: a reason is no text")
    return found


def merge(nodes: Iterable[Heard], user: str | None = None) -> Merged:
    """Return all reports as one, of one *user*'s servers where a name is given.

    A machine that answered under two names counts once, and the second name is pointed out.
    """
    found = _once(nodes)
    trees = [
        {"node": each.node} | tree
        for each in found
        for tree in each.document.get("trees", ())
        if user is None or owner_of(tree) == user
    ]
    told = tuple(replace(each, document=_head(each.document)) for each in found)
    trees.sort(key=lambda tree: (owner_of(tree), tree["node"], tree["started"], tree["pid"]))
    return Merged(told, tuple(trees), totals(trees))


def _head(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document without its lists: those are merged."""
    return {key: value for key, value in document.items() if not isinstance(value, list)}


def _once(nodes: Iterable[Heard]) -> tuple[Heard, ...]:
    seen: dict[tuple[str, str], str] = {}
    found = []
    for each in nodes:
        if each.outcome is Outcome.ANSWERED:
            machine = (each.document["host"], each.document["boot_id"])
            first = seen.setdefault(machine, each.node)
            if first != each.node:
                words = f"is the machine that answered as {first}: counted once"
                found.append(replace(each, outcome=Outcome.TWICE, words=words, document={}))
                continue
        found.append(each)
    return tuple(found)


def owner_of(tree: dict[str, Any]) -> str:
    """Return the owner of a tree as reports print it: a name, or "#uid"."""
    return tree["user"] if tree["user"] is not None else f"#{tree['uid']}"


def totals(trees: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return one row a user over all nodes, most memory first; uid and name make a user."""
    rows: dict[tuple[int, str], dict[str, Any]] = {}
    where: dict[tuple[int, str], set[str]] = {}
    for tree in trees:
        who = (tree["uid"], owner_of(tree))
        row = rows.setdefault(who, _nothing(tree))
        where.setdefault(who, set()).add(tree["node"])
        row["nodes"] = len(where[who])
        row["trees"] += 1
        if tree["state"] in ("connected", "abandoned"):
            row[tree["state"]] += 1
        row["processes"] += tree["processes"]
        row["rss_bytes"] += tree["rss_bytes"]
        row["cpu_percent"] = round(row["cpu_percent"] + tree["cpu_percent"], 1)
    ordered = sorted(rows.values(), key=lambda row: (-row["rss_bytes"], row["uid"]))
    return tuple(ordered)


def _nothing(tree: dict[str, Any]) -> dict[str, Any]:
    return {
        "uid": tree["uid"],
        "user": tree["user"],
        "nodes": 0,
        "trees": 0,
        "connected": 0,
        "abandoned": 0,
        "processes": 0,
        "rss_bytes": 0,
        "cpu_percent": 0.0,
    }
