"""proxy.toml: what a site decides for all its users' sessions; all errors at once, by key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from vscadmin.errors import ConfigError, suggestion
from vscadmin.proxy import slurm_args
from vscadmin.proxy.launch import DIRECT, RELAY
from vscadmin.proxy.limits import Limits, excesses
from vscadmin.proxy.schema import (
    Each,
    Named,
    Reader,
    anything_named,
    boolean,
    choice,
    count,
    parsed,
    string,
)
from vscadmin.units import parse_duration, parse_size

if TYPE_CHECKING:
    from vscadmin.proxy.schema import Kind

DEFAULT = "/etc/vscadmin/proxy.toml"
VERSION = 1  # of the file's schema
NOBODY_NAMED = "your administrators"

MODES = (RELAY, DIRECT)
LAUNCHERS = ("salloc", "srun", "shell")
VARIABLE = "[A-Za-z_][A-Za-z0-9_]*"
PLUGIN = "[a-z][a-z0-9_]*"

_MOST = 10**6  # of anything that is counted: no site has more, a typing error may
_LONGEST_BACKLOG = 65535  # net.core.somaxconn is rarely more, and listen() takes the smaller


class Profile(NamedTuple):
    """A set of choices that users name with --profile; "" leaves what would be without it."""

    description: str = ""
    salloc_args: tuple[str, ...] = ()
    mode: str = ""
    launcher: str = ""
    environment: Mapping[str, str] = {}


class ProxySettings(NamedTuple):
    """Everything that a proxy.toml says; the defaults are what holds without one."""

    source: str = ""  # path of the file, "" where there is none
    contact: str = NOBODY_NAMED
    mode: str = RELAY
    launcher: str = "salloc"
    salloc_args: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    plugins: tuple[str, ...] = ()
    plugin_dirs: tuple[str, ...] = ()
    plugin: Mapping[str, Mapping[str, Any]] = {}
    default_profile: str = ""
    profile: Mapping[str, Profile] = {}
    limits: Limits = Limits()
    relay_address: str = ""
    relay_ports: tuple[int, int] = (0, 0)
    python: tuple[str, ...] = ()
    allow_direct: bool = False
    direct_bind: str = "node"
    listen_backlog: int = 1024
    given: frozenset[str] = frozenset()  # the keys that the file sets


def _ports(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", text)
    if match:
        first, last = int(match[1]), int(match[2])
        if 1024 <= first <= last <= 65535:
            return first, last
    raise ValueError(f'"{text}" is no range of ports from 1024 to 65535; write "50000-51000"')


def _address(text: str) -> str:
    import socket  # noqa: PLC0415 - only for the rare site that names one

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            packed = socket.inet_pton(family, text)
        except OSError:
            continue
        if any(packed):
            return text
    raise ValueError(f'"{text}" is no address of one interface; write it as "10.1.0.4"')


def _absolute(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f'"{text}" must be an absolute path')
    return text


def _argument(text: str) -> str:
    """Take one argument of salloc; with a value in the same word, as they may be put together."""
    option = next(slurm_args.read([text]))
    if reason := slurm_args.REFUSED.get(option.name):
        raise ValueError(f"{text}: {reason}")
    return text


def _someone(value: Any) -> str:
    text = string(value)
    if not text:
        raise ValueError('must say whom users ask ("hpc-help@example.edu")')
    return text


_arguments = Each(parsed(_argument, "--partition=devel"))
_absolute_path = Each(parsed(_absolute, "/usr/bin/python3"))
_variables = Named(string, VARIABLE, "a variable's: letters, digits and _")
_number = count(_MOST)
_profile: dict[str, Kind] = {
    "description": string,
    "salloc_args": _arguments,
    "mode": choice(*MODES),
    "launcher": choice(*LAUNCHERS),
    "environment": _variables,
}
_limits: dict[str, Kind] = {
    "time": parsed(parse_duration, "8h"),
    "nodes": _number,
    "cpus": _number,
    "gpus": count(_MOST),
    "memory": parsed(parse_size, "64GiB"),
    "partitions": Each(string),
    "accounts": Each(string),
    "qos": Each(string),
    "modes": Each(choice(*MODES)),
}
SCHEMA: dict[str, Kind] = {
    "contact": _someone,
    "mode": choice(*MODES),
    "launcher": choice(*LAUNCHERS),
    "salloc_args": _arguments,
    "environment": _variables,
    "plugins": Each(parsed(str, "workgroup")),
    "plugin_dirs": _absolute_path,
    "plugin": Named(anything_named, PLUGIN, "a plugin's: small letters, digits and _"),
    "default_profile": string,
    "profile": Named(_profile, "[A-Za-z0-9][A-Za-z0-9._-]*", "letters, digits and . _ -"),
    "limits": _limits,
    "relay_address": parsed(_address, "10.1.0.4"),
    "relay_ports": parsed(_ports, "50000-51000"),
    "python": _absolute_path,
    "allow_direct": boolean,
    "direct_bind": choice("node", "any"),
    "listen_backlog": count(_LONGEST_BACKLOG),
}


def parse(text: bytes, source: str) -> ProxySettings:
    """Read a proxy.toml; *source* names it in errors.

    Raises ConfigError with every problem, a line each, in the form `file: key: what is wrong`.
    """
    import tomllib  # noqa: PLC0415 - 10 ms that a site without a file does not pay

    try:
        data = tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError((f"{source}: is no TOML: {error}",)) from error
    reader = Reader()
    version = data.pop("version", None)
    if version != VERSION or type(version) is not int:
        reader.problems.append(f"version: must be {VERSION}")
    found = reader.table(data, SCHEMA)
    given = frozenset(found)
    if "profile" in found:
        found["profile"] = {name: Profile(**each) for name, each in found["profile"].items()}
    if "limits" in found:
        found["limits"] = Limits(**found["limits"])
    settings = ProxySettings(source, given=given, **found)
    problems = reader.problems + _contradictions(settings, frozenset(data))
    if problems:
        raise ConfigError(tuple(f"{source}: {problem}" for problem in problems))
    return settings


def _contradictions(settings: ProxySettings, written: frozenset[str]) -> list[str]:
    """Return what single keys cannot say; a key that is wrong itself is not asked again."""
    problems = []
    wrong = written - settings.given
    chosen = settings.default_profile
    if chosen and chosen not in settings.profile and "profile" not in wrong:
        hint = suggestion(chosen, settings.profile)
        problems.append(f"default_profile: there is no [profile.{chosen}]{hint}")
    for index, name in enumerate(settings.plugins, 1):
        if not re.fullmatch(PLUGIN, name):
            problems.append(f'plugins[{index}]: "{name}" is no name: small letters, digits and _')
        if name in settings.plugins[: index - 1]:
            problems.append(f'plugins[{index}]: "{name}" stands twice')
    for name, profile in {"": Profile(), **settings.profile}.items():
        where = f"profile.{name}.salloc_args" if name else "salloc_args"
        asked = slurm_args.in_force((*settings.salloc_args, *profile.salloc_args))
        found = excesses(asked, settings.limits)
        problems += [f"{where}: {each.option.text}: limits allow {each.words}" for each in found]
    if "plugins" not in wrong:
        problems += [
            f"plugin.{name}: is not in plugins{suggestion(name, settings.plugins)}"
            for name in settings.plugin
            if name not in settings.plugins
        ]
    return problems


def contact_in(text: bytes) -> str:
    """Find whom to ask in a file that may be wrong in every other way."""
    match = re.search(rb"""^[ \t]*contact[ \t]*=[ \t]*(["'])(.+?)\1""", text, re.MULTILINE)
    from vscadmin.escape import printable  # noqa: PLC0415 - a table of its own to build

    return printable(match[2]) if match else NOBODY_NAMED
