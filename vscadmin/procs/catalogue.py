"""Product families as data, and the pure match of a process against them.

A family file says in which folder a server lives, which program or script in it is the
root of a tree, what else belongs to it, and whose listening sockets its clients use.
Matching compares whole path components of argv[0] or of an interpreter's script, and
the executable: never a substring, never the process's name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase, translate
from functools import cache
from typing import NamedTuple

from vscadmin.model import Client

SHELLS = frozenset({"sh", "bash", "dash", "ksh", "mksh", "zsh", "busybox", "ash"})
_INTERPRETERS = frozenset(name.encode() for name in SHELLS) | {b"node"}
# Options of those interpreters whose value is the next argument (node(1), bash(1)).
_VALUED = frozenset(
    {b"-r", b"--require", b"-C", b"--conditions", b"--import", b"--loader", b"-o", b"+o", b"-O"}
    | {b"+O", b"--experimental-loader", b"--title", b"--env-file", b"--rcfile", b"--init-file"}
)
# Options after which there is no script: what follows is code, or it comes from stdin.
_CODE = frozenset({b"-e", b"-p", b"-pe", b"--eval", b"--print"})
# In a shell's cluster of short options: c is code, s is stdin.
_SHELL_CODE = frozenset(b"cs")


class Role(StrEnum):
    """What a process is to a tree: a root starts it and serves clients, a member belongs to it."""

    ROOT = "root"
    MEMBER = "member"


class Listens(NamedTuple):
    """Which listening sockets of a process are for clients.

    *unix* is the option that states the path, "*" for any path, "" for none; *internal*
    are the options that state TCP ports which are not for clients.
    """

    tcp: bool = True
    unix: str = ""
    internal: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProcessPattern:
    """One process of a layout, by path components: literal or with fnmatch wildcards.

    *below* is its path below the layout's folder, of the script of an interpreter or of
    argv[0] itself. *exe* lists what the executable may be: `shell`, `path` (the matched
    path itself), `folder/NAME` (below the folder), or a bare name. *words* must follow
    each other in argv; *flags* are option letters that must be given, *valued* those
    that take a value.
    """

    name: str
    role: Role
    is_script: bool
    folder: tuple[str, ...]
    below: tuple[str, ...]
    exe: tuple[str, ...]
    listens: Listens | None = None
    words: tuple[bytes, ...] = ()
    flags: str = ""
    valued: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """How one kind of server of a family is laid out.

    A *companion* is a helper of the servers of the same owner: its connections to them
    are not clients. *orphans_only* counts a process only once it was adopted.
    """

    name: str
    client: Client
    processes: tuple[ProcessPattern, ...]
    companion: bool = False
    orphans_only: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """A product, its layouts, and how well they are known.

    *grace* is the server's own reconnection grace in seconds, *grace_option* the option
    that overrides it; a *report_only* family is shown and can be in no policy.
    """

    name: str
    title: str
    verified: bool
    layouts: tuple[Layout, ...]
    report_only: bool = False
    grace: int | None = None
    grace_option: str = ""
    source: str = ""


class Agent(NamedTuple):
    """An AI helper that runs below an extension host: a child to name, never a root."""

    name: str
    path: tuple[str, ...]


class Match(NamedTuple):
    """What an argv looks like. *components* are the matched path's, *start* is where the folder is.

    *folder* is the server's folder as the argv spells it.
    """

    family: Family
    layout: Layout
    pattern: ProcessPattern
    path: bytes
    components: tuple[str, ...]
    start: int

    @property
    def folder(self) -> bytes:
        """The server's folder, the whole path; b"" for programs that live in no folder."""
        end = self.start + len(self.pattern.folder)
        if not self.pattern.folder:
            return b""
        return b"/" + "/".join(self.components[:end]).encode("utf-8", "surrogateescape")

    @property
    def weight(self) -> int:
        """How exact the pattern is: more components beat fewer, words beat none."""
        pattern = self.pattern
        return 2 * (len(pattern.folder) + len(pattern.below)) + bool(pattern.words)


class _Entry(NamedTuple):
    """A pattern with the family and layout it stands in."""

    family: Family
    layout: Layout
    pattern: ProcessPattern


