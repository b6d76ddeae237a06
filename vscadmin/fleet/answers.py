"""What a node's answer is worth: the JSON document that was asked for, or why it is none. Pure.

Other machines write it, one of them may be broken or hostile: the schema is checked before
anything else, what is used of it has its type, and every text is made harmless.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vscadmin.errors import Exit
from vscadmin.escape import LONGEST_LINE, printable

SCHEMA = 1
_LONGEST_KEY = 64  # characters
_DEEPEST = 12  # levels of a document; ours has six
_USEFUL = (Exit.DONE, Exit.INCOMPLETE)


class Outcome(StrEnum):
    """How asking a node went."""

    ANSWERED = "answered"
    SILENT = "silent"
    FAILED = "failed"
    OTHER_SCHEMA = "other-schema"
    UNUSABLE = "unusable"
    TWICE = "twice"


@dataclass(frozen=True, slots=True)
class Heard:
    """What one node said.

    *document* is empty unless the outcome is ANSWERED. *words* say what is wrong, and are
    empty where nothing is. *code* is the command's exit status there, None where none came.
    """

    node: str
    outcome: Outcome
    words: str = ""
    code: int | None = None
    document: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether the node answered, and nothing was missing in what it said."""
        return self.outcome is Outcome.ANSWERED and not self.words


class UnusableError(ValueError):
    """A document that is not what its kind says."""


def document(data: bytes, kind: str) -> dict[str, Any]:
    """Return the document of *kind* in *data*, harmless; raises UnusableError.

    Raises SchemaError where it is of another schema than ours.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnusableError("what it said is no JSON") from error
    if not isinstance(found, dict) or "schema" not in found:
        raise UnusableError("what it said is no document of vscadmin")
    schema = found["schema"]
    if type(schema) is not int or schema != SCHEMA:
        said = printable(str(schema), 20)
        raise SchemaError(f"its JSON has schema {said}, ours {SCHEMA}: another vscadmin")
    if found.get("kind") != kind:
        raise UnusableError(f"it answered with another document than {kind}")
    harmless = _harmless(found, _DEEPEST)
    assert isinstance(harmless, dict)  # noqa: S101 - for the type checker: it was one
    return harmless


class SchemaError(UnusableError):
    """Another version's document."""


def _harmless(value: Any, depth: int) -> Any:
    """Return *value* with every text escaped and cut, keys included."""
    if isinstance(value, str):
        return _text(value, LONGEST_LINE)
    if isinstance(value, float) and not math.isfinite(value):
        raise UnusableError("it names a number that is none")
    if depth == 0:
        raise UnusableError("it is nested too deep")
    if isinstance(value, list):
        return [_harmless(each, depth - 1) for each in value]
    if isinstance(value, dict):
        return {_text(key, _LONGEST_KEY): _harmless(each, depth - 1) for key, each in value.items()}
    return value


def _text(text: str, limit: int) -> str:
    """Return *text* harmless; nearly all are already, and a fleet says millions."""
    if len(text) <= limit and text.isascii() and text.isprintable():
        return text
    return printable(text, limit)


def must(table: Any, keys: Mapping[str, tuple[type, ...]], what: str) -> None:
    """Raise UnusableError unless *table* is an object in which *keys* have these types."""
    if not isinstance(table, dict):
        raise UnusableError(f"{what}: is no object")
    for key, kinds in keys.items():
        if key not in table:
            raise UnusableError(f"{what}.{key}: is missing")
        if type(table[key]) not in kinds:
            raise UnusableError(f"{what}.{key}: has the wrong type")


def is_useful(code: int | None) -> bool:
    """Whether a document comes with this exit status of `report`."""
    return code in _USEFUL
