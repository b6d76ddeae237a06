"""Bring a lab up, find one that is up, take it down; the Cluster that tests talk to."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.lab import boot, cgroups, state
from tests.lab.errors import LabError
from tests.lab.identity import write_identities
from tests.lab.machine import check_machine, check_root
from tests.lab.node import Node
from tests.lab.software import installed
from tests.lab.topology import NODES, USERS, NodeSpec

_OF_A_RUN: Final = re.compile(r"test-([0-9]+)(-.*)?")
_USER_NAMES: Final = [user.name for user in USERS]
# Many times what it takes on a machine with too much to do: KillWait and about 1.4 s.
_JOB_GONE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """A lab that is up: its nodes by name."""

    name: str
    nodes: dict[str, Node]

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    @property
    def laptop(self) -> Node:
        """The machine that the users sit at."""
        return self.nodes["laptop"]

    @property
    def login_nodes(self) -> list[Node]:
        """The nodes that users log in to."""
        return [node for node in self.nodes.values() if "login" in node.spec.roles]

    def home(self, user: str) -> Path:
        """Return, as this machine names it, the home that *user* has on the cluster.

        What lies there is the user's: a link in it may lead anywhere, so root does not write here.
        """
        return state.STATE / self.name / "home" / user

    def ssh(
        self, user: str, host: str, *command: str, options: tuple[str, ...] = (), **run: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run *command* over ssh from the laptop; *host* is a node's name or the round-robin one.

        *options* are ssh's, *run* goes to Node.run.
        """
        return self.laptop.run("ssh", *options, host, *command, user=user, **run)

    def ssh_argv(self, user: str, *arguments: str) -> list[str]:
        """Return what runs ssh on the laptop as *user*, for a process that stays."""
        return self.laptop.argv("ssh", *arguments, user=user)

    def tidy(self) -> None:
        """End all jobs and processes of the users, and make their homes as new.

        Raises LabError where Slurm does not get rid of a job.
        """
        self._cancel_jobs()
        for node in (self.laptop, *self.nodes.values()):  # nobody logs in any more
            if node.spec.home:
                node.tidy()
        self._wait_for_the_last_job()
        for node in (self.laptop, self.login_nodes[0]):
            node.renew_homes()

    def _cancel_jobs(self) -> None:
        for name in _USER_NAMES:
            self["ctl"].run("scancel", "--full", f"--user={name}")

    def _wait_for_the_last_job(self) -> None:
        """Wait until Slurm is done with all jobs: one that is COMPLETING is still its user's.

        One may have been asked for just before who asked ended.
        """
        listing = ("squeue", "-h", "-o", "%i of %u: %T", f"--users={','.join(_USER_NAMES)}")
        deadline = time.monotonic() + _JOB_GONE_SECONDS
        while jobs := self["ctl"].run(*listing).stdout.splitlines():
            if time.monotonic() > deadline:
                raise LabError(f"jobs that do not end: {', '.join(jobs)}")
            if any(" COMPLETING" not in job for job in jobs):
                self._cancel_jobs()
            time.sleep(0.05)

    def logs(self) -> Iterator[tuple[str, str]]:
        """Yield the end of each node's logs, with a title."""
        for node in self.nodes.values():
            for name, text in node.logs().items():
                yield f"{node.name}:{name}", text


def up(name: str, specs: Sequence[NodeSpec] = NODES) -> Cluster:
    """Bring the lab *name* up, of *specs*; do nothing if it is.

    Raises LabError when this machine lacks something, or a node did not get ready.
    """
    check_machine()
    with state.locked(name) as folder:
        if found := find(name, specs):
            return found
        try:
            _take_down(name)
            software = installed(lambda path: state.set_software(name, path))
            for spec in specs:
                (folder / "nodes" / spec.name).mkdir(parents=True)
            write_identities(folder)
            cluster = Cluster(name, boot.start(name, software, specs))
            state.set_complete(name)
        except BaseException:
            _take_down(name)
            state.remove(name)
            raise
        return cluster


def down(name: str) -> bool:
    """Take the lab *name* away, whatever there is of it; tell whether there was any."""
    check_root()
    with state.locked(name) as folder:
        there_was = name in cgroups.labs() or any(folder.iterdir())
        _take_down(name)
        state.remove(name)
    return there_was


def down_forgotten() -> None:
    """Take away the labs of test runs whose process is gone."""
    for name in state.names():
        of_a_run = _OF_A_RUN.fullmatch(name)
        if of_a_run and not os.path.exists(f"/proc/{of_a_run[1]}"):
            with suppress(LabError):  # somebody else does it at this time
                down(name)


def find(name: str, specs: Sequence[NodeSpec] = NODES) -> Cluster | None:
    """Return the lab *name* if all of it is up."""
    found = living(name, specs)
    return found if found and len(found.nodes) == len(specs) else None


def living(name: str, specs: Sequence[NodeSpec] = NODES) -> Cluster | None:
    """Return the lab *name* with those of its nodes that are up still, if it was once all up."""
    if not state.is_complete(name) or not cgroups.members(name, boot.SWITCH):
        return None
    nodes = {spec.name: node for spec in specs if (node := Node.find(name, spec))}
    return Cluster(name, nodes)


def is_outdated(name: str) -> bool:
    """Tell whether the lab *name* runs another state of the project than the checkout's."""
    return state.software(name) != str(installed())


def _take_down(name: str) -> None:
    """End what the lab runs and empty its folder."""
    cgroups.end(name)
    state.empty(name)
