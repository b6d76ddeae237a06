"""Bring the demo cluster up and down, and go to one of its nodes.

``python -m tests.lab up|down|status [NAME]``, ``shell USER@NODE [NAME]`` for a shell on a node,
``leave USER@NODE [NAME]`` to open a VS Code window there from the laptop and lose it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time

from tests.lab import cgroups, cluster
from tests.lab.software import InstallError, installed
from tests.lab.topology import ROUND_ROBIN, USERS

DEFAULT = "demo"

_USERS = {user.name for user in USERS}
_TOUR = """
Log in as a user (alice, bob or carol) sits at the laptop, or as the admin does (root):
  {python} -m tests.lab shell alice@laptop{name}       there: ssh login
  {python} -m tests.lab shell root@login1{name}

A tour:
  1. Leave a server behind: open a VS Code window on login1 and lose the laptop.
     {python} -m tests.lab leave alice@login1{name}
  2. See it in the report of that node.
     {python} -m tests.lab shell root@login1{name} --run 'vscadmin report'

Take the lab away: make lab-down
"""


def main() -> int:
    """Do what the command line says; every failure is one line and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="|".join(_VERBS))
    for verb, function in _VERBS.items():
        sub = verbs.add_parser(verb)
        sub.set_defaults(function=function)
        if verb in ("shell", "leave"):
            sub.add_argument("where", metavar="USER@NODE")
        if verb == "shell":
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
    if cluster.is_outdated(options.name):
        print("It was up, and runs an earlier state of vscadmin: make lab-down, then make lab.")
    name = "" if options.name == DEFAULT else f" {options.name}"
    print(_TOUR.format(python=os.path.relpath(sys.executable), name=name), end="")
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
    found, user, node = _place(options, {"root", *_USERS})
    command = shlex.split(options.run) if options.run else ["bash", "-l"]
    argv = found[node].argv(*command, user=user)
    os.execvp(argv[0], argv)  # noqa: S606


def _leave(options: argparse.Namespace) -> int:
    """Do as a user whose laptop dies: what is left on the node is a real orphan."""
    from tests.lab.editor import Editor  # noqa: PLC0415 - it needs the VS Code server

    found, user, node = _place(options, _USERS)
    with Editor(found, user, node) as editor:
        with editor.window() as window:
            window.kill()
        editor.lose()
        print(f"{user} has left a VS Code server on {node}, listening on {editor.result.endpoint}")
    return 0


def _place(options: argparse.Namespace, users: set[str]) -> tuple[cluster.Cluster, str, str]:
    """Return the lab, the user and the node that the command line names."""
    user, at, node = options.where.rpartition("@")
    user = user if at else "root"
    if (found := cluster.find(options.name)) is None:
        raise cluster.LabError(f"lab {options.name} is not up: make lab")
    if node not in {*found.nodes, ROUND_ROBIN} or user not in users:
        known = f"users are {', '.join(sorted(users))}; nodes are {', '.join(found.nodes)}"
        raise cluster.LabError(f"there is no {user}@{node}: {known}")
    return found, user, node


_VERBS = {"up": _up, "down": _down, "status": _status, "shell": _shell, "leave": _leave}


if __name__ == "__main__":
    sys.exit(main())
