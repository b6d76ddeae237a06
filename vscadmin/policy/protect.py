"""Protection: why a tree is reported and never signalled, whatever a rule says of it."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache

from vscadmin.escape import command_line
from vscadmin.model import Owner, Process, Tree
from vscadmin.policy.settings import Glob, Protect

_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "fish", "tcsh", "csh", "ksh", "mksh", "ash"})
_SHOWN = 60  # characters of a command line in a reason


def protection(
    tree: Tree, owner: Owner, protect: Protect, logins: Mapping[int, str]
) -> tuple[str, ...]:
    """Return every hit in words. *logins* maps uids to a login session outside every tree."""
    hits = elsewhere(tree)
    if owner.name in protect.users:
        hits.append(f"protect.users names {owner.name}")
    if protect.groups:
        hits += _group_hits(owner, protect)
    hits += _command_hits(tree, protect)
    if protect.terminal_jobs:
        hits += [
            f"protect.terminal_jobs: {_named(job)} runs in the editor's terminal"
            for job in terminal_jobs(tree)
        ]
    if protect.login_session and owner.uid in logins:
        hits.append(f"protect.login_session: {logins[owner.uid]}")
    return tuple(hits)


def elsewhere(tree: Tree) -> list[str]:
    """Name the members that run in a job or container of their own: no key turns this off."""
    return [f"{_named(member)} runs in {words}" for member, words in tree.elsewhere]


def _group_hits(owner: Owner, protect: Protect) -> list[str]:
    if owner.groups is None:
        return [f"the groups of {owner} could not be looked up, and protect.groups needs them"]
    return [f"protect.groups names {group}" for group in protect.groups if group in owner.groups]


def _command_hits(tree: Tree, protect: Protect) -> list[str]:
    return [
        f'protect.commands: {_named(member)} is "{pattern}"'
        for member in tree.members
        for pattern in _matching(tuple(_names(member)), protect.commands)
    ]


@lru_cache(maxsize=1024)
def _matching(names: tuple[str, ...], patterns: tuple[Glob, ...]) -> tuple[Glob, ...]:
    """Return the patterns that any of *names* fits; the same few names come again and again."""
    return tuple(
        pattern for pattern in patterns if any(fnmatchcase(name, pattern) for name in names)
    )


def _names(process: Process) -> list[str]:
    """Return what a process may be called: its program, and the first operand (a script)."""
    operands = (each for each in process.argv[1:] if not each.startswith(b"-"))
    calls = (*process.argv[:1], next(operands, b""))
    return [each.rpartition(b"/")[2].decode("utf-8", "replace").lstrip("-") for each in calls]


def terminal_jobs(tree: Tree) -> list[Process]:
    """Return the members that run in the editor's own terminals, idle shells left out.

    The editor's terminals are those that its root does not have: somebody who started a
    server by hand in a login shell has all of it on that shell's terminal.
    """
    inside: set[int] = set()
    jobs = []
    for member in sorted(tree.members, key=lambda each: (each.start_ticks, each.pid)):
        on_terminal = member.tty not in (0, tree.root.tty)
        if not on_terminal and member.ppid not in inside:
            continue
        inside.add(member.pid)
        if not _is_idle_shell(member) and member.state != "Z":
            jobs.append(member)
    return jobs


def _is_idle_shell(process: Process) -> bool:
    """Whether it is an interactive shell: its children, if any, are judged for themselves."""
    if not process.argv or _names(process)[0] not in _SHELLS:
        return False
    operands = [each for each in process.argv[1:] if not each.startswith((b"-", b"+"))]
    is_editors = any(each in process.argv for each in (b"--init-file", b"--rcfile"))
    return is_editors or not (operands or b"-c" in process.argv)


def _named(process: Process) -> str:
    return f"pid {process.pid} ({command_line(process.argv, _SHOWN)})"
