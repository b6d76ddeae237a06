"""A real mail server on the loopback, that keeps what it takes."""

from __future__ import annotations

import asyncio
import email
import email.policy
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from vscadmin.policy.settings import Mode, Notify, Policy


@dataclass
class Office:
    """What the mail server takes; *answers* are what it says to recipients instead of 250.

    What it says to a letter, *after_data*, it says *late* seconds after the last byte.
    """

    mails: list[Envelope] = field(default_factory=list)
    peers: list[Any] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    after_data: str = "250 taken"
    late: float = 0.0
    port: int = 0

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Any
    ) -> str:
        answer = self.answers.get(address, "250 fine")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(  # noqa: N802
        self, _server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        answer = self.after_data
        if answer.startswith("250"):
            self.mails.append(envelope)
            self.peers.append(session.peer)
        await asyncio.sleep(self.late)
        return answer

    @property
    def notify(self) -> Notify:
        return Notify(
            smtp=f"127.0.0.1:{self.port}",
            sender="HPC login nodes <noreply@example.edu>",
            reply_to="help@example.edu",
            address="{user}@example.edu",
        )

    @property
    def policy(self) -> Policy:
        return Policy(mode=Mode.ENFORCE, notify=self.notify)

    def read(self, index: int = 0) -> EmailMessage:
        content = self.mails[index].content
        assert isinstance(content, bytes)
        return email.message_from_bytes(content, policy=email.policy.SMTP)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def office() -> Iterator[Office]:
    found = Office(port=free_port())
    controller = Controller(found, "127.0.0.1", found.port)
    controller.start()
    yield found
    controller.stop()
