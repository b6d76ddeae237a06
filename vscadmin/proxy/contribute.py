"""What the plugins of a site contribute to a session in the making."""

from __future__ import annotations

import os
import pwd
from types import MappingProxyType

from vscadmin.errors import ConfigError, NotPermittedError
from vscadmin.escape import printable
from vscadmin.proxy import slurm_args
from vscadmin.proxy.draft import Draft, Group
from vscadmin.proxy.hooks import Plugins
from vscadmin.proxy.launch import BOOT, DIRECT
from vscadmin.sites import SessionRequest


def arguments(draft: Draft, plugins: Plugins) -> None:
    """Add the plugins' arguments of salloc, before the user's own and after them."""
    for hook, groups in (
        ("salloc_arguments", draft.from_plugins),
        ("forced_arguments", draft.forced),
    ):
        for name, value in plugins.ask(hook, request(draft)):
            groups.append(Group(f"plugin {name}", tuple(value)))


def consent(draft: Draft, plugins: Plugins) -> None:
    """Raise NotPermittedError with the words of the first plugin that refuses."""
    for _, words in plugins.ask("refuse", request(draft)):
        raise NotPermittedError(printable(words))
    for _, lines in plugins.ask("notes", request(draft)):
        draft.notes += map(printable, lines)


def command(draft: Draft, plugins: Plugins) -> None:
    """Build the launcher's command and the shell's as the plugins want them."""
    own = plugins.last("allocation_command", request(draft))
    if own:
        draft.set_command(own.value, f"plugin {own.plugin}")
    for name, value in plugins.wrap("wrap_launcher", request(draft), draft.command):
        if list(value).count(BOOT) != 1 or value[-1] != BOOT:
            words = "must end with the command that it was given"
            raise ConfigError((f"plugin {name}: wrap_launcher: {words}",))
        draft.command = tuple(value)
    for _, value in plugins.wrap("wrap_shell", request(draft), ()):
        draft.shell = tuple(value)


def surroundings(draft: Draft, plugins: Plugins) -> None:
    """Add the plugins' variables and sockets."""
    for name, values in plugins.ask("job_environment", request(draft)):
        draft.set_environment(values, f"plugin {name}")
    for name, forwards in plugins.ask("forwards", request(draft)):
        if draft.mode == DIRECT:
            words = "is not set in the job: direct mode has no way back for it"
            draft.notes += [f"{each.variable} {words}" for each in forwards]
        else:
            draft.forwards += [(each.variable, each.socket, f"plugin {name}") for each in forwards]


def request(draft: Draft) -> SessionRequest:
    """Return what a plugin may know, as far as it is decided now."""
    uid = os.getuid()
    user, home = _account(uid, draft)
    in_force = {name: option.value for name, option in draft.options().items()}
    of_user = slurm_args.in_force(draft.asked.salloc_args)
    return SessionRequest(
        user=user,
        uid=uid,
        home=home,
        login_node=os.uname().nodename,
        session=draft.session,
        environment=MappingProxyType(dict(draft.login)),
        profile=draft.profile_name,
        mode=draft.mode,
        launcher=draft.launcher,
        salloc_args=draft.arguments,
        slurm_options=MappingProxyType(in_force),
        user_options=MappingProxyType({name: each.value for name, each in of_user.items()}),
        options=MappingProxyType(dict(draft.asked.options)),
        settings=MappingProxyType({}),
    )


def _account(uid: int, draft: Draft) -> tuple[str, str]:
    """Return name and home; where the name service does not know the uid, the environment's."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return draft.environ.get("USER", str(uid)), draft.environ.get("HOME", "/")
    return entry.pw_name, entry.pw_dir
