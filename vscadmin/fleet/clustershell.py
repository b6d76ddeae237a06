"""ClusterShell, configured as the site has it; the only place that imports it.

Beside its libraries a virtual environment holds ClusterShell's example configuration, which
would go before the site's: /etc/clustershell goes first, unless the caller says otherwise.
"""

from __future__ import annotations

import os

CONFIGURATION = "/etc/clustershell"
os.environ.setdefault("CLUSTERSHELL_CFGDIR", CONFIGURATION)  # read when it is imported

from ClusterShell.Event import EventHandler  # noqa: E402
from ClusterShell.NodeSet import NodeSet, NodeSetException  # noqa: E402
from ClusterShell.NodeUtils import GroupResolverError, GroupSourceError  # noqa: E402
from ClusterShell.Task import task_cleanup, task_self  # noqa: E402

__all__ = [
    "EventHandler",
    "GroupResolverError",
    "GroupSourceError",
    "NodeSet",
    "NodeSetException",
    "task_cleanup",
    "task_self",
]
