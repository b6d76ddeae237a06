"""What goes wrong in a cluster, done on purpose: links cut, nodes and users dead, queues full."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.lab.cluster import Cluster
from tests.lab.node import Node
from tests.run import eventually

# Nobody's: what is sent to it arrives nowhere, and no error comes back.
_NOBODY: Final = "02:00:00:00:00:01"
_KILL_ALL: Final = "kill -KILL -1"
_KILL_FAMILY: Final = """
signal=$1
shift
kill "-$signal" "$1" || exit
shift
for each; do kill "-$signal" "$each" 2>/dev/null; done
:
"""
_START_CONTROLLER: Final = "exec slurmctld -D -L /var/log/slurmctld.log >>/var/log/lab.log 2>&1"
_POWER_OFF: Final = "ip link set inside down; ip link set outside down"


@contextmanager
def link_cut(one: Node, other: Node, network: str = "inside") -> Iterator[None]:
    """Lose every packet between two nodes of a network; their other links work on.

    Neither is told, as when a cable or a switch dies: each sends to an address that nobody has.
    """
    ways = [(node, getattr(peer.spec, network)) for node, peer in ((one, other), (other, one))]
    for node, address in ways:
        node.run(
            *("ip", "neigh", "replace", address, "lladdr", _NOBODY),
            *("nud", "permanent", "dev", network),
        )
    try:
        yield
    finally:
        for node, address in ways:
            node.run("ip", "neigh", "del", address, "dev", network)


def power_off(node: Node) -> None:
    """End *node* as a power failure does: nobody hears of it, and nothing of it runs on.

    Its lab is no whole one afterwards: this is for a lab of the test's own.
    """
    node.run("sh", "-c", _POWER_OFF, check=False)
    pin = os.pidfd_open(node.pid)
    try:
        if node.is_up:  # else the pid is another's by now
            signal.pidfd_send_signal(pin, signal.SIGKILL)
    finally:
        os.close(pin)
    eventually(lambda: node.is_up, lambda up: not up)


def kill_all_of(user: str, node: Node) -> None:
    """SIGKILL everything of *user* on *node* at once, in one call to the kernel.

    The only process of theirs that is spared is the one that makes the call; it ends by itself.
    """
    node.run("sh", "-c", _KILL_ALL, user=user)


def kill(node: Node, *pids: int, signum: signal.Signals = signal.SIGKILL) -> None:
    """Signal *pids* of *node*, in its own numbers.

    The first must be there; the others may be its children and end with it.
    """
    node.run("sh", "-c", _KILL_FAMILY, "sh", str(signum.value), *map(str, pids))


@contextmanager
def closed(cluster: Cluster, partition: str = "devel") -> Iterator[None]:
    """Keep new jobs of *partition* waiting; what runs runs on."""
    _set_state(cluster, partition, "down")
    try:
        yield
    finally:
        _set_state(cluster, partition, "up")


@contextmanager
def controller_away(cluster: Cluster) -> Iterator[None]:
    """Kill slurmctld, and start it again afterwards: it knows its jobs then."""
    controller = cluster["ctl"]
    kill(controller, *(int(pid) for pid in controller.run("pidof", "slurmctld").stdout.split()))
    try:
        yield
    finally:
        controller.run("setsid", "-f", "sh", "-c", _START_CONTROLLER)
        eventually(
            lambda: controller.run("scontrol", "ping", check=False).stdout,
            lambda said: "is UP" in said,
        )


@contextmanager
def task_prolog(node: Node, script: str) -> Iterator[None]:
    """Run the sh commands *script* before every task on *node*, as a site does.

    What they print as ``print TEXT`` comes first on the task's stdout.
    """
    node.write("/etc/lab/task-prolog", script)
    try:
        yield
    finally:
        node.run("rm", "-f", "/etc/lab/task-prolog")


def _set_state(cluster: Cluster, partition: str, state: str) -> None:
    cluster["ctl"].run("scontrol", "update", f"partitionname={partition}", f"state={state}")
