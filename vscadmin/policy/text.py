"""A policy as policy.toml spells it; reading it back gives the same policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from datetime import date
from typing import Any, get_args, get_type_hints

from vscadmin.policy.quiet import QuietHours
from vscadmin.policy.settings import SPELLED, Bytes, Percent, Policy, Seconds
from vscadmin.units import format_exact_duration, format_exact_size

_UNITS: dict[Any, Callable[[int], str]] = {
    Seconds: format_exact_duration,
    Bytes: format_exact_size,
    Percent: lambda percent: f"{percent}%",
}


def as_toml(policy: Policy) -> str:
    """Return *policy* as a whole policy.toml, every default filled in."""
    return "\n".join(["version = 1", *_table(policy, "")]) + "\n"


def _table(table: Any, path: str) -> Iterator[str]:
    """Yield the plain keys of a dataclass first, its tables after them, as TOML wants it."""
    hints = get_type_hints(type(table))
    later = []
    for each in fields(table):
        name, value = SPELLED.get(each.name, each.name), getattr(table, each.name)
        inner = f"{path}.{name}" if path else name
        if value is None:
            continue
        if is_dataclass(value) and name != "when":
            later += ["", f"[{inner}]", *_table(value, inner)]
        elif isinstance(value, tuple) and value and _is_table(value[0]):
            for item in value:
                later += ["", f"[[{inner}]]", *_table(item, inner)]
        elif name not in ("rule", "exempt"):
            yield f"{name} = {_value(value, hints[each.name])}"
    yield from later


def _is_table(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, QuietHours)


def _value(value: Any, hint: Any) -> str:
    for unit, spell in _UNITS.items():
        if hint is unit or unit in get_args(hint):
            return _string(spell(value))
    if isinstance(value, tuple):
        return f"[{', '.join(_value(each, None) for each in value)}]"
    if is_dataclass(value) and not isinstance(value, QuietHours):
        return _inline(value)
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | date):
        return str(value)
    return _string(value.text if isinstance(value, QuietHours) else str(value))


def _inline(table: Any) -> str:
    hints = get_type_hints(type(table))
    pairs = (
        f"{SPELLED.get(each.name, each.name)} = {_value(value, hints[each.name])}"
        for each in fields(table)
        if (value := getattr(table, each.name)) is not None
    )
    return f"{{ {', '.join(pairs)} }}"


def _string(text: str) -> str:
    """Return a TOML basic string: quotes, backslashes and controls escaped (toml.io, 1.0)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(_control(each) for each in escaped) + '"'


def _control(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x20 or code == 0x7F else character
