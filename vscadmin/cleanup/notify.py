"""What to say to whom: one message per owner, and which trees it speaks of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from vscadmin.cleanup.letters import Letter, local_time, plain
from vscadmin.cleanup.peers import Foreign, foreign_boot
from vscadmin.cleanup.recipients import NEVER, Recipient, Times, chosen
from vscadmin.cleanup.records import Delivery, Identity, Notice
from vscadmin.cleanup.turns import ALONE, Fleet
from vscadmin.cleanup.wording import Wording
from vscadmin.escape import printable
from vscadmin.policy.decide import Decision, Plan
from vscadmin.policy.settings import Policy, State
from vscadmin.units import format_duration, format_size

_LONGEST = 120  # characters of one foreign word in a message
_MOST_HOSTS = 3  # that are named where a message is about several nodes


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes: whose policy, on which host and boot, in which words."""

    policy: Policy
    host: str
    boot_id: str
    wording: Wording


@dataclass(frozen=True, slots=True)
class Message:
    """What one owner is told. *line* is for open terminals; *notices* are all it justifies.

    *asked_at* is, of each server on another node, when that asked for its owner to be told.
    """

    user: str
    uid: int
    address: str
    subject: str
    body: str
    line: str
    notices: tuple[Notice, ...]
    asked_at: Mapping[Identity, float] = field(default_factory=dict)

    @property
    def letter(self) -> Letter:
        """What is sent by mail."""
        return Letter(self.address, self.subject, self.body)


@dataclass(frozen=True, slots=True)
class Server:
    """A tree as a template sees it: texts, all of them safe to print.

    *host* is where it runs; *end* is the earliest end, "" where none is announced.
    """

    host: str
    pid: int
    title: str
    product: str
    started: str
    age: str
    client: str
    memory: str
    rule: str
    reasons: tuple[str, ...]
    end: str


def messages(
    plan: Plan,
    last: Times,
    author: Author,
    now: float,
    failed: Times = NEVER,
    *,
    fleet: Fleet = ALONE,
) -> tuple[Message, ...]:
    """Return the messages that are due, by user; the rest of what it takes is `chosen`'s.

    A tree that has no room in its owner's message is not told of: it waits for the next.
    """
    due = chosen(plan, last, author.policy, now, failed, fleet=fleet)
    return tuple(_message(recipient, author, now) for recipient in due)


def _message(recipient: Recipient, author: Author, now: float) -> Message:
    user = recipient.user
    servers = [server_of(decision, end, now, author.host) for decision, end in recipient.told]
    servers += [_server_there(each, end) for each, end in recipient.abroad]
    values = notice_values(user, servers, recipient.more, author)
    address = (author.policy.notify.address or "").replace("{user}", user)
    return Message(
        user=user,
        uid=recipient.uid,
        address=address,
        subject=author.wording.render("notice-subject.txt.j2", values).strip(),
        body=plain(author.wording.render("notice.txt.j2", values)),
        line=" ".join(author.wording.render("terminal.txt.j2", values).split()),
        notices=_notices(recipient, author.boot_id, address, now),
        asked_at={_identity_of(each): each.asked_at for each, _ in recipient.abroad},
    )


def _notices(recipient: Recipient, boot: str, address: str, now: float) -> tuple[Notice, ...]:
    about = [
        (Identity(boot, *each.tree.key), each.tree.product, each.rule or "", each.action, end)
        for each, end in recipient.told
    ]
    about += [
        (_identity_of(each), each.ask.product, each.ask.rule, each.ask.action, end)
        for each, end in recipient.abroad
    ]
    return tuple(
        Notice(
            identity=identity,
            user=recipient.user,
            product=product,
            rule=rule,
            action=action,
            address=address,
            created_at=now,
            delivery=Delivery.SENDING,
            not_before=end,
        )
        for identity, product, rule, action, end in about
    )


def _identity_of(foreign: Foreign) -> Identity:
    return Identity(foreign_boot(foreign.node, foreign.boot_id), *foreign.ask.key)


def notice_values(
    user: str, servers: Iterable[Server], more: int, author: Author
) -> dict[str, object]:
    """Return what a template of a notice may use; docs/notices.md explains each."""
    notify, host = author.policy.notify, printable(author.host)
    listed = [asdict(server) for server in servers]
    hosts = list(dict.fromkeys(server["host"] for server in listed))
    few = ", ".join(hosts) if len(hosts) <= _MOST_HOSTS else f"{len(hosts)} login nodes"
    return {
        "user": user,
        "host": host,
        "hosts": hosts,
        "where": few or host,
        "job_host": f"{host.partition('.')[0]}-job",
        "count": len(listed) + more,
        "servers": listed,
        "more": more,
        "ends": any(server["end"] for server in listed),
        "help_url": printable(notify.help_url or ""),
        "reply_to": printable(notify.reply_to or ""),
    }


def server_of(decision: Decision, end: float | None, now: float, host: str) -> Server:
    """Return how a message tells of a tree that runs on *host*, and of its *end*."""
    tree = decision.tree
    return Server(
        host=printable(host),
        pid=tree.root.pid,
        title=printable(tree.title, _LONGEST),
        product=printable(tree.product, _LONGEST),
        started=local_time(tree.started_at),
        age=format_duration(now - tree.started_at),
        client=_client(decision, now),
        memory=format_size(tree.rss),
        rule=printable(decision.rule or "", _LONGEST),
        reasons=tuple(printable(each.words, _LONGEST) for each in decision.findings),
        end="" if end is None else local_time(end),
    )


def _server_there(foreign: Foreign, end: float | None) -> Server:
    """Return how a message tells of another node's tree, in that node's words."""
    ask = foreign.ask
    return Server(
        host=foreign.node,
        pid=ask.pid,
        title=ask.title,
        product=ask.product,
        started=ask.started,
        age=ask.age,
        client=ask.client,
        memory=ask.memory,
        rule=ask.rule,
        reasons=ask.reasons,
        end="" if end is None else local_time(end),
    )


def _client(decision: Decision, now: float) -> str:
    """Say who is connected, or since when nobody is as far as the scans know."""
    verdict, memory = decision.verdict, decision.memory
    if verdict.state is State.CONNECTED:
        return "connected" if verdict.since is None else f"since {local_time(verdict.since)}"
    since = memory.first_seen if memory.last_client is None else memory.last_client
    if since is None:
        return "none"
    return f"none since {local_time(since)} ({format_duration(now - since)})"
