"""Bring the demo cluster up and down, and go to one of its nodes.

``python -m tests.lab up|down|status [NAME]``, ``shell USER@NODE [NAME]`` for a shell on a node,
``leave USER@NODE [NAME]`` to open a VS Code window there from the laptop and lose it,
``power-off NODE [NAME]`` to end a node without a word.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable

from tests.lab import cluster, state
from tests.lab.errors import LabError
from tests.lab.machine import check_machine, check_root
from tests.lab.software import installed
from tests.lab.topology import NODES, ROUND_ROBIN, USERS

DEFAULT = "demo"

_USERS = {user.name for user in USERS}
_TOUR = """
Log in as a user (alice to erin) sits at the laptop, or as the admin does (root):
  {python} -m tests.lab shell alice@laptop{name}       there: ssh login
  {python} -m tests.lab shell root@login1{name}

A tour:
  1. Leave a server behind: open a VS Code window on login1 and lose the laptop.
     {python} -m tests.lab leave alice@login1{name}
  2. See it in the report of that node.
     {python} -m tests.lab shell root@login1{name} --run 'vscadmin report'
  3. Watch cleanup tell its owner, and end it: by a policy of seconds instead of days.
     {python} -m tests.lab shell root@login1{name} --run 'sh /etc/lab/tour'
  4. Read the mail that the owner got.
     {python} -m tests.lab shell root@ctl{name} --run 'cat /var/mail/all/new/*'
  5. See both login nodes at once.
     {python} -m tests.lab shell root@login1{name} --run 'vscadmin fleet report -w login[1-2]'

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
        if verb == "power-off":
            sub.add_argument("node", metavar="NODE", choices=[spec.name for spec in NODES])
        if verb == "shell":
            sub.add_argument("--run", metavar="COMMAND", help="have sh run this, and come back")
        if verb == "down":
            sub.add_argument("--all", action="store_true", help="take all labs away")
        sub.add_argument("name", nargs="?", default=DEFAULT, help=f"the lab's name ({DEFAULT})")
    options = parser.parse_args()
    try:
        return int(options.function(options))
    except (LabError, OSError, subprocess.SubprocessError) as error:
        print(f"lab: {str(error).partition(chr(10))[0]}", file=sys.stderr)
        return 1


def _up(options: argparse.Namespace) -> int:
    check_machine()
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
    check_root()
    for name in sorted(state.names()) if options.all else [options.name]:
        begun = time.monotonic()
        if cluster.down(name):
            print(f"lab {name} gone in {time.monotonic() - begun:.1f} s")
        else:
            print(f"there is no lab {name}")
    return 0


def _status(options: argparse.Namespace) -> int:
    check_root()
    for name in sorted(state.names()):
        found = cluster.living(name)
        gone = [spec.name for spec in NODES if found and spec.name not in found.nodes]
        without = f", without {', '.join(gone)}" if gone else ""
        print(f"{name}: {'incomplete' + without if gone or not found else 'up'}")
    return 0


def _shell(options: argparse.Namespace) -> int:
    found, user, node = _place(options, {"root", *_USERS}, lambda lab: list(lab.nodes))
    command = ["sh", "-c", options.run] if options.run else ["bash", "-l"]
    terminal = {"TERM": os.environ["TERM"]} if "TERM" in os.environ else {}
    argv = found[node].argv(*command, user=user, env=terminal)
    os.execvp(argv[0], argv)  # noqa: S606


def _leave(options: argparse.Namespace) -> int:
    """Do as a user whose laptop dies: what is left on the node is a real orphan."""
    from tests.integration.vscode.server import ServerFailedError  # noqa: PLC0415 - needs psutil
    from tests.lab.editor import Editor  # noqa: PLC0415
    from tests.lab.remote_ssh.driver import RemoteSshError  # noqa: PLC0415

    _living(options, "laptop")
    found, user, node = _place(
        options, _USERS, lambda lab: [ROUND_ROBIN, *(each.name for each in lab.login_nodes)]
    )
    try:
        with Editor(found, user, node) as editor:
            with editor.window() as window:
                window.kill()
            editor.lose()
    except (ServerFailedError, RemoteSshError) as error:
        raise LabError(str(error)) from error
    print(f"{user} has left a VS Code server on {node}, listening on {editor.result.endpoint}")
    return 0


def _power_off(options: argparse.Namespace) -> int:
    from tests.lab.faults import power_off  # noqa: PLC0415

    power_off(_living(options, options.node)[options.node])
    return 0


def _living(options: argparse.Namespace, node: str) -> cluster.Cluster:
    """Return the lab that the command line names, be it without other nodes than *node*."""
    check_root()
    if (found := cluster.living(options.name)) is None:
        raise LabError(f"lab {options.name} is not up: make lab")
    if node in {spec.name for spec in NODES} - found.nodes.keys():
        raise LabError(f"{node} of {options.name} is down: make lab makes the lab anew")
    return found


def _place(
    options: argparse.Namespace, users: set[str], places: Callable[[cluster.Cluster], list[str]]
) -> tuple[cluster.Cluster, str, str]:
    """Return the lab, the user and the node, one of *places*, that the command line names."""
    user, at, node = options.where.rpartition("@")
    user = user if at else "root"
    found = _living(options, node)
    if node not in places(found) or user not in users:
        known = f"users are {', '.join(sorted(users))}; nodes are {', '.join(places(found))}"
        raise LabError(f"there is no {user}@{node} for this: {known}")
    return found, user, node


_VERBS = {
    "up": _up,
    "down": _down,
    "status": _status,
    "shell": _shell,
    "leave": _leave,
    "power-off": _power_off,
}


if __name__ == "__main__":
    sys.exit(main())
