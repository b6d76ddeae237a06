"""What the lab consists of: the same names and addresses in every one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node: its *roles* are folders below root/, and its homes those of the cluster or its own.

    *inside* is its address on the cluster's network, *outside* that on the campus network.
    The laptop has no inside address, so it reaches login nodes only.
    """

    name: str
    roles: tuple[str, ...]
    inside: str = ""
    outside: str = ""
    home: str = "home"

    @property
    def serves_users(self) -> bool:
        """Tell whether users run something of the product there."""
        return bool({"login", "compute"} & set(self.roles))


@dataclass(frozen=True, slots=True)
class User:
    """A researcher; root/all/etc/lab/passwd says the same to the nodes."""

    name: str
    uid: int
    shell: str = "/bin/bash"


DOMAIN: Final = "cluster.test"
ROUND_ROBIN: Final = "login"
NODES: Final = (
    NodeSpec("dns", ("dns",), outside="10.78.0.2", home=""),
    NodeSpec("ctl", ("cluster", "controller", "mail"), inside="10.77.0.2"),
    NodeSpec("login1", ("cluster", "login"), inside="10.77.0.11", outside="10.78.0.11"),
    # Login and compute node at once, as small sites have it: partition "mixed".
    NodeSpec("login2", ("cluster", "login", "compute"), inside="10.77.0.12", outside="10.78.0.12"),
    NodeSpec("c1", ("cluster", "compute"), inside="10.77.0.21"),
    NodeSpec("c2", ("cluster", "compute"), inside="10.77.0.22"),
    NodeSpec("laptop", ("laptop",), outside="10.78.0.100", home="laptop-home"),
)
USERS: Final = (
    User("alice", 20001),
    User("bob", 20002),
    User("carol", 20003),
    User("dave", 20004, "/bin/tcsh"),
    User("erin", 20005, "/usr/bin/fish"),
)
