"""Whether the directory that the nodes of a fleet share can be used, and who is heard in it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from vscadmin.cleanup.snapshots import SharedDirectoryError, read
from vscadmin.cleanup.turns import is_live
from vscadmin.cli.checks import Check, Grade
from vscadmin.policy.settings import Policy
from vscadmin.units import counted

_NAME = "fleet"
_PATIENCE = 3.0  # seconds; cleanup waits for longer


def checks(policy: Policy) -> Iterator[Check]:
    """Yield what a run of cleanup would find; nothing is written."""
    directory = policy.fleet.snapshot
    if directory is None:
        yield Check(_NAME, Grade.OK, "not used: each node acts alone (fleet.snapshot)")
        return
    if os.geteuid() != 0:
        yield Check(_NAME, Grade.OK, f"{directory}: is root's to read")
        return
    try:
        shared = read(directory, os.uname().nodename, _PATIENCE)
    except SharedDirectoryError as error:
        yield Check(_NAME, Grade.WARN, f"{error}: this node acts alone")
        return
    for _, problem in shared.problems:
        yield Check(_NAME, Grade.WARN, f"{problem}: not heard")
    live = sum(is_live(each, time.time(), policy.fleet.stale) for each in shared.peers)
    words = f"{directory}: {counted(live, 'other node')} live of {len(shared.peers)}"
    yield Check(_NAME, Grade.OK, words)