class _Index:
    """Entries by what their path must hold: a long table is mostly strangers.

    First by the last component, then by the first of the folder; "" is for entries that
    have a wildcard there or no folder at all.
    """

    def __init__(self, entries: Iterable[_Entry]) -> None:
        self._literal: dict[str, dict[str, list[_Entry]]] = {}
        self._wild: list[tuple[re.Pattern[str], dict[str, list[_Entry]]]] = []
        for entry in entries:
            name, top = entry.pattern.below[-1], (*entry.pattern.folder, "")[0]
            below = self._literal.setdefault(name, {})
            below.setdefault("" if _is_wild(top) else top, []).append(entry)
        for name in [name for name in self._literal if _is_wild(name)]:
            self._wild.append((re.compile(translate(name)), self._literal.pop(name)))

    def groups(self, path: bytes) -> list[dict[str, list[_Entry]]]:
        """Return the entries that want *path*'s last component; mostly none."""
        name = path.rstrip(b"/").rpartition(b"/")[2].decode("utf-8", "surrogateescape")
        found = [below for pattern, below in self._wild if pattern.match(name)]
        if name in self._literal:
            found.append(self._literal[name])
        return found


_WILD = frozenset("*?[")  # what fnmatch knows


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All families and agents that are known. Names are unique."""

    families: tuple[Family, ...]
    agents: tuple[Agent, ...] = ()
    _programs: _Index = field(init=False, repr=False, compare=False)
    _scripts: _Index = field(init=False, repr=False, compare=False)
    # Both passes over a table ask for the same few command lines.
    _known: dict[tuple[bytes, ...], Match | None] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        entries = [
            _Entry(family, layout, pattern)
            for family in self.families
            for layout in family.layouts
            for pattern in layout.processes
        ]
        # A frozen dataclass derives its own fields this way (dataclasses, "Frozen instances").
        programs = _Index(each for each in entries if not each.pattern.is_script)
        scripts = _Index(each for each in entries if each.pattern.is_script)
        object.__setattr__(self, "_programs", programs)
        object.__setattr__(self, "_scripts", scripts)

    def family(self, name: str) -> Family | None:
        """Return the family of that name, None where there is none."""
        return next((family for family in self.families if family.name == name), None)

    def match(self, argv: tuple[bytes, ...]) -> Match | None:
        """Return what *argv* looks like, the most exact pattern first; None for strangers."""
        if not argv:
            return None
        program, script = self._programs.groups(argv[0]), script_of(argv)
        groups = self._scripts.groups(script) if script is not None else []
        if not program and not groups:
            return None
        if argv not in self._known:
            found = _fitting(program, argv[0], argv) + _fitting(groups, script or b"", argv)
            self._known[argv] = max(found, key=lambda match: match.weight, default=None)
        return self._known[argv]

    def agent(self, argv: Sequence[bytes]) -> str | None:
        """Return the name of the AI helper that a process with this *argv* is, if it is one."""
        for path in (argv[0], script_of(argv)) if argv else ():
            components = split_path(path or b"")
            for agent in self.agents:
                if _all_match(agent.path, components[-len(agent.path) :]):
                    return agent.name
        return None


def exe_agrees(match: Match, exe: bytes) -> bool:
    """Whether the executable is one that the matched pattern allows.

    The first component of a deep folder is not compared: users move ~/.vscode-server to
    a bigger disk and leave a link. " (deleted)" and `.nfs*` in the same folder are the
    same file after an update.
    """
    actual = split_path(exe.removesuffix(b" (deleted)"))
    if not actual:
        return False
    pattern = match.pattern
    folder = match.components[match.start : match.start + len(pattern.folder)]
    for rule in pattern.exe:
        if rule == "shell":
            agrees = actual[-1] in SHELLS
        elif rule == "path":
            agrees = _same_file(match.components[match.start :], actual)
        elif rule.startswith("folder/"):
            agrees = _same_file((*folder, *rule.split("/")[1:]), actual)
        else:
            agrees = actual[-1] == rule
        if agrees:
            return True
    return False


def _same_file(wanted: tuple[str, ...], actual: tuple[str, ...]) -> bool:
    if actual[-1].startswith(".nfs"):  # the name is gone: its folder has to say it all
        folder = wanted[1:-1] or wanted[:-1]
        return folder != () and actual[-len(folder) - 1 : -1] == folder
    tail = wanted[1:] or wanted
    return actual[-len(tail) :] == tail


def lies_in(argv: tuple[bytes, ...], exe: bytes | None, folders: Collection[bytes]) -> bool:
    """Whether argv[0], its script or the executable is below one of *folders*."""
    if not argv or not folders:
        return False
    spelled = (argv[0], script_of(argv), exe)
    sane = (path for path in spelled if path and b"/../" not in path)
    return any(above in folders for path in sane for above in _above(path))


def _above(path: bytes) -> Iterator[bytes]:
    """Yield every directory above *path*, "/" left out."""
    at = path.find(b"/", 1)
    while at > 0:
        yield path[:at]
        at = path.find(b"/", at + 1)


def _fitting(
    groups: Iterable[Mapping[str, Iterable[_Entry]]], path: bytes, argv: tuple[bytes, ...]
) -> list[Match]:
    """Return what *path* and *argv* fit wholly."""
    components = split_path(path)
    tops = ("", *dict.fromkeys(components))
    return [
        Match(*entry, path, components, start)
        for below in groups
        for top in tops
        for entry in below.get(top, ())
        if (start := _fits(entry.pattern, path, components, argv)) is not None
    ]


def _fits(
    pattern: ProcessPattern, path: bytes, components: tuple[str, ...], argv: Sequence[bytes]
) -> int | None:
    """Return the index of the folder's first component in *path*, None if it does not fit."""
    wanted = (*pattern.folder, *pattern.below)
    start = len(components) - len(wanted)
    if start < 0 or not _all_match(wanted, components[start:]):
        return None
    if pattern.folder and not path.startswith(b"/"):
        return None
    if pattern.words and not _has_words(argv, pattern.words):
        return None
    return start if set(pattern.flags) <= _letters(argv, pattern.valued) else None


