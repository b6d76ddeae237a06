"""One connection to a mail server, kept for the letters of a run."""

from __future__ import annotations

import smtplib
import socket
from contextlib import suppress
from dataclasses import dataclass

from vscadmin.cleanup.letters import mail_host
from vscadmin.escape import printable

_TAKEN = 250
_WILL_FORWARD = 251
_CLOSING = 421


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a letter; *error* says in words why it was not delivered."""

    delivered: bool
    error: str = ""


class _RefusedError(Exception):
    """The server said no to one letter; the next one may fare better."""


class Connection:
    """A mail server. *is_down* once it could not be reached, or did not answer in time."""

    def __init__(self, server: str, host: str) -> None:
        self.is_down = False
        self._server = server
        self._host = mail_host(host)  # smtplib would ask a name server for ours
        self._smtp: smtplib.SMTP | None = None
        self._is_cut = False

    def hand_over(self, sender: str, address: str, mail: bytes, seconds: float) -> Sent:
        """Send one mail to one recipient; each answer may take *seconds*, all are no errors."""
        try:
            smtp = self._connected(seconds)
            _transact(smtp, sender, address, mail)
        except _RefusedError as error:
            return Sent(False, str(error))
        except smtplib.SMTPResponseException as error:
            self.close()
            return Sent(False, f"{self._server}: {_words(error.smtp_code, error.smtp_error)}")
        except (OSError, smtplib.SMTPException, ValueError) as error:
            # smtplib turns a time-out while it reads into a connection that was closed.
            is_late = TimeoutError in (type(error), type(error.__context__))
            self.is_down |= is_late
            self.close()
            words = f"no answer within {seconds:.0f} s" if is_late else error
            return Sent(False, printable(f"{self._server}: {words}"))
        return Sent(True)

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
        if self._is_cut:  # before there was a socket to shut down
            raise TimeoutError
        self.is_down = False
        return self._smtp

    def cut(self) -> None:
        """End a conversation that another thread is in; nothing can be delivered after that."""
        self.is_down = self._is_cut = True
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


def _transact(smtp: smtplib.SMTP, sender: str, address: str, mail: bytes) -> None:
    """Raise _RefusedError unless the server takes *mail* for this recipient."""
    _expect(smtp, smtp.mail(sender), _TAKEN)
    _expect(smtp, smtp.rcpt(address), _TAKEN, _WILL_FORWARD)
    _expect(smtp, smtp.data(mail), _TAKEN)


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
