"""Asking the plugins: each with its own settings, in the order of proxy.toml, and checked.

Whatever a plugin does wrong becomes one line that names it and the hook. What it prints goes
to stderr: stdout is the client's.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple

from vscadmin.errors import VscadminError, shown
from vscadmin.proxy import plugins
from vscadmin.proxy.plugins import PluginError, failure
from vscadmin.sites import Forward, Options, SessionRequest

AddsOption = Callable[[str], Options]
"""Returns, for the name of a plugin, what takes its options."""


class Answer(NamedTuple):
    """What one plugin returned from a hook."""

    plugin: str
    value: Any


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_text, value))


def _is_command(value: Any) -> bool:
    return _are_texts(value) and bool(value)


def _is_environment(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        _is_text(name) and name and "=" not in name and (text is None or _is_text(text))
        for name, text in value.items()
    )


def _are_forwards(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(each, Forward) and each.socket.startswith("/") for each in value
    )


_WANTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "default_settings": (lambda value: isinstance(value, Mapping), "a mapping"),
    "settings_problems": (_are_texts, "a list of strings"),
    "salloc_arguments": (_are_texts, "a list of strings"),
    "forced_arguments": (_are_texts, "a list of strings"),
    "refuse": (_is_text, "a string"),
    "notes": (_are_texts, "a list of strings"),
    "allocation_command": (_is_command, "a list of strings"),
    "wrap_launcher": (_is_command, "a list of strings"),
    "wrap_shell": (_are_texts, "a list of strings"),
    "job_environment": (_is_environment, "a mapping of names to strings or None"),
    "forwards": (_are_forwards, "a list of Forward(variable, absolute path)"),
}
_MUST_RETURN = frozenset({"default_settings", "wrap_launcher", "wrap_shell"})


class Plugins:
    """The plugins of a site, loaded and registered."""

    def __init__(self, modules: Mapping[str, ModuleType]) -> None:
        """Raise PluginError where one of *modules*, by name, does not fit the interface."""
        self._manager = plugins.register(modules)
        self._settings: dict[str, Mapping[str, Any]] = {name: {} for name in modules}

    def configure(self, tables: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Give every plugin its table of proxy.toml; return what is wrong in them, by key."""
        problems: list[str] = []
        defaults = {each.plugin: each.value for each in self._ask("default_settings")}
        for name in self._settings:
            found, wrong = plugins.settings_of(name, defaults.get(name, {}), tables.get(name, {}))
            self._settings[name] = found
            problems += wrong
        if not problems:
            for answer in self._ask("settings_problems"):
                problems += [f"plugin.{answer.plugin}.{words}" for words in answer.value]
        return problems

    def add_options(self, adder: AddsOption) -> None:
        """Let every plugin add its options to the command line."""
        for implementation in self._implementations("options"):
            self._call(implementation, options=adder(implementation.plugin_name))

    def ask(self, hook: str, request: SessionRequest) -> list[Answer]:
        """Return what each plugin returns from *hook*, None left out."""
        return list(self._ask(hook, request=request))

    def last(self, hook: str, request: SessionRequest) -> Answer | None:
        """Return the answer of the last plugin that has one."""
        answers = self.ask(hook, request)
        return answers[-1] if answers else None

    def wrap(self, hook: str, request: SessionRequest, command: Sequence[str]) -> list[Answer]:
        """Let each plugin wrap what those before it made of *command*."""
        return list(self._ask(hook, request=request, command=tuple(command)))

    def _implementations(self, hook: str) -> list[Any]:
        return list(getattr(self._manager.hook, hook).get_hookimpls())

    def _ask(self, hook: str, **given: Any) -> Iterator[Answer]:
        is_right, wanted = _WANTED[hook]
        for implementation in self._implementations(hook):
            name = implementation.plugin_name
            given["settings"] = self._settings[name]
            if "request" in given:
                given["request"] = replace(given["request"], settings=self._settings[name])
            value = self._call(implementation, **given)
            if value is None and hook not in _MUST_RETURN:
                continue
            if not is_right(value):
                raise PluginError(name, f"{hook}: must return {wanted}, not {shown(value)}")
            if "command" in given:
                given["command"] = tuple(value)
            yield Answer(name, value)

    def _call(self, implementation: Any, **given: Any) -> Any:
        arguments = [given[each] for each in implementation.argnames]
        try:
            with contextlib.redirect_stdout(sys.stderr):
                return implementation.function(*arguments)
        except VscadminError:
            raise
        except (Exception, SystemExit) as error:
            hook = implementation.function.__name__
            raise failure(implementation.plugin_name, hook, error) from error
