"""The directory that the nodes of a fleet share: NODE.json each, written by that node alone.

It decides, with all else, over other people's processes: it and every file in it must be
root's alone to change, on every node. Written aside and renamed, so that nobody reads half
of one; every file has a bound, and the whole a deadline, as a network file system may hang.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from vscadmin.cleanup import snapshot_json
from vscadmin.cleanup.peers import Peer
from vscadmin.cleanup.snapshot_json import NODE, SnapshotError
from vscadmin.deadline import within
from vscadmin.errors import ConfigError
from vscadmin.escape import printable
from vscadmin.trust import doubts, open_trusted

MOST_BYTES = 8 << 20  # of one snapshot; a server that is asked for needs 600
MOST_NODES = 4096
_PATIENCE = 60.0  # seconds for the whole directory
_SUFFIX = ".json"
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC

Found = TypeVar("Found")


class SharedDirectoryError(Exception):
    """The directory cannot be used: this node does its work alone. Says why, in one line."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What stands in the directory: *own* is this node's; *problems* by file, in words."""

    peers: tuple[Peer, ...] = ()
    own: Peer | None = None
    problems: tuple[tuple[str, str], ...] = ()


def read(directory: str, node: str, patience: float = _PATIENCE) -> Shared:
    """Return every snapshot that can be trusted and understood, and what is wrong with others.

    Raises SharedDirectoryError where the directory itself is not to be used, or hangs.
    """
    return _within(patience, directory, lambda: _read(directory, node))


def write(directory: str, peer: Peer, patience: float = _PATIENCE) -> None:
    """Replace this node's snapshot, whole or not at all; raises SharedDirectoryError."""
    _within(patience, directory, lambda: _write(directory, peer))


def check(directory: str) -> None:
    """Raise SharedDirectoryError unless nobody but root (and we) can change the directory."""
    try:
        found = list(doubts(directory, _owners()))
        mode = os.stat(directory).st_mode
    except ConfigError as error:
        raise SharedDirectoryError(str(error)) from error
    except OSError as error:
        raise SharedDirectoryError(f"{directory}: {error.strerror}") from error
    if not stat.S_ISDIR(mode):
        found.append(f"{directory}: is no directory")
    elif not found and mode & (stat.S_IWGRP | stat.S_IWOTH):
        found.append(f"{directory}: its group or others can write it")
    if found:
        raise SharedDirectoryError("; ".join(found))


def _owners() -> frozenset[int]:
    return frozenset({0, os.geteuid()})


def _read(directory: str, node: str) -> Shared:
    check(directory)
    try:
        names = sorted(each for each in os.listdir(directory) if _node_of(each))
    except OSError as error:
        raise SharedDirectoryError(f"{directory}: {error.strerror}") from error
    if len(names) > MOST_NODES:
        raise SharedDirectoryError(f"{directory}: holds more than {MOST_NODES} snapshots")
    peers, problems = {}, []
    for name in names:
        path = os.path.join(directory, name)
        try:
            peers[_node_of(name)] = _load(path, _node_of(name))
        except FileNotFoundError:
            continue
        except (OSError, SnapshotError) as error:
            problems.append((name, f"{path}: {printable(_words(error))}"))
        except ConfigError as error:
            problems.append((name, printable("; ".join(error.problems))))
    own = peers.pop(node, None)
    return Shared(tuple(peers.values()), own, tuple(problems))


def _words(error: OSError | SnapshotError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _node_of(name: str) -> str:
    """Return the node whose file *name* is, "" for any other."""
    node = name.removesuffix(_SUFFIX)
    return node if node != name and NODE.fullmatch(node) else ""


def _load(path: str, node: str) -> Peer:
    file = open_trusted(path, _owners())
    with os.fdopen(file, "rb") as opened:
        data = opened.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise SnapshotError(f"is larger than {MOST_BYTES >> 20} MiB")
    return snapshot_json.parse(data, node)


def _write(directory: str, peer: Peer) -> None:
    check(directory)
    if not NODE.fullmatch(peer.node):
        raise SharedDirectoryError(f'"{printable(peer.node)}" cannot be a file\'s name')
    if len(data := snapshot_json.dump(peer)) > MOST_BYTES:
        raise SharedDirectoryError(f"the snapshot is larger than {MOST_BYTES >> 20} MiB")
    path = os.path.join(directory, peer.node + _SUFFIX)
    aside = os.path.join(directory, f".{peer.node}.new")
    try:
        _put(aside, data)
        os.rename(aside, path)
    except OSError as error:
        raise SharedDirectoryError(f"{path}: cannot be written: {error.strerror}") from error


def _put(path: str, data: bytes) -> None:
    file = os.open(path, _WRITE, 0o600)
    with os.fdopen(file, "wb") as opened:
        if (uid := os.fstat(file).st_uid) not in _owners():
            words = f"{path}: belongs to uid {uid} once written: root has no rights there"
            raise SharedDirectoryError(f"{words} (NFS: no_root_squash)")
        os.fchmod(file, 0o600)
        opened.write(data)
        opened.flush()
        os.fsync(file)


def _within(seconds: float, directory: str, work: Callable[[], Found]) -> Found:
    """Return what *work* does; the *directory* may be of a file system that hangs."""
    try:
        return within(seconds, work)
    except TimeoutError as error:
        raise SharedDirectoryError(f"{directory}: {error}") from error
