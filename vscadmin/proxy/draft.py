"""What a session is to be, as it is put together: every choice with where it came from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from vscadmin.errors import ConfigError, UsageError, suggestion
from vscadmin.proxy import slurm_args
from vscadmin.proxy.arguments import PROGRAM, Asked
from vscadmin.proxy.launch import BOOT
from vscadmin.proxy.limits import excesses
from vscadmin.proxy.settings import Profile, ProxySettings
from vscadmin.proxy.slurm_args import Option, is_held_back

BUILT_IN = "built-in"
COMMAND_LINE = "command line"
_LOGIN = "login environment"

_SHELL = ("/bin/sh", "-c", BOOT)
_STEP = ("srun", "--interactive", "--preserve-env", "--unbuffered", "--mpi=none")
_SRUN = ("srun", "--overlap", "--unbuffered", "--mpi=none", "--nodes=1", "--ntasks=1")
"""Both were chosen by trial on Slurm 22.05: what the user's own srun inside gets, and no loss."""


class Setting(NamedTuple):
    """One choice, as --explain shows it."""

    name: str
    value: str
    source: str


class Group(NamedTuple):
    """Arguments of salloc or srun, all from one source."""

    source: str
    arguments: tuple[str, ...]


class Draft:
    """One session in the making; plugins contribute to it before it becomes a Launch."""

    def __init__(
        self, settings: ProxySettings, asked: Asked, environ: Mapping[str, str], pid: int
    ) -> None:
        """Raise UsageError where the command line names a profile that there is not."""
        self.settings, self.asked, self.pid = settings, asked, pid
        self.login = environ
        held_back = {name: text for name, text in environ.items() if is_held_back(name)}
        self.environ = {name: text for name, text in environ.items() if name not in held_back}
        self.session = os.urandom(4).hex()
        self.settled: list[Setting] = []
        self.profile_name = self._settle(
            "profile", (asked.profile, COMMAND_LINE), self.of_site("default_profile")
        )
        self.profile = self._profile()
        self.mode = self._settle(
            "mode", (asked.mode, COMMAND_LINE), self.of_profile("mode"), self.of_site("mode")
        )
        self.launcher = self._settle(
            "launcher", self.of_profile("launcher"), self.of_site("launcher")
        )
        self.from_plugins: list[Group] = []
        self.forced: list[Group] = []
        self.command: tuple[str, ...] = ()
        self.shell: tuple[str, ...] = ()
        self.environment: dict[str, tuple[str | None, str]] = {}  # value and source, by name
        self.set_environment(
            held_back, _LOGIN
        )  # the launcher must not see it, the user's shell may
        self.forwards: list[tuple[str, str, str]] = []  # variable, socket and source
        self.notes: list[str] = []

    def of_site(self, key: str) -> tuple[Any, str]:
        """Return what the site says of *key*, and where that is from."""
        settings = self.settings
        return getattr(settings, key), settings.source if key in settings.given else BUILT_IN

    def of_profile(self, key: str) -> tuple[Any, str]:
        """Return what the chosen profile says of *key*, and its name."""
        return getattr(self.profile, key), f"profile {self.profile_name}"

    def _settle(self, name: str, *choices: tuple[str, str]) -> str:
        """Take the first choice that says anything, and note where it is from."""
        value, source = next((each for each in choices if each[0]), ("", BUILT_IN))
        self.settled.append(Setting(name, value, source))
        return value

    def _profile(self) -> Profile:
        name, known = self.profile_name, self.settings.profile
        if not name:
            return Profile()
        if name not in known:
            there = f"; there are {', '.join(known)}" if known else "; this site has none"
            raise UsageError(f"--profile {name}: unknown{suggestion(name, known) or there}")
        return known[name]

    @property
    def label(self) -> tuple[str, ...]:
        """What makes the job findable; the user's own --job-name and --comment come later."""
        where = f"{os.uname().nodename}:{self.pid}"
        return (f"--job-name={PROGRAM}", f"--comment={PROGRAM} {self.session} {where}")

    @property
    def groups(self) -> tuple[Group, ...]:
        """All arguments of salloc or srun so far, in their order: the later wins."""
        of_site = Group(self.of_site("salloc_args")[1], self.settings.salloc_args)
        of_profile = Group(f"profile {self.profile_name}", self.profile.salloc_args)
        of_user = Group(COMMAND_LINE, self.asked.salloc_args)
        label = Group(BUILT_IN, self.label)
        groups = (label, of_site, of_profile, *self.from_plugins, of_user, *self.forced)
        return tuple(group for group in groups if group.arguments)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The same as one list."""
        return tuple(word for group in self.groups for word in group.arguments)

    def options(self) -> dict[str, Option]:
        """Return the options in force, by name.

        Raises UsageError or, where it was not the user, ConfigError for what cannot be run.
        """
        for group in self.groups:
            try:
                slurm_args.check(group.arguments)
            except ValueError as error:
                if group.source == COMMAND_LINE:
                    raise UsageError(f"-S {error}") from error
                raise ConfigError((f"{group.source}: {error}",)) from error
        return slurm_args.in_force(self.arguments)

    def check_limits(self) -> None:
        """Raise UsageError where more is asked for than the site allows, naming the first."""
        limits, options = self.settings.limits, self.options()
        if limits.modes and self.mode not in limits.modes:
            raise UsageError(f"--mode {self.mode}: allowed here: {', '.join(limits.modes)}")
        for excess in excesses(options, limits):
            source = self._source_of(excess.option)
            where = "-S" if source == COMMAND_LINE else f"{source}:"
            raise UsageError(f"{where} {excess.option.text}: allowed here: {excess.words}")

    def _source_of(self, option: Option) -> str:
        sources = [each.source for each in self.groups if option in slurm_args.read(each.arguments)]
        return sources[-1]

    def default_command(self) -> tuple[str, ...]:
        """Return the command where no plugin has one of its own."""
        if self.launcher == "salloc":
            return ("salloc", *self.arguments, *_STEP, *_SHELL)
        if self.launcher == "srun":
            return (*_SRUN, *self.arguments, *_SHELL)
        return _SHELL

    def check_tasks(self) -> None:
        """Raise UsageError where there would be a shell for each of several tasks."""
        asked = self.options().get("ntasks")
        if self.launcher == "srun" and asked and asked.value != "1":
            words = "srun would start a shell for each task; ask for --cpus-per-task"
            raise UsageError(f"{asked.text}: {words}")

    def set_command(self, command: Iterable[str], source: str) -> None:
        """Take a command that a plugin built; its launcher is the first word we know."""
        self.command = (*command, *_SHELL)
        known = [os.path.basename(word) for word in self.command]
        self.launcher = next((word for word in known if word in ("salloc", "srun")), "shell")
        if self.launcher == "salloc" and "srun" not in known:
            words = "salloc runs its command on the login node; end with srun --interactive"
            raise ConfigError((f"{source}: allocation_command: {words}",))
        self.settled = [each for each in self.settled if each.name != "launcher"]
        self.settled.append(Setting("launcher", self.launcher, source))

    def set_environment(self, values: Mapping[str, str | None], source: str) -> None:
        """Set variables in the job; what is set later wins."""
        self.environment |= {name: (value, source) for name, value in values.items()}

    def copy_environment(self) -> None:
        """Set what the user asks for with -e."""
        for name, value in self.asked.environment:
            taken = self.login.get(name) if value is None else value
            if taken is None:
                self.notes.append(f"-e {name}: is not set here, so the job does not get it")
            else:
                self.set_environment({name: taken}, COMMAND_LINE)
