"""`vscadmin cleanup`: one run of what the policy asks for; what cron calls."""

from __future__ import annotations

import os
import time
import uuid

import click

from vscadmin.cli import options
from vscadmin.cli.survey import Loaded, load_families, load_policy
from vscadmin.errors import ConfigError, NotPermittedError, UsageError
from vscadmin.policy.settings import Mode


@click.command("cleanup")
@options.inputs
@click.option("--dry-run", is_flag=True, help="Print the report and change nothing.")
@click.option("--approve", "approved", metavar="HASH", help="Carry out this refused plan, once.")
@click.option("--splay", type=options.Duration(), metavar="TIME", help="Wait up to so long first.")
@click.option("-v", "--verbose", is_flag=True, help="Show every event on stderr.")
@click.pass_context
def command(
    context: click.Context,
    policy_path: str | None,
    catalogue_dir: str | None,
    dry_run: bool,
    approved: str | None,
    splay: int | None,
    verbose: bool,
) -> int:
    """Tell owners of abandoned servers, and end those whose notice is over.

    How far it goes is the policy's mode: observe records only, notify tells, enforce ends.
    Silent when all is well. Root only; one run at a time.
    """
    if dry_run and approved:
        raise UsageError("--approve carries a plan out, and --dry-run does not: leave one out")
    if dry_run:
        from vscadmin.cli.report import command as report  # noqa: PLC0415 - report's own imports

        return int(context.invoke(report, policy_path=policy_path, catalogue_dir=catalogue_dir))
    host = os.uname().nodename
    _only_root()
    if splay:
        from vscadmin.cleanup.splay import splay_seconds  # noqa: PLC0415 - cron's alone

        time.sleep(splay_seconds(host, splay))  # before the policy is read: it may change meanwhile
    loaded = _trusted(load_policy(policy_path))
    if approved and loaded.policy.mode is not Mode.ENFORCE:
        raise UsageError(f'--approve: the policy has mode = "{loaded.policy.mode}": nothing ends')
    catalogue = load_families(loaded, catalogue_dir)
    from vscadmin.cleanup.run import clean_up  # noqa: PLC0415 - mail, sqlite and jinja
    from vscadmin.cleanup.session import Request  # noqa: PLC0415
    from vscadmin.logs import open_log  # noqa: PLC0415

    run_id = uuid.uuid4().hex
    request = Request(loaded.policy, loaded.digest, catalogue, host, approved)
    with open_log(loaded.policy.output.log, run_id, host, verbose) as log:
        finished = clean_up(request, log, run_id)
    for problem in finished.problems:
        click.echo(f"vscadmin: {problem}", err=True)
    return finished.exit_code


def _only_root() -> None:
    if os.geteuid() != 0:
        raise NotPermittedError("cleanup is root's; what it would do: vscadmin report")


def _trusted(loaded: Loaded) -> Loaded:
    """Return a policy that may be acted on: nobody but root could have written it."""
    if loaded.warnings:
        raise ConfigError(tuple(f"{each}: refused" for each in loaded.warnings))
    return loaded
