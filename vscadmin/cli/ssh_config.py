"""`vscadmin ssh-config`: what a laptop needs to work in a job, ready to be pasted."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import click

from vscadmin.cli import as_json as js
from vscadmin.cli import options
from vscadmin.cli.unprivileged import unprivileged
from vscadmin.errors import ConfigError, NotPermittedError, UsageError
from vscadmin.escape import printable
from vscadmin.proxy import hosts, site, slurm_args
from vscadmin.proxy.arguments import stray
from vscadmin.proxy.prepare import Said, decide
from vscadmin.proxy.settings import DEFAULT, ProxySettings, parse

_LONGEST = 1000  # characters of what the proxy says; it names a value, which may be long
QUEUE = "5m"  # what an editor waits for a job by default: its own 15 s end before the queue does


@click.command("ssh-config")
@click.option("--alias", metavar="NAME", help="Name to connect to; default HOST-job.")
@click.option("--host-name", metavar="HOST", help="Login node as laptops know it.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of its sshd, if not 22.")
@click.option("--user", metavar="NAME", help="User name there; default yours, none for root.")
@click.option("--proxy-jump", metavar="HOST", help="Host to go through: [USER@]HOST[:PORT].")
@click.option("--profile", metavar="NAME", help="Profile of the site's proxy.toml.")
@click.option("-S", "--salloc-arg", multiple=True, metavar="ARG", help="Argument for salloc.")
@click.option("-g", "--group", metavar="NAME", help="Workgroup, where the site has them.")
@click.option("--x11", is_flag=True, help="Show windows of the job's programs on the laptop.")
@click.option("--forward-agent", is_flag=True, help="Let the job use the laptop's ssh agent.")
@click.option("--control-master", is_flag=True, help="One login for all windows.")
@click.option(
    "--local-forward", multiple=True, metavar="PORT:HOST:PORT", help="Port of the laptop, as -L."
)
@click.option(
    "--connect-timeout",
    type=options.Duration(),
    default=QUEUE,
    show_default=True,
    metavar="TIME",
    help="How long the editor waits, the queue included.",
)
@click.option("--config-file", metavar="FILE", help="Own ssh configuration for the editor.")
@click.option("--only", type=click.Choice(["block", "settings"]), help="Print that alone.")
@options.as_json
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(only: str | None, as_json: bool, **asked: Any) -> int:
    """Print the Host block and the editor's settings for working in a Slurm job.

    They go onto your own computer; nothing is changed here. Further arguments of
    vscode-shell-proxy stand behind "--".
    """
    host = _host(asked)
    config_file = asked["config_file"]
    block = hosts.render(host, own_file=config_file is not None)
    settings = hosts.settings(host, asked["connect_timeout"], config_file)
    if as_json:
        js.emit("ssh-config", _facts(host, block, settings))
    elif only is not None:
        click.echo(block if only == "block" else _fragment(settings), nl=only != "block")
    else:
        hints = _hints(host, config_file, is_guess=asked["host_name"] is None)
        click.echo(_page(host, block, settings, config_file, hints))
    return 0


def _host(asked: Mapping[str, Any]) -> hosts.Host:
    """Return the host that was asked for; the rest is known from where and by whom we run."""
    host_name = asked["host_name"] or _this_node()
    return hosts.Host(
        alias=asked["alias"] or f"{host_name.partition('.')[0]}-job",
        host_name=host_name,
        user=asked["user"] or _caller(),
        port=asked["port"],
        proxy_jump=asked["proxy_jump"],
        arguments=_arguments(asked),
        x11=asked["x11"],
        forward_agent=asked["forward_agent"],
        control_master=asked["control_master"],
        local_forwards=asked["local_forward"],
    )


def _this_node() -> str:
    """Return this node's full name, or the short one if /etc/hosts calls it localhost."""
    name = socket.getfqdn()
    return os.uname().nodename if name.partition(".")[0] == "localhost" else name


def _caller() -> str | None:
    """Return who calls; root makes a block for everybody, in which ssh puts each one's name."""
    return pwd.getpwuid(os.geteuid()).pw_name if os.geteuid() else None


