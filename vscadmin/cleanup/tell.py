"""Tell owners: one message each, recorded before it is sent and after."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from vscadmin.cleanup import events, terminals
from vscadmin.cleanup.approve import ApprovedPlan
from vscadmin.cleanup.look import messages_to
from vscadmin.cleanup.mail import Mailer
from vscadmin.cleanup.notify import Author, Message, messages
from vscadmin.cleanup.peers import Told, node_and_boot
from vscadmin.cleanup.records import Delivery, Identity, Notice
from vscadmin.cleanup.session import Session
from vscadmin.cleanup.smtp import Sent
from vscadmin.errors import Exit
from vscadmin.model import Process


def tell_owners(
    session: Session, approved: ApprovedPlan, author: Author, mailer: Mailer,
    processes: Iterable[Process],
) -> None:  # fmt: skip
    """Send every message that is due; what fails is due again after a while: see `chosen`."""
    fleet = session.fleet
    names = {each.owner.name for each in approved.notices if each.owner.name is not None}
    names |= {user for user, _ in fleet.asks}
    last, failed = messages_to(session.store, names)
    processes = tuple(processes)
    for message in messages(approved.notices, last, author, time.time(), failed, fleet=fleet):
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
    if sent.delivered:
        session.told += told_elsewhere(notices, message.asked_at)
    for notice in notices:
        session.log.write(events.notice(notice))
    if not sent.delivered:
        session.warn(_words(message.user, sent), f"notice {message.user}")
        session.exit_code = Exit.INCOMPLETE
    return sent.delivered


def told_elsewhere(notices: Iterable[Notice], asked_at: Mapping[Identity, float]) -> list[Told]:
    """Return what other nodes have to know of delivered notices: those of their own servers."""
    found = []
    for each in notices:
        if each.identity not in asked_at or each.delivered_at is None:
            continue
        node, boot_id = node_and_boot(each.identity.boot_id)
        told = Told(
            node=node,
            boot_id=boot_id,
            pid=each.identity.pid,
            start_ticks=each.identity.start_ticks,
            user=each.user,
            product=each.product,
            rule=each.rule,
            action=each.action,
            address=each.address,
            asked_at=asked_at[each.identity],
            delivered_at=each.delivered_at,
            not_before=each.not_before,
        )
        found.append(told)
    return found


def _delivery(sent: Sent) -> Delivery:
    if sent.delivered:
        return Delivery.DELIVERED
    return Delivery.SENDING if sent.uncertain else Delivery.FAILED


def _words(user: str, sent: Sent) -> str:
    if sent.uncertain:
        return f"no answer about the notice to {user}: it may have arrived ({sent.error})"
    return f"no notice to {user}: {sent.error}"
