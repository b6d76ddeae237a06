"""The command line of vscode-shell-proxy: every flag of the existing proxy, and new ones."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, NoReturn

from vscadmin.errors import ConfigError, UsageError, suggestion
from vscadmin.proxy import flags, slurm_args

PROGRAM = "vscode-shell-proxy"

_ABOUT = """\
Run the server of your editor in a Slurm job, not on the login node.

Name this command as RemoteCommand of a host in the ssh configuration of your own machine, and
connect to that host with your editor:

    Host cluster
        HostName login.example.edu
        RemoteCommand vscode-shell-proxy -S --partition=devel -S --cpus-per-task=4 -S --time=4:00:00

The job ends when you close the window. `vscadmin ssh-config` prints a block like this one, and
the settings of the editor that it needs.
"""
_WORKGROUP = ("-g", "--group", "--workgroup")
_GREEDY = ("-S", "--salloc-arg", "--srun-arg")  # their values begin with a dash
_OF_SALLOC = ("-S", "--salloc-arg=", "--srun-arg=")  # what one of them begins with, in one word


class Asked(NamedTuple):
    """What the command line says; None or "" is what it does not."""

    help: bool
    version: bool
    list_profiles: bool
    explain: bool
    profile: str
    mode: str
    salloc_args: tuple[str, ...]
    environment: tuple[tuple[str, str | None], ...]
    """Names and values; None is to be copied from the login environment."""
    verbosity: int
    log_file: str
    tee: tuple[str, str, str]
    backlog: int | None
    byte_limit: int
    listen_host: str
    listen_port: int
    options: Mapping[str, Any]
    """Of plugins, by name."""


class Parser:
    """The parser, to which plugins may add before it is used."""

    def __init__(self) -> None:
        self._parser = _Arguments(
            prog=PROGRAM,
            usage=f"{PROGRAM} [options]",
            description=_ABOUT,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=False,
            allow_abbrev=False,
        )
        flags.add_usual(self._parser)
        flags.add_of_files(self._parser)
        self._rare = flags.add_rare(self._parser)
        self._site: argparse._ArgumentGroup | None = None
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()

    def site_options(self, plugin: str) -> _SiteOptions:
        """Return what takes the options of *plugin*."""
        if self._site is None:
            self._site = self._parser.add_argument_group("options of this site")
        return _SiteOptions(plugin, self._site, self._names, self._taken)

    def parse(self, argv: Sequence[str]) -> Asked:
        """Read the command line; raises UsageError with one line."""
        missing = [flag for flag in _WORKGROUP if flag not in self._taken]
        if missing:
            self._rare.add_argument(*missing, dest="no_workgroup", help=argparse.SUPPRESS)
        words = list(_joined(argv))
        found, unknown = self._parser.parse_known_args(words)
        if unknown:
            raise UsageError(_unknown(unknown, words, self._flags()))
        if missing and found.no_workgroup is not None:
            raise UsageError(
                f"{'/'.join(missing)}: this site has no workgroup plugin; leave it out"
            )
        return _asked(found, {name: getattr(found, f"site_{name}") for name in self._names})

    def log_file(self, argv: Sequence[str]) -> str:
        """Find -l in a command line that may hold options of a plugin that failed."""
        return self._found(argv, "log_file") or ""

    def config(self, argv: Sequence[str]) -> str:
        """Find --config in a command line that is read in earnest only after that file was."""
        return self._found(argv, "config") or ""

    def asks_for_help(self, argv: Sequence[str]) -> bool:
        """Find --help in a command line that may hold options of plugins that are not known."""
        return bool(self._found(argv, "help"))

    def _found(self, argv: Sequence[str], name: str) -> Any:
        try:
            found = self._parser.parse_known_args(list(_joined(argv)))[0]
        except UsageError:
            return None
        return getattr(found, name)

    def help(self) -> str:
        """Return the text of --help."""
        return self._parser.format_help()

    def _flags(self) -> list[str]:
        return [flag for flag in self._parser.flags() if flag.startswith("--")]


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message.removeprefix("argument "))

    def flags(self) -> Iterator[str]:
        for action in self._actions:
            if action.help is not argparse.SUPPRESS:
                yield from action.option_strings


class _SiteOptions:
    """Takes the options of one plugin: vscadmin.sites.Options."""

    def __init__(
        self, plugin: str, group: argparse._ArgumentGroup, names: dict[str, str], taken: set[str]
    ) -> None:
        self._plugin, self._group, self._names, self._taken = plugin, group, names, taken

    def add(
        self, *flags: str, name: str, meaning: str, metavar: str = "", repeatable: bool = False
    ) -> None:
        """Add an option; raises ConfigError where a flag or the name is taken."""
        if name in self._names:
            owner = self._names[name]
            raise ConfigError((f"plugin {self._plugin}: an option {name} is plugin {owner}'s",))
        how: dict[str, Any] = {"dest": f"site_{name}", "help": meaning.replace("%", "%%")}
        if not metavar:
            how["action"] = "store_true"
        else:
            how |= {"metavar": metavar, "action": "append" if repeatable else "store"}
            how["default"] = [] if repeatable else None
        try:
            self._group.add_argument(*flags, **how)
        except (argparse.ArgumentError, ValueError) as error:
            raise ConfigError((f"plugin {self._plugin}: {error}",)) from error
        self._names[name] = self._plugin
        self._taken.update(flags)


def _joined(argv: Sequence[str]) -> Iterator[str]:
    """Put the value of -S into its word: argparse takes `-S --time=1:00` for two options.

    Raises UsageError for "--": argparse would make an empty list of it.
    """
    words = iter(argv)
    for word in words:
        value = next(words, None) if word in _GREEDY else None
        if word == "--" or word.endswith("=--") or value == "--":
            raise UsageError(f'{word}: "--" means nothing here')
        yield word if value is None else f"--salloc-arg={value}"


def _unknown(unknown: Sequence[str], words: Sequence[str], flags: list[str]) -> str:
    """Say what is wrong with the first of the *unknown* among all *words*."""
    word, *others = unknown
    name = word.partition("=")[0]
    if name.startswith("--") and name[2:] in slurm_args.LONG:
        whole = slurm_args.joined(word, others[0]) if others else ""
        return f"{word}: is an option of Slurm's; write -S {whole or word}"
    if word.startswith("-"):
        return f"{word}: unknown option{suggestion(name, flags)}"
    lacking = (_of_salloc(before) for before, each in pairwise(words) if each == word)
    return stray(word, lacking) or (
        f"{word}: is no option; everything that is asked for begins with a dash"
    )


def stray(word: str, options: Iterable[str]) -> str:
    """Say how *word* is given to the one of salloc's *options* that lacks it; "" if none does."""
    whole = next(filter(None, (slurm_args.joined(each, word) for each in options)), "")
    return f"{word}: stands alone; write -S {whole}" if whole else ""


def _of_salloc(word: str) -> str:
    """Return the argument for salloc that *word* holds, "" for none."""
    found = (word.removeprefix(each) for each in _OF_SALLOC if word.startswith(each))
    return next(found, "")


def _asked(found: argparse.Namespace, options: Mapping[str, Any]) -> Asked:
    values = {name: getattr(found, name) for name in Asked._fields if hasattr(found, name)}
    values |= {
        "salloc_args": tuple(found.salloc_args),
        "environment": tuple(found.environment),
        "verbosity": found.verbose - found.quiet,
        "mode": found.mode or "",
        "log_file": found.log_file or "",
        "tee": tuple(path or "" for path in (found.tee_stdin, found.tee_stdout, found.tee_stderr)),
        "options": {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in options.items()
        },
    }
    return Asked(**values)
