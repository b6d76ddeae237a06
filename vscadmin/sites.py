"""The plugin interface, and the one public API: what a site may change by code of its own.

A plugin is one Python file that says `from vscadmin.sites import SessionRequest, hookimpl` and
marks each of its hooks with `@hookimpl`. Every hook is optional, and a hook may leave out
arguments it does not need. proxy.toml names the plugins in order: of two that wrap, the later
wraps what the earlier one built; of two that set, the later wins. docs/site-plugins.md teaches
to write one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import pluggy

from vscadmin.errors import NotPermittedError, UsageError

__all__ = [
    "Forward",
    "NotPermittedError",
    "Options",
    "SessionRequest",
    "SiteSpec",
    "UsageError",
    "hookimpl",
]

PROJECT = "vscadmin"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Forward(NamedTuple):
    """A unix socket of the login node that the job can reach over the session's own channel."""

    variable: str
    """Environment variable that names the socket in the job, such as SSH_AUTH_SOCK."""
    socket: str
    """Absolute path on the login node."""


class Options(Protocol):
    """Takes the options that a plugin adds to the command line."""

    def add(
        self, *flags: str, name: str, meaning: str, metavar: str = "", repeatable: bool = False
    ) -> None:
        """Add an option that is spelled as one of *flags* and found as `request.options[name]`.

        With a *metavar* it takes a value: a string, or None where it is not given; a
        *repeatable* one gives a tuple of strings. Without a metavar it is a switch: a bool.
        *meaning* is what --help says of it.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """One session that a user asks for: what is known before it starts."""

    user: str
    uid: int
    home: str
    """From the passwd database, as the two above."""
    login_node: str
    """This machine's own name."""
    session: str
    """Eight hexadecimal digits; the job's comment names it."""
    environment: Mapping[str, str]
    """The login environment."""
    profile: str
    """Name of the profile in force, "" for none."""
    mode: str
    """"relay" or "direct"."""
    launcher: str
    """"salloc", "srun" or "shell"."""
    salloc_args: tuple[str, ...]
    """All arguments of salloc or srun, of plugins only those that were asked before."""
    slurm_options: Mapping[str, str]
    """The same, as Slurm understands them: {"partition": "devel", "x11": ""}."""
    user_options: Mapping[str, str]
    """Those of the command line alone."""
    options: Mapping[str, Any]
    """Values of the options that plugins added, by name."""
    settings: Mapping[str, Any]
    """The plugin's own table [plugin.NAME] of proxy.toml, defaults filled in."""


class SiteSpec(Protocol):
    """The hooks. All but the first three are asked once for every session, in this order."""

    @hookspec
    def options(self, options: Options) -> None:
        """Add options to the command line."""

    @hookspec
    def default_settings(self) -> Mapping[str, Any]:
        """Return every key that [plugin.NAME] may hold, with its default.

        A value in proxy.toml must be of the default's type: a string, a whole number, a
        boolean, a list of strings or a table of strings. Without this hook there are none.
        """

    @hookspec
    def settings_problems(self, settings: Mapping[str, Any]) -> Sequence[str]:
        """Say what is wrong with the settings, each as "key: what is wrong"."""

    @hookspec
    def salloc_arguments(self, request: SessionRequest) -> Sequence[str]:
        """Return arguments for salloc or srun; the user's own come after them, and win."""

    @hookspec
    def forced_arguments(self, request: SessionRequest) -> Sequence[str]:
        """Return arguments for salloc or srun that come after the user's own, and win."""

    @hookspec
    def refuse(self, request: SessionRequest) -> str | None:
        """Say in one line why this session must not start, or return None."""

    @hookspec
    def notes(self, request: SessionRequest) -> Sequence[str]:
        """Return lines for the user."""

    @hookspec
    def allocation_command(self, request: SessionRequest) -> Sequence[str] | None:
        """Return the command that runs what is appended to it on a compute node.

        Instead of salloc with a step, srun, or nothing; the last plugin that has one is taken.
        """

    @hookspec
    def wrap_launcher(self, request: SessionRequest, command: Sequence[str]) -> Sequence[str]:
        """Return *command*, what others built, wrapped in the site's own; its end stays its end."""

    @hookspec
    def wrap_shell(self, request: SessionRequest, command: Sequence[str]) -> Sequence[str]:
        """Return what starts the shell in the job; *command*, what others built, may be empty."""

    @hookspec
    def job_environment(self, request: SessionRequest) -> Mapping[str, str | None]:
        """Return variables to set in the job; None unsets. The user's own -e wins."""

    @hookspec
    def forwards(self, request: SessionRequest) -> Sequence[Forward]:
        """Return sockets of the login node that the job is to reach."""
