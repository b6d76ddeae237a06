"""Bring the demo cluster up and down, and go to one of its nodes.

``python -m tests.lab up|down|status [NAME]`` and ``python -m tests.lab shell USER@NODE [NAME]``.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time

from tests.lab import cgroups, cluster
from tests.lab.software import InstallError, installed
from tests.lab.topology import USERS

DEFAULT = "demo"


def main() -> int:
    """Do what the command line says; every failure is one line and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="up|down|status|shell")
    for verb, function in (("up", _up), ("down", _down), ("status", _status), ("shell", _shell)):
        sub = verbs.add_parser(verb)
        sub.set_defaults(function=function)
        if verb == "shell":
            sub.add_argument("where", metavar="USER@NODE")
            sub.add_argument("--run", metavar="COMMAND", help="run this and come back")
        sub.add_argument("name", nargs="?", default=DEFAULT, help=f"the lab's name ({DEFAULT})")
    options = parser.parse_args()
    try:
        return int(options.function(options))
    except (cluster.LabError, cgroups.StillAliveError, InstallError, OSError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def _up(options: argparse.Namespace) -> int:
    cluster.check_machine()
    begun = time.monotonic()
    installed()
    made = time.monotonic()
    cluster.up(options.name)
    now = time.monotonic()
    print(f"vscadmin installed for the nodes in {made - begun:.1f} s, lab up in {now - made:.1f} s")
    return 0


def _down(options: argparse.Namespace) -> int:
    begun = time.monotonic()
    if cluster.down(options.name):
        print(f"lab {options.name} gone in {time.monotonic() - begun:.1f} s")
    else:
        print(f"there is no lab {options.name}")
    return 0


def _status(options: argparse.Namespace) -> int:
    for name in sorted(cgroups.labs()):
        print(f"{name}: {'up' if cluster.find(name) else 'incomplete'}")
    return 0


def _shell(options: argparse.Namespace) -> int:
    user, at, name = options.where.rpartition("@")
    user = user if at else "root"
    if (found := cluster.find(options.name)) is None:
        raise cluster.LabError(f"lab {options.name} is not up")
    if name not in found.nodes or user not in {"root", *(each.name for each in USERS)}:
        raise cluster.LabError(f"no {user}@{name}: nodes are {', '.join(found.nodes)}")
    command = shlex.split(options.run) if options.run else ["bash", "-l"]
    argv = found[name].argv(*command, user=user)
    os.execvp(argv[0], argv)  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())