def _all_match(patterns: Sequence[str], components: Sequence[str]) -> bool:
    return len(patterns) == len(components) and all(map(_is_like, patterns, components))


@cache
def _is_wild(pattern: str) -> bool:
    return not _WILD.isdisjoint(pattern)


def _is_like(pattern: str, component: str) -> bool:
    return pattern == component or (_is_wild(pattern) and fnmatchcase(component, pattern))


def _has_words(argv: Sequence[bytes], words: tuple[bytes, ...]) -> bool:
    return any(tuple(argv[at : at + len(words)]) == words for at in range(1, len(argv)))


def _letters(argv: Sequence[bytes], valued: str) -> set[str]:
    """Return the short option letters of *argv*, up to the first operand (getopt(3))."""
    letters: set[str] = set()
    arguments = iter(argv[1:])
    for argument in arguments:
        if argument == b"--" or not argument.startswith(b"-"):
            break
        for at, letter in enumerate(text := argument[1:].decode("ascii", "replace")):
            letters.add(letter)
            if letter in valued:
                if at == len(text) - 1:
                    next(arguments, None)
                break
    return letters


def script_of(argv: Sequence[bytes]) -> bytes | None:
    """Return the script that an interpreter runs; None for code, stdin and other programs."""
    program = argv[0].rpartition(b"/")[2].removeprefix(b"-")
    if program not in _INTERPRETERS:
        return None
    is_shell = program != b"node"
    arguments = iter(argv[1:])
    for argument in arguments:
        if argument == b"--":
            return next(arguments, None)
        if argument in _VALUED:
            next(arguments, None)
        elif argument in _CODE or (is_shell and _is_code(argument)):
            return None
        elif argument[:1] not in (b"-", b"+"):
            return argument
    return None


def _is_code(argument: bytes) -> bool:
    """Whether a shell's option says that what follows is code or that stdin is the script."""
    single = argument[:1] == b"-" and argument[:2] != b"--"
    return single and not _SHELL_CODE.isdisjoint(argument[1:])


def split_path(path: bytes) -> tuple[str, ...]:
    """Return the components of *path*; () when it climbs with "..": then it may lie anywhere."""
    components = tuple(
        part for part in path.decode("utf-8", "surrogateescape").split("/") if part not in ("", ".")
    )
    return () if ".." in components else components
