"""A mail as it leaves us: plain text, and no header that anybody else wrote a part of.

Whatever would break a header is refused here, by ourselves and before anything is sent:
the libraries have let line breaks through more than once.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from vscadmin.errors import ConfigError
from vscadmin.escape import printable
from vscadmin.policy.settings import Notify

if TYPE_CHECKING:
    from email.headerregistry import Address
    from email.message import EmailMessage

WIDTH = 76  # columns of a body
_VERBATIM = " " * 4  # a line that begins like this is configuration, never wrapped
_LONGEST_LINE = 900  # characters of a line that is not wrapped; a mail's may have 998 bytes
_LONGEST_SUBJECT = 200
_ATOM = r"[A-Za-z0-9_][A-Za-z0-9_+=%~-]*(?:\.[A-Za-z0-9_+=%~-]+)*"
_ADDRESS = re.compile(rf"({_ATOM})(?:@([A-Za-z0-9][A-Za-z0-9.-]*))?")
_MAILBOX = re.compile(r'([^<>"]*?) *<([^<>]*)>')
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


class MailError(ConfigError):
    """A header cannot be what the policy, a template or a name makes of it."""

    def __init__(self, header: str, reason: str) -> None:
        super().__init__((f"mail header {header}: {reason}",))


@dataclass(frozen=True, slots=True)
class Letter:
    """What is written to whom."""

    address: str
    subject: str
    body: str


def local_time(at: float) -> str:
    """Return a moment in the node's time zone, with that zone, as every letter writes it."""
    return datetime.fromtimestamp(at).astimezone().strftime("%a %Y-%m-%d %H:%M %Z")


def plain(text: str) -> str:
    """Return a rendered body wrapped to 76 columns, all that is no printable text escaped.

    Lines that begin with four blanks stay as they are: they are there to be copied.
    """
    lines: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        lines += _wrapped(printable(line.expandtabs().rstrip(), _LONGEST_LINE))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n") + "\n"


def _wrapped(line: str) -> list[str]:
    if len(line) <= WIDTH or line.startswith(_VERBATIM):
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    hanging = indent + ("  " if line.lstrip().startswith("- ") else "")
    return textwrap.wrap(
        line, WIDTH, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
    )


def compose(letter: Letter, notify: Notify, host: str, now: float) -> EmailMessage:
    """Return the mail that *letter* becomes; raises MailError where a header would be wrong."""
    from email.message import EmailMessage  # noqa: PLC0415 - only a run that writes mail needs it
    from email.policy import SMTP  # noqa: PLC0415
    from email.utils import format_datetime  # noqa: PLC0415

    mail = EmailMessage(policy=SMTP)
    mail["From"] = _mailbox("From", notify.sender or "")
    mail["To"] = _mailbox("To", letter.address)
    if notify.reply_to:
        mail["Reply-To"] = _mailbox("Reply-To", notify.reply_to)
    mail["Subject"] = subject_line(letter.subject)
    mail["Date"] = format_datetime(datetime.fromtimestamp(now).astimezone())
    mail["Message-ID"] = _message_id(letter, host, now)
    mail["Auto-Submitted"] = "auto-generated"
    is_short = all(len(line) <= _LONGEST_LINE for line in letter.body.splitlines())
    simple = letter.body.isascii() and is_short
    mail.set_content(letter.body, cte="7bit" if simple else "quoted-printable")
    return mail


def bare_address(header: str, text: str) -> str:
    """Return the address in "Name <user@host>" or "user@host"; raises MailError for any other."""
    return _mailbox(header, text).addr_spec


def _mailbox(header: str, text: str) -> Address:
    from email.headerregistry import Address  # noqa: PLC0415

    _one_line(header, text)
    mailbox = _MAILBOX.fullmatch(text.strip())
    name, spec = (mailbox[1].strip(), mailbox[2]) if mailbox else ("", text.strip())
    address = _ADDRESS.fullmatch(spec)
    if address is None:
        raise MailError(header, f'"{printable(spec, 80)}" is no mail address')
    return Address(display_name=name, username=address[1], domain=address[2] or "")


def check_headers(notify: Notify) -> None:
    """Raise ConfigError with every setting of the policy that makes a wrong header."""
    addresses = [
        ("From", notify.sender or ""),
        ("To", (notify.address or "").replace("{user}", "u")),
    ]
    addresses += [("Reply-To", each) for each in (notify.reply_to,) if each]
    addresses += [("To", each) for each in notify.admins]
    problems: list[str] = []
    for header, text in addresses:
        try:
            _mailbox(header, text)
        except MailError as error:
            problems += error.problems
    if problems:
        raise ConfigError(tuple(problems))


def subject_line(text: str) -> str:
    """Return a subject that is safe to send; raises MailError for one that never is."""
    _one_line("Subject", text)
    if not text.strip():
        raise MailError("Subject", "is empty")
    return printable(text.strip(), _LONGEST_SUBJECT)


def _one_line(header: str, text: str) -> None:
    """Refuse line breaks and all else that is not printable, whatever Python makes of it."""
    if not text.isprintable():
        raise MailError(header, f"holds a control character: {printable(text, 80)}")


def _message_id(letter: Letter, host: str, now: float) -> str:
    """Return an id that is the same for the same letter of the same moment only."""
    text = "\0".join((letter.address, letter.subject, letter.body, repr(now)))
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:24]
    return f"<vscadmin.{int(now)}.{digest}@{mail_host(host)}>"


def mail_host(host: str) -> str:
    """Return *host* as mail may name it: its name, if it is one."""
    return host if _HOST.fullmatch(host) else "localhost"
