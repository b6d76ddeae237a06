"""A snapshot that shows known processes closely, wherever they hang now and whatever they are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from vscadmin.model import ProcessKey, Snapshot
from vscadmin.procs.catalogue import Catalogue
from vscadmin.procs.remains import still_there
from vscadmin.procs.scan import read_details, take_snapshot
from vscadmin.procs.sockets import read_net


def look_closely(catalogue: Catalogue, known: Collection[ProcessKey]) -> Snapshot:
    """Take a snapshot with the details of what *known* names and of all its descendants.

    The sockets are read last: whoever connected meanwhile is seen, and whoever let go is not.
    Raises ProcessTableError where /proc is no process table.
    """
    snapshot = take_snapshot(catalogue)
    processes = dict(snapshot.processes)
    missing = still_there(processes, known).keys() - snapshot.details.keys()
    details = {**snapshot.details, **read_details(processes, sorted(missing))}
    left = still_there(processes, known).keys() & details.keys()
    namespaces = {details[pid].net_ns: pid for pid in left if details[pid].sockets}
    nets = {name: read_net(pid, name) for name, pid in namespaces.items() if name}
    return replace(snapshot, processes=processes, details=details, nets={**snapshot.nets, **nets})
