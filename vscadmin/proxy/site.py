"""What a site has decided: its proxy.toml and its plugins, or its one file beside the command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from vscadmin.errors import ConfigError, suggestion
from vscadmin.proxy.settings import DEFAULT, ProxySettings, parse
from vscadmin.trust import doubts

if TYPE_CHECKING:  # pluggy is imported only where there are plugins
    from types import ModuleType

    from vscadmin.proxy.hooks import Plugins

LOCAL = "local"  # the plugin name of the file beside the command
LOCAL_FILE = "vscode-shell-proxy-local.py"
PLUGIN_DIR = "site-plugins"  # beside proxy.toml


class Site(NamedTuple):
    """The settings of a site, and its plugins if there are any."""

    settings: ProxySettings
    plugins: Plugins | None


def read(path: str) -> bytes | None:
    """Return the bytes of a proxy.toml, or None where there is no such file.

    Raises ConfigError where it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError((f"{path}: {error.strerror}",)) from error


def believe(path: str) -> None:
    """Raise ConfigError where others could change the file: it says what users run."""
    if found := doubts(path, owners()):
        raise ConfigError(found)


def owners() -> frozenset[int]:
    """Return whose files are believed: root's and the installer's, by root itself root's."""
    if os.geteuid() == 0:
        return frozenset({0})
    return frozenset({0, os.stat(__file__).st_uid})


def load(text: bytes | None, path: str, invoked_as: str) -> Site:
    """Return the site that *text*, the file at *path*, describes.

    Raises ConfigError with all that is wrong, a line each. Only where there is no file the one
    beside the command is looked for.
    """
    if text is None:
        return Site(ProxySettings(), _local(invoked_as))
    settings = parse(text, path)
    if not settings.plugins:
        return Site(settings, None)
    return Site(settings, _named(settings))


def directories(settings: ProxySettings) -> tuple[str, ...]:
    """Return where the plugins are looked for, in order.

    A file that is checked before it is installed has no plugins beside it: there it is those
    of the installed one.
    """
    if settings.plugin_dirs:
        return settings.plugin_dirs
    files = (os.path.abspath(settings.source or DEFAULT), DEFAULT)
    beside = [os.path.join(os.path.dirname(file), PLUGIN_DIR) for file in files]
    return beside[0] if os.path.isdir(beside[0]) else beside[1], installed_dir()


def installed_dir() -> str:
    """Return where the plugins are that come with vscadmin: in the package, or a checkout."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    inside = os.path.join(package, PLUGIN_DIR)
    return inside if os.path.isdir(inside) else os.path.join(os.path.dirname(package), PLUGIN_DIR)


def local_files(invoked_as: str) -> tuple[str, ...]:
    """Return where the site's own file may be: beside the command as called, and its target.

    None where the command was called by a relative path: that would be the working directory.
    """
    if not os.path.isabs(invoked_as):
        return ()
    beside = (invoked_as, os.path.realpath(invoked_as))
    return tuple(os.path.join(os.path.dirname(each), LOCAL_FILE) for each in beside)


def _named(settings: ProxySettings) -> Plugins:
    from vscadmin.proxy import plugins  # noqa: PLC0415 - brings pluggy

    where = directories(settings)
    modules: dict[str, ModuleType] = {}
    wrong: list[ConfigError] = []
    for name in settings.plugins:
        try:
            paths = [os.path.join(each, f"{name}.py") for each in where]
            found = plugins.find(paths, owners())
            if found is None:
                hint = suggestion(name, plugins.known(where))
                words = f"plugins: there is no {name}.py in {' or '.join(where)}{hint}"
                raise ConfigError((f"{settings.source}: {words}",))
            modules[name] = plugins.load(name, *found)
        except ConfigError as error:
            wrong.append(error)
    if len(wrong) == 1:
        raise wrong[0]  # with its trace, if it has one
    if wrong:
        raise ConfigError(tuple(problem for error in wrong for problem in error.problems))
    return _configured(modules, settings.plugin, settings.source)


def _local(invoked_as: str) -> Plugins | None:
    paths = local_files(invoked_as)
    if not any(map(os.path.lexists, paths)):
        return None
    from vscadmin.proxy import plugins  # noqa: PLC0415 - brings pluggy

    found = plugins.find(paths, owners())
    if found is None:
        return None
    return _configured({LOCAL: plugins.load(LOCAL, *found)}, {}, found[0])


def _configured(
    modules: Mapping[str, ModuleType], tables: Mapping[str, Mapping[str, object]], source: str
) -> Plugins:
    from vscadmin.proxy.hooks import Plugins  # noqa: PLC0415 - brings pluggy

    plugins = Plugins(modules)
    problems = plugins.configure(tables)
    if problems:
        raise ConfigError(tuple(f"{source}: {each}" for each in problems))
    return plugins
