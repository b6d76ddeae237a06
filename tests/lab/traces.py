"""What is left of a user's sessions in the cluster: jobs, processes, listeners, files."""

from __future__ import annotations

import time
from typing import Final

from tests.lab.cluster import Cluster
from tests.lab.node import Node
from tests.lab.topology import USERS

_POLL_SECONDS: Final = 0.1
_UIDS: Final = {user.name: user.uid for user in USERS}
# Neither the look itself nor what has ended and is not yet waited for.
_LOOK: Final = r"""
ps -ww -u "$1" -o stat=,pid=,args= | grep -v '^Z' | sed 's/^/process /'
ss -Hltne | grep " uid:$1 " | sed 's/^/listener /'
"""
_FILES: Final = r"""
find /tmp /var/tmp /dev/shm /run/user -uid "$1" -name "$2" -not -path "/run/user/$1" 2>/dev/null
"""


def nothing_left(cluster: Cluster, user: str, seconds: float, *, files: str = "*") -> None:
    """Wait until nothing of *user* is left on login and compute nodes; fail after *seconds*.

    *files* is a pattern of names in local file systems; "" is none: after a SIGKILL nobody was
    there to remove them.
    """
    begun = looked = time.monotonic()
    while left := traces(cluster, user, files=files):
        assert looked - begun < seconds, "\n".join((f"left after {seconds:g} s:", *left))
        time.sleep(_POLL_SECONDS)
        looked = time.monotonic()  # not how long a look takes


def traces(cluster: Cluster, user: str, *, files: str = "*") -> list[str]:
    """Return what there is of *user*, a line each."""
    found = jobs(cluster, user)
    for node in cluster.nodes.values():
        if node.spec.serves_users:
            found += [f"{node.name}: {line}" for line in _on(node, _UIDS[user], files)]
    return found


def jobs(cluster: Cluster, user: str) -> list[str]:
    """Return the jobs of *user*: number, state and nodes in a line each."""
    argv = ("squeue", "-h", "-u", user, "-o", "job %i %T %N")
    return cluster["ctl"].run(*argv).stdout.splitlines()


def processes(node: Node, user: str, *what: str) -> list[int]:
    """Return the pids of *user* on *node* that pgrep finds by its options *what*."""
    found = node.run("pgrep", "-u", user, *what, check=False).stdout
    return [int(pid) for pid in found.split()]


def _on(node: Node, uid: int, files: str) -> list[str]:
    script = _LOOK + (_FILES if files else "")
    return node.run("sh", "-c", script, "sh", str(uid), files, check=False).stdout.splitlines()