def _arguments(asked: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the proxy's arguments; raises UsageError where no session starts with them."""
    settings = _site()
    named = (("--profile", asked["profile"]), ("--group", asked["group"]))
    arguments = [f"{name}={value}" for name, value in named if value is not None]
    arguments += [f"--salloc-arg={each}" for each in asked["salloc_arg"]]
    arguments += _x11(asked, settings)
    further: tuple[str, ...] = asked["arguments"]
    if further and not further[0].startswith("-"):
        words = stray(further[0], asked["salloc_arg"]) or (
            f'"{further[0]}": arguments of {hosts.PROGRAM} begin with "-"; '
            "the host's name is given by --alias"
        )
        raise UsageError(printable(words))
    arguments += further
    _check(arguments, settings)
    return tuple(arguments)


def _site() -> ProxySettings:
    """Return what the site has decided; of a file that is wrong nothing is used."""
    try:
        text = site.read(DEFAULT)
        return ProxySettings() if text is None else parse(text, DEFAULT)
    except ConfigError:
        return ProxySettings()  # _check warns of it


class _Answer(NamedTuple):
    """What the proxy of this node says of arguments; both are "" if it starts a session."""

    mistake: str = ""
    """Of the site, so that no session can start."""
    refusal: str = ""


def _check(arguments: Sequence[str], settings: ProxySettings) -> None:
    """Raise UsageError, in the proxy's own words, where this node's would start no session.

    A mistake of the site is a warning, and keeps nobody from a block.
    """
    answer = _asked_of_the_proxy(arguments, settings)
    if answer.mistake:
        click.echo(f"vscadmin: warning: {printable(answer.mistake, _LONGEST)}", err=True)
        of_salloc = [each for each in arguments if each.startswith("--salloc-arg=")]
        answer = _answer(of_salloc, config="", command="", is_for_all=False)
    if answer.refusal:
        raise UsageError(printable(answer.refusal, _LONGEST))


def _asked_of_the_proxy(arguments: Sequence[str], settings: ProxySettings) -> _Answer:
    """Return the answer for this node; the site's plugins are asked, by root as nobody."""
    command = shutil.which(hosts.PROGRAM) or ""
    answer = partial(_answer, arguments, DEFAULT, command, is_for_all=os.geteuid() == 0)
    has_plugins = settings.plugins or any(map(os.path.lexists, site.local_files(command)))
    if not has_plugins and not any(each.startswith("--config") for each in arguments):
        return answer()
    with _streams_kept():
        looked = unprivileged(answer)
    return _Answer(*looked.lines) if looked.lines else _Answer(looked.problem)


def _answer(arguments: Sequence[str], config: str, command: str, *, is_for_all: bool) -> _Answer:
    """Prepare a session, which starts nothing; what *is_for_all* is not denied for who asks."""
    try:
        prepared = decide(arguments, command, os.environ, config, os.getpid())
    except ConfigError as error:
        return _Answer(mistake=str(error))
    except NotPermittedError as error:
        return _Answer() if is_for_all else _Answer(refusal=str(error))
    except UsageError as error:
        return _Answer(refusal=str(error))
    if isinstance(prepared, Said):
        words = "--help, --version, --list-profiles and --explain start no session"
        return _Answer(refusal=words)
    return _Answer()


@contextmanager
def _streams_kept() -> Iterator[None]:
    """Keep what programs of plugins write out of the block, and our stdin from them."""
    while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # takes the place of what is closed
    kept = os.dup(0), os.dup(1)
    os.dup2(null, 0)
    os.dup2(2, 1)
    try:
        yield
    finally:
        for fd, own in enumerate(kept):
            os.dup2(own, fd)
            os.close(own)
        os.close(null)


def _x11(asked: Mapping[str, Any], settings: ProxySettings) -> list[str]:
    """Return how X11 is asked for: of the site's plugin, which looks at DISPLAY, else of Slurm."""
    try:
        is_given = "x11" in slurm_args.in_force(asked["salloc_arg"])
    except ValueError:  # _check says what is wrong
        return []
    if not asked["x11"] or is_given:
        return []
    return ["--x11"] if "x11" in settings.plugins else ["--salloc-arg=--x11"]


def _fragment(settings: Mapping[str, object]) -> str:
    return json.dumps(settings, indent=4)


def _facts(host: hosts.Host, block: str, settings: Mapping[str, object]) -> dict[str, Any]:
    return {
        "alias": host.alias,
        "host_name": host.host_name,
        "user": host.user,
        "command": list(host.command),
        "block": block,
        "settings": settings,
    }


def _page(
    host: hosts.Host,
    block: str,
    settings: Mapping[str, object],
    config_file: str | None,
    hints: list[str],
) -> str:
    """Return all of it, a heading each; without the headings each part can be pasted whole."""
    where = config_file or '~/.ssh/config, above any "Host *"'
    lines = [
        f"# 1. On your own computer, in {where}:",
        "",
        block,
        "# 2. In your editor's settings: F1, Preferences: Open User Settings (JSON):",
        "",
        _fragment(settings),
        "",
        f"# 3. In your editor: F1, Remote-SSH: Connect to Host..., {host.alias}",
        "#",
        *hints,
    ]
    return "\n".join(lines)


def _hints(host: hosts.Host, config_file: str | None, *, is_guess: bool) -> list[str]:
    """Return what may not fit; *is_guess*: we named the host as it calls itself."""
    hints = [
        f'# Should "remote.SSH.remotePlatform" list {host.alias}: take it out there. For a host',
        "# that it lists no RemoteCommand is run, and you would work on the login node.",
    ]
    if is_guess or ("." not in host.host_name and ":" not in host.host_name):
        hints.append(f"# Is {host.host_name} known to your computer? If not: --host-name.")
    if host.alias == host.host_name and config_file is None:
        hints.append(f'# A plain "ssh {host.alias}" starts a job, too. To keep it apart: --alias.')
    return hints
