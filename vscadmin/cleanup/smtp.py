"""One connection to a mail server, kept for the letters of a run."""

from __future__ import annotations

import re
import smtplib
import socket
import time
from contextlib import suppress
from dataclasses import dataclass

from vscadmin.cleanup.letters import mail_host
from vscadmin.escape import printable

ANSWER = 30.0  # seconds for each answer of a server
VERDICT = 60.0  # for the one after the letter: RFC 5321 says 600, and a run has no such time
_TAKEN = 250
_WILL_FORWARD = 251
_GO_ON = 354
_CLOSING = 421
_REFUSED = range(400, 600)
_A_DOT = re.compile(rb"^\.", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a letter; *error* says in words why it was not delivered.

    *uncertain* is one that was handed over and got no answer: it may have arrived.
    """

    delivered: bool
    error: str = ""
    uncertain: bool = False


class _RefusedError(Exception):
    """The server said no to one letter; the next one may fare better."""


class Connection:
    """A mail server. *is_down* once it could not be reached, or did not answer in time.

    *is_open* says of the letter at hand that it was handed over whole and has no answer yet.
    """

    def __init__(self, server: str, host: str) -> None:
        self.is_down = self.is_open = False
        self._server = server
        self._host = mail_host(host)  # smtplib would ask a name server for ours
        self._smtp: smtplib.SMTP | None = None
        self.is_cut = False

    def hand_over(self, sender: str, address: str, mail: bytes, deadline: float) -> Sent:
        """Send one mail to one recipient before *deadline*; whatever goes wrong is a value."""
        self.is_open = False
        begun = time.monotonic()
        try:
            smtp = self._connected(_left(ANSWER, deadline))
            _expect(smtp, smtp.mail(sender), _TAKEN)
            _expect(smtp, smtp.rcpt(address), _TAKEN, _WILL_FORWARD)
            _expect(smtp, smtp.docmd("data"), _GO_ON)
            self._send(smtp, mail, deadline)
        except _RefusedError as error:
            return Sent(False, str(error))
        except smtplib.SMTPResponseException as error:
            self.close()
            words = _words(error.smtp_code, error.smtp_error)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            # smtplib turns a time-out while it reads into a connection that was closed.
            is_late = TimeoutError in (type(error), type(error.__context__))
            self.is_down |= is_late
            self.close()
            seconds = time.monotonic() - begun
            words = f"no answer within {seconds:.0f} s" if is_late else str(error)
        else:
            return Sent(True)
        return Sent(False, printable(f"{self._server}: {words}"), self.is_open)

    def _send(self, smtp: smtplib.SMTP, mail: bytes, deadline: float) -> None:
        """Send the letter and wait for what the server says of it.

        It is the server's once the line of one dot may have left: what fails before that
        has not arrived, what fails after may have.
        """
        lines = mail if mail.endswith(b"\r\n") else mail + b"\r\n"
        smtp.send(_A_DOT.sub(b"..", lines))
        self.is_open = True
        try:
            smtp.send(b".\r\n")
        except smtplib.SMTPException:
            self.is_open = False
            raise
        if smtp.sock is not None:
            smtp.sock.settimeout(_left(VERDICT, deadline))
        code, reply = smtp.getreply()
        if code != _TAKEN and code not in _REFUSED:
            raise smtplib.SMTPResponseException(code, reply)
        self.is_open = False
        _expect(smtp, (code, reply), _TAKEN)

    def _connected(self, seconds: float) -> smtplib.SMTP:
        """Return a connection that is alive: one that waited for its next letter may be closed."""
        if self._smtp is not None and self._smtp.sock is not None:
            self._smtp.sock.settimeout(seconds)
            with suppress(smtplib.SMTPServerDisconnected):
                if self._smtp.noop()[0] == _TAKEN:
                    return self._smtp
        self.close()
        name, _, port = self._server.rpartition(":")
        self._smtp = smtplib.SMTP(local_hostname=self._host, timeout=seconds)
        self.is_down = True  # until it has greeted us
        code, reply = self._smtp.connect(name.strip("[]"), int(port))
        if code != 220:
            raise smtplib.SMTPConnectError(code, reply)
        self._smtp.ehlo_or_helo_if_needed()
        if self.is_cut:  # before there was a socket to shut down
            raise TimeoutError
        self.is_down = False
        return self._smtp

    def cut(self) -> None:
        """End a conversation that another thread is in; nothing can be delivered after that."""
        self.is_down = self.is_cut = True
        if self._smtp is not None and self._smtp.sock is not None:
            with suppress(OSError):
                self._smtp.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Say good-bye if the server still listens."""
        smtp, self._smtp = self._smtp, None
        if smtp is None:
            return
        if smtp.sock is not None and not self.is_down:
            smtp.sock.settimeout(1)
            with suppress(OSError, smtplib.SMTPException):
                smtp.quit()
        smtp.close()


def _left(most: float, deadline: float) -> float:
    """Return how long to wait: a socket takes no time-out of nothing."""
    return max(0.01, min(most, deadline - time.monotonic()))


def _expect(smtp: smtplib.SMTP, answer: tuple[int, bytes], *wanted: int) -> None:
    code, reply = answer
    if code == _CLOSING:
        raise smtplib.SMTPResponseException(code, reply)
    if code not in wanted:
        smtp.rset()
        raise _RefusedError(_words(code, reply))


def _words(code: int, reply: bytes | str) -> str:
    text = reply.decode("utf-8", "backslashreplace") if isinstance(reply, bytes) else reply
    return printable(f"{code} {' '.join(text.split())}", 200)
