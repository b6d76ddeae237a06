"""The command group, and the one place where failures become a line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import NoReturn

import click

from vscadmin.errors import Exit, VscadminError, suggestion
from vscadmin.version import __version__

# Each in its module, imported only when it is used: half a second of cron is not ours to spend.
_VERBS = {
    "scan": "List every remote-editor server tree, process by process.",
    "report": "Show every server tree and what the policy would do.",
    "explain": "Explain one server tree, by any pid in it, or all of a user's.",
    "cleanup": "Tell owners of abandoned servers; end those told long enough.",
    "history": "Show what cleanup did: runs, notices and terminations.",
    "digest": "Sum up the last days, for the admins.",
    "replay": "Rehearse a policy on the stored scans of the last days.",
    "notices": "Show the notices to owners, and whether they arrived.",
    "mine": "Show your own servers on this node, or end one of them.",
    "sessions": "Show the running sessions of vscode-shell-proxy.",
    "ssh-config": "Print what ssh and the editor need for working in a job.",
    "config": "Check, show and write the policy; check and show proxy.toml.",
    "doctor": "Check what this machine lets vscadmin see and do.",
    "fleet": "Look at many login nodes at once, over ssh.",
    "completion": "Print the completion script of a shell.",
}


class _Verbs(click.Group):
    """Knows the verbs by name and imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of daily use."""
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return a verb."""
        if cmd_name not in _VERBS:
            return None
        command = import_module(f"vscadmin.cli.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)  # noqa: S101 - for the type checker
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the verb that is most like one that is not there."""
        name = args[0]
        if name not in _VERBS and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f'No such command "{name}"{suggestion(name, _VERBS)}')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the verbs, each on a line of its own; no module has to be imported for that."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vscadmin")
def cli() -> None:
    """See the remote-editor servers of a login node, and carry out what a policy says of them.

    cleanup acts, as far as the policy's mode lets it, and mine --stop ends a server of your
    own. All other commands only look.
    """


def main() -> NoReturn:
    """Run the command line; every failure is one clear line, and a bug's traceback is logged."""
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed by who called us: then nobody wants to know
            setattr(sys, stream, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        getattr(sys, stream).reconfigure(errors="backslashreplace")
    # Both outlive exec(2): where SIGCHLD is ignored a sendmail that failed would look like one
    # that delivered, and a run's deadline may not be kept from it.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    sys.exit(_run())


def _run() -> int:
    try:
        status = cli.main(prog_name="vscadmin", standalone_mode=False)
        sys.stdout.flush()
    except VscadminError as error:
        for line in str(error).splitlines():
            click.echo(f"vscadmin: {line}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except (BrokenPipeError, SystemExit):  # click turns a closed pipe into SystemExit(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except Exception as error:  # the last line of defence
        return _bug(error)
    return status if isinstance(status, int) else Exit.DONE


def _bug(error: Exception) -> int:
    from vscadmin.logs import log_bug  # noqa: PLC0415 - structlog costs 0.1 s, bugs are rare

    where = log_bug(error)
    seen = f"; the details are in {where}" if where else ""
    click.echo(f"vscadmin: a bug: {type(error).__name__}{seen}. Please report it.", err=True)
    return Exit.BUG
