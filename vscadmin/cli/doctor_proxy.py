"""What stands between this machine and a session of vscode-shell-proxy."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from importlib import import_module

from vscadmin.cli.checks import Check, Grade
from vscadmin.cli.proxy_config import BUILT_IN_PROXY, LoadedProxy, load_proxy, plugin_problems
from vscadmin.cli.unprivileged import Looked, unprivileged
from vscadmin.errors import ConfigError, Exit
from vscadmin.proxy import site
from vscadmin.proxy.arguments import PROGRAM
from vscadmin.proxy.listener import listen
from vscadmin.proxy.owner import Owners
from vscadmin.proxy.settings import DEFAULT, ProxySettings
from vscadmin.trust import doubts

PROXY_FILE = DEFAULT
_PATIENCE = 3.0  # s, for a connection to ourselves


def checks() -> Iterator[Check]:
    """Yield what was found; no plugin is imported with root's rights."""
    command = shutil.which(PROGRAM)
    is_there = os.path.lexists(PROXY_FILE)
    is_used = is_there or command is not None
    try:
        loaded = load_proxy(PROXY_FILE) if is_there else BUILT_IN_PROXY
    except ConfigError as error:
        for problem in error.problems:
            yield Check("proxy", Grade.FAIL, problem, error.exit_code)
    else:
        yield from _settings(loaded)
        yield from _plugins(loaded.settings, command or "")
        yield _launcher(loaded.settings, is_used)
    yield _command(command, is_used)
    yield _ctypes(is_used)
    yield _sock_diag(is_used)


def _settings(loaded: LoadedProxy) -> Iterator[Check]:
    for warning in loaded.warnings:
        yield Check("proxy", Grade.FAIL, warning, Exit.BAD_CONFIGURATION)
    if not loaded.settings.source:
        yield Check("proxy", Grade.OK, f"the built-in settings: there is no {PROXY_FILE}")
        return
    profiles = ", ".join(loaded.settings.profile) or "none"
    yield Check("proxy", Grade.OK, f"{PROXY_FILE} is valid; profiles: {profiles}")


def _plugins(settings: ProxySettings, command: str) -> Iterator[Check]:
    beside = next(filter(os.path.lexists, site.local_files(command)), "")
    if settings.source:
        if beside:
            words = f"{beside}: is not used, as there is {settings.source}"
            yield Check("site plugins", Grade.WARN, words)
        names = ", ".join(settings.plugins) or "none"
        yield Check("site plugins", Grade.OK, names)
        return
    looked = (
        unprivileged(lambda: plugin_problems(None, PROXY_FILE, command)) if beside else Looked()
    )
    for problem in looked.lines:
        yield Check("site plugins", Grade.FAIL, problem, Exit.BAD_CONFIGURATION)
    if looked.problem:
        yield Check("site plugins", Grade.WARN, looked.problem)
    if not looked.lines:
        yield Check("site plugins", Grade.OK, beside or "none")


def _launcher(settings: ProxySettings, is_used: bool) -> Check:
    if settings.launcher == "shell":
        return Check("launcher", Grade.OK, "a plain shell on this machine, no job")
    wanted = {"salloc": ("salloc", "srun"), "srun": ("srun",)}[settings.launcher]
    missing = [name for name in (*wanted, "squeue") if shutil.which(name) is None]
    if missing:
        words = f"{', '.join(missing)}: not found in PATH, so no session can get a job"
        return Check("launcher", Grade.WARN if is_used else Grade.OK, words)
    return Check("launcher", Grade.OK, settings.launcher)


def _command(command: str | None, is_used: bool) -> Check:
    """Look for the command as RemoteCommand does, and who could change it."""
    if command is None and not is_used:
        return Check("proxy command", Grade.OK, f"{PROGRAM} is not in PATH: not used here")
    if command is None:
        words = f"{PROGRAM} is not in PATH: link it into a directory that sshd gives to users"
        return Check("proxy command", Grade.WARN, words)
    if found := doubts(command, site.owners()):
        return Check("proxy command", Grade.WARN, found[0])
    target = os.path.realpath(command)
    where = command if target == command else f"{command}, which is {target}"
    return Check("proxy command", Grade.OK, where)


def _ctypes(is_used: bool) -> Check:
    """Import what a launcher is tied to its session with."""
    try:
        import_module("ctypes")
    except ImportError as error:
        words = f"{sys.executable}: {error}; no session can get a job"
        return Check("ctypes", Grade.WARN if is_used else Grade.OK, words)
    return Check("ctypes", Grade.OK, "can be imported")


def _sock_diag(is_used: bool) -> Check:
    """Connect to ourselves and ask the kernel who that is, as sessions do of each connection."""
    owners = Owners()
    try:
        with (
            listen("127.0.0.1", 0, 1) as listener,
            socket.create_connection(listener.getsockname(), _PATIENCE),
            listener.accept()[0] as accepted,
        ):
            found = owners.uid_of_peer(accepted)
    except OSError as error:
        words = f"127.0.0.1: {error.strerror or error}; the editor cannot connect"
        return Check("sock_diag", Grade.WARN if is_used else Grade.OK, words)
    finally:
        owners.close()
    if found != os.geteuid():
        words = "the kernel does not tell whose a connection is (tcp_diag): sessions refuse all"
        return Check("sock_diag", Grade.WARN if is_used else Grade.OK, words)
    return Check("sock_diag", Grade.OK, "tells whose a connection is")
