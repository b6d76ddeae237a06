"""One look at this machine: the process table, the trees in it, and whose they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from vscadmin.model import Owner, ProcessKey, Snapshot
from vscadmin.procs.catalogue import Catalogue
from vscadmin.procs.owners import owners
from vscadmin.procs.scan import take_snapshot
from vscadmin.procs.trees import Forest, find_trees, logins


@dataclass(frozen=True)
class Sight:
    """Everything that one look gave, before any of it is judged."""

    snapshot: Snapshot
    forest: Forest
    owners: Mapping[int, Owner]

    @cached_property
    def logins(self) -> dict[int, str]:
        """Who is logged in outside every tree, by uid."""
        return logins(self.snapshot, self.forest)

    @property
    def is_partial(self) -> bool:
        """Whether anything could not be read."""
        return bool(self.snapshot.unreadable) or any(
            tree.unreadable or tree.connections.unreadable for tree in self.forest.trees
        )


def see(
    catalogue: Catalogue,
    *,
    with_groups: bool,
    recorded: Mapping[ProcessKey, ProcessKey] | None = None,
) -> Sight:
    """Look once; *recorded* maps processes that earlier scans saw as members to their root."""
    snapshot = take_snapshot(catalogue, recorded)
    forest = find_trees(snapshot, catalogue, recorded)
    uids = {tree.root.uid for tree in forest.trees}
    return Sight(snapshot, forest, owners(uids, with_groups=with_groups))
