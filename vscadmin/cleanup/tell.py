"""Tell owners: one message each, recorded before it is sent and after."""

from __future__ import annotations

import time
from collections.abc import Iterable

from vscadmin.cleanup import events, terminals
from vscadmin.cleanup.approve import ApprovedPlan
from vscadmin.cleanup.mail import Mailer
from vscadmin.cleanup.notify import Author, Message, messages
from vscadmin.cleanup.records import Delivery
from vscadmin.cleanup.session import Session
from vscadmin.cleanup.smtp import Sent
from vscadmin.errors import Exit
from vscadmin.model import Process


def tell_owners(
    session: Session, approved: ApprovedPlan, author: Author, mailer: Mailer,
    processes: Iterable[Process],
) -> None:  # fmt: skip
    """Send every message that is due; what fails is due again after a while: see `chosen`."""
    names = {each.owner.name for each in approved.notices if each.owner.name is not None}
    last = {name: session.store.last_message_to(name) for name in names}
    failed = {name: session.store.last_failure_to(name) for name in names}
    processes = tuple(processes)
    for message in messages(approved.notices, last, author, time.time(), failed):
        if _send(session, message, mailer) and session.policy.notify.terminal:
            terminals.tell(processes, message.uid, message.line)


def _send(session: Session, message: Message, mailer: Mailer) -> bool:
    """Record first, so that a message is not sent twice should we die in between.

    One that may have arrived stays SENDING: nobody counts as told by it, and it is not
    sent again before notify.every is over.
    """
    session.store.add_notices(message.notices)
    sent = mailer.deliver(message.letter, session.deadline)
    notices = session.store.finish_notices(
        message.notices,
        _delivery(sent),
        time.time() if sent.delivered else None,
        sent.error,
    )
    session.notices += notices
    for notice in notices:
        session.log.write(events.notice(notice))
    if not sent.delivered:
        session.warn(_words(message.user, sent), f"notice {message.user}")
        session.exit_code = Exit.INCOMPLETE
    return sent.delivered


def _delivery(sent: Sent) -> Delivery:
    if sent.delivered:
        return Delivery.DELIVERED
    return Delivery.SENDING if sent.uncertain else Delivery.FAILED


def _words(user: str, sent: Sent) -> str:
    if sent.uncertain:
        return f"no answer about the notice to {user}: it may have arrived ({sent.error})"
    return f"no notice to {user}: {sent.error}"
