"""Delivery: by SMTP or `sendmail -i`, within a deadline, and a failure is a value.

Delivered means that a server or sendmail took the letter over for this very recipient;
uncertain, that it got the letter and never said so: that one is not sent again at once.
Whatever is not delivered is not told: a later run finds the same trees due, and that
is the queue. A mail server that does not answer is left alone for the rest of the run.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import replace
from email.message import EmailMessage
from email.policy import SMTP as WITH_CRLF
from io import FileIO

from vscadmin.cleanup.letters import (
    Letter,
    MailError,
    bare_address,
    check_headers,
    compose,
)
from vscadmin.cleanup.smtp import VERDICT, Connection, Sent
from vscadmin.deadline import start_without_signals
from vscadmin.errors import ConfigError
from vscadmin.escape import printable
from vscadmin.policy.settings import Notify
from vscadmin.trust import doubts

LONGEST = 30.0  # seconds to hand one letter over, and for a server that never answers
_WITH_LF = WITH_CRLF.clone(linesep="\n")
_AFTER_CUT = 1.0  # seconds for a conversation to notice that it was ended
_SHOWN = 200  # bytes of what sendmail says
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


class Mailer:
    """The way out for all letters of one run: one connection, or one sendmail a letter."""

    def __init__(self, notify: Notify, host: str) -> None:
        """Check all that can be checked before anything is sent; raises ConfigError."""
        check_headers(notify)
        if notify.sendmail is not None:
            _check_program(notify.sendmail)
        self._notify = notify
        self._host = host
        self._sender = bare_address("From", notify.sender or "")
        self._connection: Connection | None = None
        self._down = ""  # why no letter is tried any more in this run

    def __enter__(self) -> Mailer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def deliver(self, letter: Letter, deadline: float) -> Sent:
        """Hand *letter* over before *deadline*, seconds of time.monotonic.

        Within 30 s; a mail server that has the letter gets 60 s more for its answer.
        """
        seconds = min(LONGEST, deadline - time.monotonic())
        if self._down:
            return Sent(False, f"not tried, because before it: {self._down}")
        if seconds <= 0:
            return Sent(False, "no time left in this run")
        try:
            mail = compose(letter, self._notify, self._host, time.time())
            address = bare_address("To", letter.address)
        except MailError as error:
            return Sent(False, str(error))
        if self._notify.smtp is not None:
            return self._by_smtp(self._notify.smtp, address, mail, deadline)
        if self._notify.sendmail is not None:
            return self._by_sendmail(self._notify.sendmail, address, mail, seconds)
        return Sent(False, "neither notify.smtp nor notify.sendmail is set")

    def _by_smtp(self, server: str, address: str, mail: EmailMessage, deadline: float) -> Sent:
        """Speak SMTP in a thread: a server or a name server may drip for ever, a join may not."""
        begun = time.monotonic()
        if self._connection is None:
            self._connection = Connection(server, self._host)
        connection, told = self._connection, list[Sent]()

        def speak() -> None:
            told.append(connection.hand_over(self._sender, address, mail.as_bytes(), deadline))

        thread = threading.Thread(target=speak, daemon=True)
        start_without_signals(thread)
        thread.join(min(LONGEST, deadline - begun))
        if connection.is_open:
            thread.join(max(0.0, min(VERDICT, deadline - time.monotonic())))
        if not told:
            connection.cut()
            thread.join(_AFTER_CUT)
        sent = told[0] if told else Sent(False, "", connection.is_open)
        if connection.is_cut:
            words = f"{server}: no answer within {time.monotonic() - begun:.0f} s"
            sent = sent if sent.delivered else replace(sent, error=words)
        if connection.is_down:
            self._down = sent.error or f"{server}: answered too late"
        return sent

    def _by_sendmail(self, path: str, address: str, mail: EmailMessage, seconds: float) -> Sent:
        """Run sendmail with the recipient as an argument behind `--`.

        With -t it would read the recipients from the headers, and a header more would be
        a recipient more; -i, because a line of one dot ends nothing.
        """
        argv = [path, "-i", "-f", self._sender, "--", address]
        sent, is_late = _run(argv, mail.as_bytes(policy=_WITH_LF), seconds)
        if is_late:
            self._down = sent.error
        return sent


def _check_program(path: str) -> None:
    """Refuse a sendmail that others could replace: root would run it."""
    if not os.path.isabs(path):
        raise ConfigError((f"notify.sendmail: {path}: must be a whole path",))
    if os.geteuid() == 0 and (found := doubts(path)):
        raise ConfigError(tuple(f"notify.sendmail: {each}" for each in found))


def _run(argv: list[str], letter: bytes, seconds: float) -> tuple[Sent, bool]:
    """Run sendmail in a session of its own; return what became of it, and whether it hung.

    Its input and output are files in memory, not pipes: one that does not read cannot
    block us, and one that leaves a child behind to deliver is not waited for.
    """
    with _in_memory("letter") as stdin, _in_memory("said") as said:
        stdin.write(letter)
        stdin.seek(0)
        try:
            child = subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=said,
                stderr=said,
                cwd="/",
                env=_ENVIRONMENT,
                start_new_session=True,
            )
        except OSError as error:
            return Sent(False, f"{argv[0]}: {error.strerror}"), False
        try:
            status = child.wait(seconds)
        except subprocess.TimeoutExpired:
            _end(child)
            # Its queue may have the letter: a sendmail delivers while it runs.
            words = f"{argv[0]}: did not end within {seconds:.0f} s"
            return Sent(False, words, uncertain=True), True
        said.seek(0)
        words = " ".join(said.read(_SHOWN).decode("utf-8", "backslashreplace").split())
    if status == 0:
        return Sent(True), False
    return Sent(False, printable(f"{argv[0]}: exit status {status}: {words}")), False


def _in_memory(name: str) -> FileIO:
    return FileIO(os.memfd_create(name, os.MFD_CLOEXEC), "r+")


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill a sendmail and what it started; it is not reaped yet, so the group is still its own."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        child.wait(1)
