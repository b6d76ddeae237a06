"""The command group, and the one place where failures become a line and an exit code."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import NoReturn

import click

from vscadmin.errors import Exit, VscadminError
from vscadmin.version import __version__

# A verb's module is imported only when it is used: half a second of cron is not ours to spend.
_VERBS = {
    "scan": "vscadmin.cli.scan",
    "report": "vscadmin.cli.report",
    "explain": "vscadmin.cli.explain",
    "cleanup": "vscadmin.cli.cleanup",
    "history": "vscadmin.cli.history",
    "digest": "vscadmin.cli.digest",
    "replay": "vscadmin.cli.replay",
    "notices": "vscadmin.cli.notices",
    "mine": "vscadmin.cli.mine",
    "sessions": "vscadmin.cli.sessions",
    "ssh-config": "vscadmin.cli.ssh_config",
    "config": "vscadmin.cli.config",
    "doctor": "vscadmin.cli.doctor",
    "fleet": "vscadmin.cli.fleet",
    "completion": "vscadmin.cli.completion",
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
        command = import_module(_VERBS[cmd_name]).command
        assert isinstance(command, click.Command)  # noqa: S101 - for the type checker
        return command


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
