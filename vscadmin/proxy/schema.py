"""Values of a TOML file against a table of what they may be: all errors at once, each by its key.

A small validator of our own, because every session pays for it: docs/adr/0007.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from vscadmin.errors import shown, suggestion

if TYPE_CHECKING:  # aliases cost a millisecond
    from typing import TypeAlias

    Leaf: TypeAlias = Callable[[Any], Any]
    """Returns the value, converted, or raises ValueError with what it must be."""
    Kind: TypeAlias = "Leaf | Each | Named | Mapping[str, Any]"
    """A mapping is a table: its keys, and of what kind the value of each is."""


class Each(NamedTuple):
    """A list, all its elements of one kind."""

    kind: Leaf


class Named(NamedTuple):
    """A table whose keys are names that the site chooses."""

    kind: Kind
    pattern: str
    wanted: str
    """What a name must be, as it stands after "must be"."""


class Reader:
    """Collects in *problems* what is wrong, each as "key: what is wrong"."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def table(self, value: Any, schema: Mapping[str, Kind], path: str = "") -> dict[str, Any]:
        """Return the right ones of the values, by key; what is not in the file is not there."""
        found: dict[str, Any] = {}
        for key, inner in self._checked(dict, value, path, "a table").items():
            where = f"{path}.{key}" if path else key
            if key in schema:
                self._put(found, key, inner, schema[key], where)
                if key not in found and not callable(schema[key]):
                    self._hint(where, key, inner, schema)
            else:
                self.problems.append(f"{where}: unknown key{suggestion(key, schema)}")
        return found

    def _put(self, found: dict[str, Any], key: str, value: Any, kind: Kind, path: str) -> None:
        before = len(self.problems)
        result = self._value(value, kind, path)
        if len(self.problems) == before:
            found[key] = result

    def _hint(self, path: str, key: str, value: Any, schema: Mapping[str, Kind]) -> None:
        """Name the key like *key* that *value* fits, where it is no table or list for *key*."""
        if self.problems[-1].startswith(f"{path}: "):  # not of something in the value
            fitting = [each for each, kind in schema.items() if Reader().takes(value, kind)]
            self.problems[-1] += suggestion(key, fitting)

    def takes(self, value: Any, kind: Kind) -> bool:
        """Tell whether nothing is wrong with *value*, nor was with any before it."""
        self._value(value, kind, "")
        return not self.problems

    def _value(self, value: Any, kind: Kind, path: str) -> Any:
        if isinstance(kind, Mapping):
            return self.table(value, kind, path)
        if isinstance(kind, Named):
            return self._named(value, kind, path)
        if isinstance(kind, Each):
            items = self._checked(list, value, path, "a list")
            return tuple(
                self._value(item, kind.kind, f"{path}[{index}]")
                for index, item in enumerate(items, 1)
            )
        try:
            return kind(value)
        except ValueError as error:
            self.problems.append(f"{path}: {error}")
            return None

    def _named(self, value: Any, kind: Named, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, inner in self._checked(dict, value, path, "a table").items():
            if re.fullmatch(kind.pattern, name):
                self._put(found, name, inner, kind.kind, f"{path}.{name}")
            else:
                self.problems.append(f"{path}.{name}: the name must be {kind.wanted}")
        return found

    def _checked(self, kind: type[Any], value: Any, path: str, wanted: str) -> Any:
        if type(value) is kind:
            return value
        self.problems.append(f"{path}: must be {wanted}, not {shown(value)}")
        return kind()


def string(value: Any) -> str:
    """Take a string of one line."""
    if type(value) is not str:
        raise ValueError(f"must be a string, not {shown(value)}")
    if not value.isprintable():
        raise ValueError("must be one line without control characters")
    return value


def anything_named(value: Any) -> Mapping[str, Any]:
    """Take a table of whatever it holds."""
    if type(value) is not dict:
        raise ValueError(f"must be a table, not {shown(value)}")
    return value


def boolean(value: Any) -> bool:
    """Take true or false."""
    if type(value) is not bool:
        raise ValueError(f"must be true or false, not {shown(value)}")
    return value


def count(most: int) -> Leaf:
    """Take a whole number from 1 to *most*."""

    def check(value: Any) -> int:
        if type(value) is not int or not 1 <= value <= most:
            raise ValueError(f"must be a whole number from 1 to {most}, not {shown(value)}")
        return value

    return check


def choice(*choices: str) -> Leaf:
    """Take one of a few strings."""

    def check(value: Any) -> str:
        if value not in choices:
            hint = suggestion(str(value), choices)
            raise ValueError(f"{shown(value)} is not one of {', '.join(choices)}{hint}")
        return str(value)

    return check


def parsed(parse: Callable[[str], Any], example: str) -> Leaf:
    """Take a string that *parse* understands; it raises ValueError where it does not."""

    def check(value: Any) -> Any:
        if type(value) is not str:
            raise ValueError(f'must be a string like "{example}", not {shown(value)}')
        return parse(value)

    return check
