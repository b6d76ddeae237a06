"""A small lab whose login node is run by systemd, with version 2 of cgroups.

A node's first process is tini. It starts systemd in namespaces below the node's own: see
root/systemd/.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.lab import cgroups
from tests.lab import cluster as lab
from tests.lab.cluster import Cluster
from tests.lab.errors import LabError
from tests.lab.machine import check_root
from tests.lab.node import Node
from tests.lab.topology import NODES

_PROGRAM: Final = "/lib/systemd/systemd"
_ROLES: Final = {"dns": ("dns",), "login1": ("login", "systemd"), "laptop": ("laptop",)}
_NODES: Final = tuple(
    replace(spec, roles=_ROLES[spec.name], inside="") for spec in NODES if spec.name in _ROLES
)
_FIRST: Final = re.compile(r"\AName:\tsystemd\n.*^NSpid:\t[^\n]*\t1$", re.DOTALL | re.MULTILINE)


@contextmanager
def small_lab(name: str) -> Iterator[Cluster]:
    """Bring the lab *name* up, lend it, and take it away.

    Raises LabError in one line where there is no systemd, or it does not start.
    """
    _check_machine()
    lab.down(name)
    try:
        cluster = lab.up(name, _NODES)
        yield Cluster(name, {**cluster.nodes, "login1": _below(cluster["login1"])})
    finally:
        lab.down(name)


def _check_machine() -> None:
    check_root()
    if not os.access(_PROGRAM, os.X_OK):
        raise LabError("the node needs a package: apt-get install systemd")
    if cgroups.V2 not in {each.controllers for each in cgroups.hierarchies()}:
        raise LabError("systemd needs version 2 of cgroups, which is not mounted here")


def _below(node: Node) -> Node:
    """Return *node* as systemd has it."""
    for pid in cgroups.members(node.lab, node.name):
        with suppress(FileNotFoundError, ProcessLookupError):
            if _FIRST.match(Path(f"/proc/{pid}/status").read_text()):
                return Node.of(node.lab, node.spec, pid)
    raise LabError(f"{node.name}: systemd does not run it")
