"""`vscadmin digest`: what the last days came to, printed or mailed to the admins."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from vscadmin.cleanup.letters import Letter
from vscadmin.cleanup.review import Review, Usage, subject, text
from vscadmin.cli import options, past
from vscadmin.cli.survey import Loaded, load_policy
from vscadmin.errors import ConfigError, Exit
from vscadmin.policy.settings import Policy
from vscadmin.proxy.statuses import statuses
from vscadmin.units import DAY

if TYPE_CHECKING:
    from vscadmin.cleanup.store_read import Reader

_PATIENCE = 300.0  # seconds for the mails to all admins together


@click.command("digest")
@options.policy_for("whose store.path, exempt and [notify] count")
@click.option(
    "--last", type=options.Duration(), default=7 * DAY, metavar="TIME", help="Default 7d."
)
@click.option("--mail", is_flag=True, help="Mail it to notify.admins, and print nothing.")
def command(policy_path: str | None, last: int, mail: bool) -> int:
    """Say what the last days came to: memory given back, who was told, regret, what went wrong.

    From what the runs of cleanup stored. Root, or whoever may read the store.
    """
    loaded = load_policy(policy_path)
    if mail:
        _check_mail(loaded)
    path = loaded.policy.store.path
    with past.stored(path) as store:
        review = None if store is None else _review(loaded.policy, store, last)
    if review is None:
        past.nothing_stored(path)
    elif mail:
        return _send(loaded.policy, review)
    else:
        click.echo(text(review), nl=False)
    return Exit.DONE


def _check_mail(loaded: Loaded) -> None:
    """Refuse to mail by a policy that names nobody, or that others could change."""
    if loaded.warnings and os.geteuid() == 0:
        raise ConfigError(loaded.warnings)
    if not loaded.policy.notify.admins:
        raise ConfigError((f"{loaded.source}: notify.admins: names nobody to mail to",))


def _review(policy: Policy, store: Reader, last: int) -> Review:
    from vscadmin.cleanup.digest import exemptions  # noqa: PLC0415 - where there is a store
    from vscadmin.cleanup.regret import regretted  # noqa: PLC0415

    now = time.time()
    begin, sessions = now - min(last, policy.store.history), statuses(None)
    terminations = store.terminations(since=begin)[::-1]
    return Review(
        host=os.uname().nodename,
        begin=begin,
        end=now,
        runs=store.runs(begin),
        notices=store.notices(since=begin)[::-1],
        terminations=terminations,
        regretted=regretted(store, terminations),
        usage=_usage(policy, begin),
        exemptions=exemptions(policy, now),
        sessions=len(sessions),
        users=len({each.uid for each in sessions}),
    )


def _usage(policy: Policy, begin: float) -> Usage | None:
    """Return what the first and the last scan since *begin* saw."""
    from vscadmin.cleanup.store_trend import TrendReader  # noqa: PLC0415

    if (store := TrendReader.open(policy.store.path)) is None:
        return None
    with store:
        sizes = store.edges(begin)
    if not sizes:
        return None
    first, final = sizes[0], sizes[-1]
    return Usage(first.trees, first.rss, final.trees, final.rss)


def _send(policy: Policy, review: Review) -> Exit:
    """Mail *review* to every admin; say of each whom it did not reach."""
    from vscadmin.cleanup.mail import Mailer  # noqa: PLC0415 - smtplib

    deadline, exit_code = time.monotonic() + _PATIENCE, Exit.DONE
    with Mailer(policy.notify, review.host) as mailer:
        for admin in policy.notify.admins:
            sent = mailer.deliver(Letter(admin, subject(review), text(review)), deadline)
            if not sent.delivered:
                click.echo(f"vscadmin: no mail to {admin}: {sent.error}", err=True)
                exit_code = Exit.INCOMPLETE
    return exit_code
