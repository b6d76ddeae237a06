"""A node's snapshot as JSON and back; what another machine wrote is parsed strictly.

Every key must be there, with its type and within its bounds, and no other; texts are made
harmless as whatever comes from outside.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from vscadmin.cleanup.peers import Ask, Peer, Standing, Told
from vscadmin.escape import printable
from vscadmin.policy.decide import is_regular
from vscadmin.policy.settings import Action

SCHEMA = 1
LONGEST = 120  # characters of a text
MOST_REASONS = 20

NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_BOOT = re.compile(r"[A-Za-z0-9-]{1,64}")
_LATEST = 1e11  # seconds since the epoch; beyond is no moment
_MOST = 1 << 53  # what any reader of JSON keeps exactly
_LONGEST_NOTICE = 10_000 * 86400

Record = TypeVar("Record")
Check = Callable[[Any], Any]


class SnapshotError(ValueError):
    """What is wrong in a snapshot, and where."""


def dump(peer: Peer) -> bytes:
    """Return the snapshot as its file holds it."""
    document = {
        "schema": SCHEMA,
        "node": peer.node,
        "boot_id": peer.boot_id,
        "taken_at": peer.taken_at,
        "written_at": peer.written_at,
        "sends": peer.sends,
        "trees": [each._asdict() for each in peer.trees],
        "asks": [each._asdict() for each in peer.asks],
        "told": [each._asdict() for each in peer.told],
        "written": dict(peer.written),
    }
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def parse(data: bytes, node: str) -> Peer:
    """Return the snapshot of *node*, whose file this is; raises SnapshotError."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SnapshotError("is no JSON") from error
    if not isinstance(document, dict):
        raise SnapshotError("is no JSON object")
    if (schema := document.pop("schema", None)) != SCHEMA or type(schema) is not int:
        said = printable(str(schema), 20)
        raise SnapshotError(f"has schema {said}, and this vscadmin knows {SCHEMA}")
    peer = _record(Peer, _PEER)(document)
    if peer.node != node:
        raise SnapshotError(f"node: is {peer.node}, and the file is that of {node}")
    return peer


def _record(kind: Callable[..., Record], checks: Mapping[str, Check]) -> Callable[[Any], Record]:
    def check(value: Any) -> Record:
        if type(value) is not dict:
            raise SnapshotError("must be an object")
        if value.keys() != checks.keys():
            odd = sorted(printable(str(key), 40) for key in value.keys() ^ checks.keys())
            raise SnapshotError(f"has the wrong keys: {', '.join(odd[:5])}")
        found = {}
        for key, one in checks.items():
            try:
                found[key] = one(value[key])
            except SnapshotError as error:
                raise SnapshotError(f"{key}: {error}") from None
        return kind(**found)

    return check


def _each(check: Callable[[Any], Record], most: int | None = None) -> Callable[[Any], Any]:
    def all_of(value: Any) -> tuple[Record, ...]:
        if type(value) is not list or (most is not None and len(value) > most):
            raise SnapshotError("must be an array" + (f" of at most {most}" if most else ""))
        return tuple(map(check, value))

    return all_of


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _MOST:
        raise SnapshotError("must be a whole number, not negative")
    return value


def _seconds(value: Any) -> int:
    if _whole(value) > _LONGEST_NOTICE:
        raise SnapshotError("is longer than any notice")
    return int(value)


def _moment(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value < _LATEST:
        raise SnapshotError("must be a moment, in seconds since the epoch")
    return float(value)


def _moment_or_none(value: Any) -> float | None:
    return None if value is None else _moment(value)


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise SnapshotError("must be true or false")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise SnapshotError("must be a string")
    return printable(value, LONGEST)


def _user(value: Any) -> str:
    if type(value) is not str or len(value) > LONGEST:
        raise SnapshotError("must be a user name")
    return printable(value, LONGEST)


def _regular_user(value: Any) -> str:
    if not is_regular(user := _user(value)):
        raise SnapshotError("must be a user name of [a-z0-9][a-z0-9._-]*")
    return user


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if type(value) is not str or not pattern.fullmatch(value):
            raise SnapshotError(f"must be {what}")
        return value

    return check


def _action(value: Any) -> Action:
    if value not in (str(Action.NOTIFY), str(Action.TERMINATE)):
        raise SnapshotError('must be "notify" or "terminate"')
    return Action(value)


def _written(value: Any) -> dict[str, float]:
    if type(value) is not dict:
        raise SnapshotError("must be an object")
    return {_user(user): _moment(at) for user, at in value.items()}


def _told(**found: Any) -> Told:
    if (found["action"] is Action.TERMINATE) is (found["not_before"] is None):
        raise SnapshotError("not_before: goes with the action terminate")
    return Told(**found)


_node = _matching(NODE, "a node's name")
_boot = _matching(_BOOT, "a boot's id")
_TREE: dict[str, Check] = {
    "uid": _whole,
    "user": _user,
    "pid": _whole,
    "start_ticks": _whole,
    "started_at": _moment,
}
_ASK: dict[str, Check] = _TREE | {
    "user": _regular_user,
    "product": _text,
    "rule": _text,
    "action": _action,
    "notice": _seconds,
    "earliest": _moment,
    "since": _moment,
    "clear_since": _moment,
    "title": _text,
    "started": _text,
    "age": _text,
    "client": _text,
    "memory": _text,
    "reasons": _each(_text, MOST_REASONS),
}
_TOLD: dict[str, Check] = {
    "node": _node,
    "boot_id": _boot,
    "pid": _whole,
    "start_ticks": _whole,
    "user": _regular_user,
    "product": _text,
    "rule": _text,
    "action": _action,
    "address": _text,
    "asked_at": _moment,
    "delivered_at": _moment,
    "not_before": _moment_or_none,
}
_PEER: dict[str, Check] = {
    "node": _node,
    "boot_id": _boot,
    "taken_at": _moment,
    "written_at": _moment,
    "sends": _truth,
    "trees": _each(_record(Standing, _TREE)),
    "asks": _each(_record(Ask, _ASK)),
    "told": _each(_record(_told, _TOLD)),
    "written": _written,
}
