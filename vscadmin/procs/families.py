"""Read family files: the catalogue that is shipped, and what a site adds in a directory."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from vscadmin.errors import ConfigError
from vscadmin.model import Client
from vscadmin.procs.catalogue import (
    Agent,
    Catalogue,
    Family,
    Layout,
    Listens,
    ProcessPattern,
    Role,
)
from vscadmin.units import parse_duration

SHIPPED = os.path.join(os.path.dirname(__file__), "catalogue.d")
_COMMIT = "[0-9a-f]" * 40  # what <commit> stands for in a path
_REQUIRED: Any = object()

T = TypeVar("T")


def load_catalogue(*directories: str, trusted: Callable[[str], str] | None = None) -> Catalogue:
    """Read the shipped families and those of *directories*; a later one replaces an earlier name.

    *trusted* opens nothing: it says in words why a file must not be believed, "" if it
    may. Raises ConfigError with every problem of every file.
    """
    families: dict[str, Family] = {}
    agents: dict[str, Agent] = {}
    problems: list[str] = []
    for path in (*_files(SHIPPED), *(path for place in directories for path in _files(place))):
        doubt = trusted(path) if trusted and not path.startswith(f"{SHIPPED}/") else ""
        reader = _Reader(path, [doubt] if doubt else [])
        if not doubt:
            _read_file(reader, families, agents)
        problems += [f"{path}: {problem}" for problem in reader.problems]
    if problems:
        raise ConfigError(tuple(problems))
    return Catalogue(tuple(families.values()), tuple(agents.values()))


def _files(directory: str) -> list[str]:
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError((f"{directory}: {error.strerror}",)) from error
    return [os.path.join(directory, name) for name in names if name.endswith(".toml")]


def _read_file(reader: _Reader, families: dict[str, Family], agents: dict[str, Agent]) -> None:
    try:
        with open(reader.path, "rb") as file:
            data = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reader.problems.append(f"is no TOML: {error}")
        return
    except OSError as error:
        reader.problems.append(error.strerror or "cannot be read")
        return
    for table in reader.tables(data, "agent"):
        agent = Agent(
            reader.take(table, "name", str), tuple(reader.take(table, "path", str).split("/"))
        )
        agents[agent.name] = agent
    for table in reader.tables(data, "family"):
        family = _family(reader, table)
        families[family.name] = family
    reader.finish(data, "")


class _Reader:
    """Takes keys out of tables and remembers everything that is wrong with them."""

    def __init__(self, path: str, problems: list[str]) -> None:
        self.path = path
        self.problems = problems

    def take(self, table: dict[str, Any], key: str, kind: type[T], default: Any = _REQUIRED) -> T:
        """Remove *key* from *table*; a value of another type is a problem."""
        value = table.pop(key, default)
        if value is _REQUIRED:
            self.problems.append(f"{key}: is missing")
        elif value is not default and type(value) is not kind:
            self.problems.append(f"{key}: must be {_KINDS[kind]}, not {value!r}")
        else:
            return value  # type: ignore[no-any-return]
        return kind()

    def choice(self, table: dict[str, Any], key: str, choices: Mapping[str, T], default: str) -> T:
        """Take a key whose value is one of *choices*."""
        value = self.take(table, key, str, default)
        if value not in choices:
            self.problems.append(f'{key}: "{value}" is not one of {", ".join(choices)}')
            value = default
        return choices[value]

    def strings(self, table: dict[str, Any], key: str) -> tuple[str, ...]:
        """Take a list of strings; absent is empty."""
        values = self.take(table, key, list, [])
        if not all(type(value) is str for value in values):
            self.problems.append(f"{key}: must be a list of strings")
            return ()
        return tuple(values)

    def tables(self, table: dict[str, Any], key: str) -> list[dict[str, Any]]:
        """Take an array of tables; absent is empty."""
        values = self.take(table, key, list, [])
        if not all(type(value) is dict for value in values):
            self.problems.append(f"{key}: must be an array of tables")
            return []
        return values

    def finish(self, table: dict[str, Any], where: str) -> None:
        """Take the rest of *table*: keys that nobody knows."""
        self.problems += [f"{where}{key}: unknown key" for key in table]


_KINDS = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    list: "a list",
    dict: "a table",
}


def _family(reader: _Reader, table: dict[str, Any]) -> Family:
    grace = reader.take(table, "grace", str, "")
    try:
        seconds = parse_duration(grace) if grace else None
    except ValueError as error:
        reader.problems.append(f"grace: {error}")
        seconds = None
    family = Family(
        name=reader.take(table, "name", str),
        title=reader.take(table, "title", str),
        verified=reader.choice(table, "status", _STATUS, "unverified"),
        layouts=tuple(_layout(reader, each) for each in reader.tables(table, "layout")),
        report_only=reader.take(table, "report_only", bool, False),
        grace=seconds,
        grace_option=reader.take(table, "grace_option", str, ""),
        source=reader.take(table, "source", str, ""),
    )
    if not family.layouts:
        reader.problems.append(f"family {family.name}: has no layout")
    reader.finish(table, f"family {family.name}: ")
    return family


def _layout(reader: _Reader, table: dict[str, Any]) -> Layout:
    folders = tuple(_components(folder) for folder in reader.strings(table, "folder")) or ((),)
    processes = reader.tables(table, "process")
    layout = Layout(
        name=reader.take(table, "name", str),
        client=reader.choice(table, "client", {str(each): each for each in Client}, "outside"),
        processes=tuple(
            pattern for each in processes for pattern in _patterns(reader, each, folders)
        ),
        companion=reader.take(table, "companion", bool, False),
        orphans_only=reader.take(table, "orphans_only", bool, False),
    )
    if not any(pattern.role is Role.ROOT for pattern in layout.processes):
        reader.problems.append(f"layout {layout.name}: no process has the role root")
    reader.finish(table, f"layout {layout.name}: ")
    return layout


def _patterns(
    reader: _Reader, table: dict[str, Any], folders: tuple[tuple[str, ...], ...]
) -> list[ProcessPattern]:
    """Read one process; it stands once for each of the layout's folders."""
    name = reader.take(table, "name", str)
    script = reader.take(table, "script", str, "")
    program = reader.take(table, "program", str, "")
    if bool(script) == bool(program):
        reader.problems.append(f"process {name}: needs either script or program")
    exe = reader.strings(table, "exe")
    if not exe:
        reader.problems.append(f"process {name}: needs exe")
    reader.problems += [
        f'process {name}: exe: "{each}" is no shell, path, folder/NAME or bare name'
        for each in exe
        if "/" in each and not each.startswith("folder/")
    ]
    shared: dict[str, Any] = {
        "name": name,
        "role": reader.choice(table, "role", {str(each): each for each in Role}, "member"),
        "is_script": bool(script),
        "below": _components(script or program or "?"),
        "exe": exe,
        "listens": _listens(reader, table),
        "words": tuple(word.encode() for word in reader.strings(table, "words")),
        "flags": reader.take(table, "flags", str, ""),
        "valued": reader.take(table, "valued", str, ""),
    }
    reader.finish(table, f"process {name}: ")
    return [ProcessPattern(folder=folder, **shared) for folder in folders]


def _listens(reader: _Reader, table: dict[str, Any]) -> Listens | None:
    stated = reader.take(table, "listens", dict, {})
    if not stated:
        return None
    listens = Listens(
        reader.take(stated, "tcp", bool, False),
        reader.take(stated, "unix", str, ""),
        reader.strings(stated, "internal"),
    )
    reader.finish(stated, "listens.")
    return listens


@cache
def _components(path: str) -> tuple[str, ...]:
    return tuple(part.replace("<commit>", _COMMIT) for part in path.split("/") if part)


_STATUS = {"verified": True, "unverified": False}
