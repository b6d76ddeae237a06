"""Finding, checking and loading site plugins. Imported only where a site has any.

A plugin decides what users run, so only files that nobody else can change are loaded: owned
by root or by whoever installed this program (as root: by root alone), not writable by group
or others, nor any directory above them. Nothing is looked up in the working directory, in a
home or by the environment.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from vscadmin import sites
from vscadmin.errors import ConfigError, shown, suggestion
from vscadmin.escape import printable
from vscadmin.proxy.schema import Each, Named, Reader, boolean, string
from vscadmin.trust import open_trusted

if TYPE_CHECKING:
    from vscadmin.proxy.schema import Kind

HOOKS = frozenset(
    name for name, each in vars(sites.SiteSpec).items() if hasattr(each, "vscadmin_spec")
)

_ALIKE = 0.85  # how like a hook's name an unmarked function may be called, by difflib
_MOST_BYTES = 1 << 20  # of a plugin's source


class PluginError(ConfigError):
    """A plugin is wrong or failed; *trace* is what happened, for a log file."""

    def __init__(self, plugin: str, *problems: str, trace: str = "") -> None:
        super().__init__(tuple(f"plugin {plugin}: {printable(each)}" for each in problems))
        self.trace = trace


def failure(plugin: str, where: str, error: BaseException) -> PluginError:
    """Put what a plugin raised in a line, and its traceback aside."""
    words = f"called sys.exit({error})" if isinstance(error, SystemExit) else _words(error)
    trace = "".join(traceback.format_exception(error))
    return PluginError(plugin, f"{where}: {words}", trace=trace)


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def find(paths: Iterable[str], owners: frozenset[int]) -> tuple[str, int] | None:
    """Open the first of *paths* that is there; return it with its descriptor.

    Raises ConfigError where that one may not be trusted.
    """
    for path in paths:
        try:
            return path, open_trusted(path, owners)
        except FileNotFoundError:
            continue
    return None


def known(directories: Iterable[str]) -> set[str]:
    """Return the names of all plugins in *directories*."""
    found: set[str] = set()
    for directory in directories:
        try:
            found |= {each[:-3] for each in os.listdir(directory) if each.endswith(".py")}
        except OSError:
            continue
    return found


def load(name: str, path: str, fd: int) -> ModuleType:
    """Run the source that *fd* is open on, and return it as a module; closes *fd*.

    Raises PluginError where it is no Python, fails, or defines what looks like a hook and is
    none.
    """
    with open(fd, "rb") as file:
        source = file.read(_MOST_BYTES)
    module = ModuleType(f"vscadmin_site_{name}")
    module.__file__ = path
    sys.modules[module.__name__] = module  # as dataclasses and pickle expect
    try:
        code = compile(source, path, "exec", dont_inherit=True)
        with contextlib.redirect_stdout(sys.stderr):  # stdout is the client's
            exec(code, module.__dict__)  # noqa: S102 - that is what a plugin is
    except SyntaxError as error:
        raise PluginError(name, f"{path}, line {error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise failure(name, path, error) from error
    if problems := list(_misspelt(module)) or _without_hooks(module):
        raise PluginError(name, *(f"{path}: {each}" for each in problems))
    return module


def _misspelt(module: ModuleType) -> Iterator[str]:
    """Say which functions were meant as hooks and are none, each once."""
    for name, each in vars(module).items():
        how = _marking(each)
        if how is None:
            if name[0] != "_" and _is_of(module, each) and _alike(name):
                hint = "" if name in HOOKS else suggestion(name, HOOKS)
                yield f"{name}: is not marked with @hookimpl{hint}"
        elif (hook := how.get("specname") or name) not in HOOKS:
            yield f"there is no hook {hook}{suggestion(hook, HOOKS)}"
        elif how.get("wrapper") or how.get("hookwrapper"):
            yield f"{name}: hooks that wrap others are not supported; return the whole result"


def _without_hooks(module: ModuleType) -> list[str]:
    if any(_marking(each) is not None for each in vars(module).values()):
        return []
    return ["has no hook; mark its functions with @hookimpl"]


def _marking(value: Any) -> dict[str, Any] | None:
    """Return how @hookimpl marked *value*, None where it did not."""
    how = getattr(value, "vscadmin_impl", None)
    return how if isinstance(how, dict) else None


def _alike(name: str) -> bool:
    return bool(get_close_matches(name, HOOKS, 1, _ALIKE))


def _is_of(module: ModuleType, value: Any) -> bool:
    return callable(value) and getattr(value, "__module__", "") == module.__name__


def register(modules: Mapping[str, ModuleType]) -> pluggy.PluginManager:
    """Hand the plugins to pluggy, in their order; raises PluginError for a wrong parameter."""
    manager = pluggy.PluginManager(sites.PROJECT)
    manager.add_hookspecs(sites.SiteSpec)
    for name, module in modules.items():
        try:
            manager.register(module, name)
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(name, _words(error)) from error
    return manager


def settings_of(
    name: str, defaults: Mapping[str, Any], given: Mapping[str, Any]
) -> tuple[Mapping[str, Any], list[str]]:
    """Return the settings of a plugin, and what is wrong with those given, by key."""
    reader = Reader()
    schema = {key: _kind_of(name, key, default) for key, default in defaults.items()}
    found = reader.table(given, schema, f"plugin.{name}")
    return MappingProxyType({**defaults, **found}), reader.problems


def _kind_of(plugin: str, key: str, default: Any) -> Kind:
    kinds: dict[type[Any], Kind] = {
        str: string, bool: boolean, int: _whole, list: Each(string), tuple: Each(string),
        dict: Named(string, ".+", "a name"),
    }  # fmt: skip
    if type(default) not in kinds:
        words = f"default_settings: {key}: {shown(default)} is of no type that TOML can hold here"
        raise PluginError(plugin, words)
    return kinds[type(default)]


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"must be a whole number, not {shown(value)}")
    return value
