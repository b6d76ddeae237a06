"""proxy.toml for `vscadmin config` and doctor: read, checked with its plugins, printed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from vscadmin.cli.unprivileged import unprivileged
from vscadmin.errors import ConfigError
from vscadmin.proxy import hooks, site  # hooks: so that nobody need not be able to import it
from vscadmin.proxy.settings import VERSION, ProxySettings, parse
from vscadmin.trust import doubts
from vscadmin.units import format_exact_duration, format_exact_size

_OWN_LINES = frozenset({"source", "given"})  # not the file's
_KEEPS_EMPTY = frozenset({"plugin", "environment"})  # elsewhere "" says that a key is not set
_PRINTED: dict[str, Callable[[int], str]] = {
    "limits.time": format_exact_duration,
    "limits.memory": format_exact_size,
}


class LoadedProxy(NamedTuple):
    """The settings, the SHA-256 of the file in hex, and why sessions would refuse it."""

    settings: ProxySettings
    digest: str
    warnings: tuple[str, ...]


BUILT_IN_PROXY = LoadedProxy(ProxySettings(), "", ())
"""What holds where there is no proxy.toml."""


def load_proxy(path: str) -> LoadedProxy:
    """Read and check a proxy.toml; the plugins that it names are loaded, by root as nobody.

    Raises ConfigError with all that is wrong, a line each, or where there is no such file.
    """
    text = site.read(path)
    if text is None:
        raise ConfigError((f"{path}: No such file or directory",))
    settings = parse(text, path)
    found = doubts(path, site.owners())
    warnings = tuple(f"{each}: sessions would refuse this file" for each in found)
    if settings.plugins:
        looked = unprivileged(lambda: plugin_problems(text, path, ""))
        if looked.lines:
            raise ConfigError(looked.lines)
        warnings += (looked.problem,) if looked.problem else ()
    return LoadedProxy(settings, hashlib.sha256(text).hexdigest(), warnings)


def plugin_problems(text: bytes | None, path: str, command: str) -> tuple[str, ...]:
    """Load the plugins that *text* names, or those beside *command*; return what is wrong."""
    assert hooks  # noqa: S101 - imported by now
    try:
        site.load(text, path, command)
    except ConfigError as error:
        return error.problems
    return ()


def as_toml(settings: ProxySettings) -> str:
    """Print settings as a proxy.toml, every default filled in; what is not set is left out."""
    tables: dict[str, list[str]] = {"": [f"version = {VERSION}"]}
    for key, value in settings._asdict().items():
        if key not in _OWN_LINES:
            _put(tables, key, value)
    blocks = [
        "\n".join([f"[{name}]", *lines] if name else lines)
        for name, lines in tables.items()
        if lines or "." in name
    ]
    return "\n\n".join(blocks) + "\n"


def _put(tables: dict[str, list[str]], key: str, value: Any) -> None:
    if key == "relay_ports":
        value = "-".join(map(str, value)) if any(value) else ""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if key in ("profile", "plugin"):
        for name, inner in value.items():
            table = inner._asdict() if hasattr(inner, "_asdict") else inner
            tables[f"{key}.{_key(name)}"] = list(_lines(table, key))
    elif isinstance(value, Mapping):
        tables[key] = list(_lines(value, key))
    else:
        tables[""] += _lines({key: value}, "")


def _lines(values: Mapping[str, Any], table: str) -> Iterator[str]:
    for key, value in values.items():
        printed = _PRINTED.get(f"{table}.{key}")
        if value is not None and (value != "" or table in _KEEPS_EMPTY):
            yield f"{_key(key)} = {_value(printed(value) if printed else value)}"


def _key(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else _string(name)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        return _string(value)
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _string(text: str) -> str:
    """Quote *text* as TOML's basic string, which is JSON's but for one control character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
