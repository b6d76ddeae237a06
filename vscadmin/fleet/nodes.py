"""Which nodes a fleet is: ClusterShell's node sets, `login[01-04]`, `@login`."""

from __future__ import annotations

import re

from vscadmin.errors import UsageError
from vscadmin.escape import printable
from vscadmin.fleet.clustershell import (
    GroupResolverError,
    GroupSourceError,
    NodeSet,
    NodeSetException,
)

MOST_NODES = 4096
# A name goes to ssh as it is: one that begins with "-" would be an option.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,254}")


def node_names(text: str, key: str) -> tuple[str, ...]:
    """Return the nodes that *text* names, in ClusterShell's order; *key* says whose text it is.

    Raises UsageError for what is no node set, for a group that is not known, for no node.
    """
    try:
        found = tuple(map(str, NodeSet(text)))
    except (NodeSetException, GroupResolverError, GroupSourceError) as error:
        words = printable(" ".join(str(error).split()), 200)
        raise UsageError(f'{key}: "{printable(text, 80)}" is no node set: {words}') from error
    if not found:
        raise UsageError(f'{key}: "{printable(text, 80)}" names no node')
    if len(found) > MOST_NODES:
        raise UsageError(f"{key}: names {len(found)} nodes, more than {MOST_NODES}")
    for name in found:
        if not _NAME.fullmatch(name):
            raise UsageError(f'{key}: "{printable(name, 80)}" is no name of a node')
    return found


def folded(names: tuple[str, ...]) -> str:
    """Return names as one node set, `login[1-4]`."""
    return str(NodeSet.fromlist(names))
