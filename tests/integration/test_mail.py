"""Letters to a real mail server on the loopback, and through a real MTA's sendmail."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.office import Office, free_port
from tests.run import eventually
from vscadmin.cleanup.letters import Letter
from vscadmin.cleanup.mail import Mailer
from vscadmin.cleanup.smtp import Sent
from vscadmin.errors import ConfigError
from vscadmin.policy.settings import Notify

HOST = "login01.example.edu"
LETTER = Letter("ada@example.edu", "Your server", "Hello ada,\n.\nFrom here: Zürich\n~!id\n")
REAL_SENDMAIL = shutil.which("msmtp", path="/usr/bin:/usr/sbin")
needs_sendmail = pytest.mark.skipif(
    REAL_SENDMAIL is None and os.environ.get("CI") != "true", reason="msmtp-mta is not installed"
)


def soon(seconds: float = 20) -> float:
    return time.monotonic() + seconds


@contextmanager
def server(behave: Callable[[socket.socket], None]) -> Iterator[Notify]:
    """Run a server that is none: *behave* is called with each connection, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                kept.append(connection)
                try:
                    behave(connection)
                except OSError:
                    continue

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield Office(port=listener.getsockname()[1]).notify
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        for each in kept:
            each.close()


def drip(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"2")
        time.sleep(0.1)


# SMTP.


def test_a_letter_is_delivered_and_arrives_as_it_was_written(office: Office) -> None:
    with Mailer(office.notify, HOST) as mailer:
        assert mailer.deliver(LETTER, soon()) == Sent(True)
    (envelope,) = office.mails
    assert (envelope.mail_from, envelope.rcpt_tos) == ("noreply@example.edu", ["ada@example.edu"])
    mail = office.read()
    assert mail["Subject"] == "Your server"
    assert mail["From"] == "HPC login nodes <noreply@example.edu>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content().replace("\r\n", "\n") == LETTER.body


def test_the_letters_of_a_run_share_a_connection(office: Office) -> None:
    with Mailer(office.notify, HOST) as mailer:
        sent = [mailer.deliver(LETTER, soon()).delivered for _ in range(5)]
    assert sent == [True] * 5
    assert len(set(office.peers)) == 1


@pytest.mark.parametrize("answer", ["550 5.1.1 no such user", "451 4.7.1 greylisted"])
def test_a_recipient_that_is_refused_harms_no_other(office: Office, answer: str) -> None:
    office.answers["bob@example.edu"] = answer
    with Mailer(office.notify, HOST) as mailer:
        refused = mailer.deliver(replace(LETTER, address="bob@example.edu"), soon())
        taken = mailer.deliver(LETTER, soon())
    assert (refused.delivered, refused.error) == (False, answer)
    assert taken.delivered
    assert [each.rcpt_tos for each in office.mails] == [["ada@example.edu"]]


@pytest.mark.parametrize("answer", ["554 5.7.1 spam", "452 4.3.1 disk full"])
def test_a_letter_refused_after_it_was_sent_is_not_delivered(office: Office, answer: str) -> None:
    office.after_data = answer
    with Mailer(office.notify, HOST) as mailer:
        assert mailer.deliver(LETTER, soon()) == Sent(False, answer)


def test_only_250_delivers(office: Office) -> None:
    """A 252 says that the server could not find out; nothing may rest on it."""
    office.answers["ada@example.edu"] = "252 2.0.0 cannot verify"
    with Mailer(office.notify, HOST) as mailer:
        assert not mailer.deliver(LETTER, soon()).delivered


def test_a_server_that_closed_meanwhile_is_called_again(office: Office) -> None:
    with Mailer(office.notify, HOST) as mailer:
        assert mailer.deliver(LETTER, soon()).delivered
        assert mailer._connection is not None
        assert mailer._connection._smtp is not None
        assert mailer._connection._smtp.sock is not None
        mailer._connection._smtp.sock.shutdown(socket.SHUT_RDWR)
        assert mailer.deliver(LETTER, soon()).delivered
    assert len(set(office.peers)) == 2


def test_a_server_that_is_down_is_a_value_and_asked_once() -> None:
    notify = Office(port=free_port()).notify
    with Mailer(notify, HOST) as mailer:
        first, second = mailer.deliver(LETTER, soon()), mailer.deliver(LETTER, soon())
    assert not first.delivered
    assert "Connection refused" in first.error
    assert second.error.startswith("not tried")


def test_a_server_that_never_speaks_is_given_up_once_for_all_letters() -> None:
    with server(lambda _: None) as notify, Mailer(notify, HOST) as mailer:
        start = time.monotonic()
        first = mailer.deliver(LETTER, soon(1))
        rest = [mailer.deliver(LETTER, soon()) for _ in range(20)]
        assert time.monotonic() - start < 10
    assert not first.delivered
    assert "no answer within" in first.error
    assert not any(each.delivered for each in rest)


def test_a_server_that_drips_is_given_up_as_well() -> None:
    """Each byte is in time, so no time-out of a socket ever sees it."""
    with server(drip) as notify, Mailer(notify, HOST) as mailer:
        start = time.monotonic()
        sent = mailer.deliver(LETTER, soon(1))
        assert time.monotonic() - start < 10
    assert not sent.delivered
    assert "no answer within" in sent.error


def taking(last: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    """Return a server that takes a letter whole, and then does *last*."""

    def take(connection: socket.socket) -> None:
        with connection.makefile("rwb", buffering=0) as lines:
            lines.write(b"220 hello\r\n")
            for answer in (b"250 hello", b"250 fine", b"250 fine", b"354 go on"):
                lines.readline()
                lines.write(answer + b"\r\n")
            while lines.readline() != b".\r\n":
                pass
            last(connection)

    return take


@pytest.mark.parametrize("last", [lambda connection: connection.recv(1), drip])
def test_a_server_that_hangs_after_the_letter_may_have_delivered_it(
    last: Callable[[socket.socket], None],
) -> None:
    with server(taking(last)) as notify, Mailer(notify, HOST) as mailer:
        start = time.monotonic()
        sent = mailer.deliver(LETTER, soon(3))
        assert time.monotonic() - start < 15
        rest = mailer.deliver(LETTER, soon())
    assert (sent.delivered, sent.uncertain) == (False, True)
    assert "no answer within" in sent.error
    assert rest.error.startswith("not tried")
    assert not rest.uncertain


@pytest.mark.parametrize(
    ("said", "uncertain"),
    [
        (b"", True),
        (b"nonsense\r\n", True),
        (b"252 who knows\r\n", True),
        (b"2" * 10000, True),
        (b"421 closing\r\n", False),
        (b"451 try later\r\n", False),
        (b"554 spam\r\n", False),
    ],
)
def test_only_a_clear_answer_after_the_letter_settles_it(said: bytes, uncertain: bool) -> None:
    def last(connection: socket.socket) -> None:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_RDWR)

    with server(taking(last)) as notify, Mailer(notify, HOST) as mailer:
        sent = mailer.deliver(LETTER, soon())
    assert (sent.delivered, sent.uncertain) == (False, uncertain)
    assert sent.error.isprintable()
    assert sent.error


def test_a_server_that_stops_reading_in_the_middle_has_no_letter() -> None:
    def stop(connection: socket.socket) -> None:
        with connection.makefile("rwb", buffering=0) as lines:
            lines.write(b"220 hello\r\n")
            for answer in (b"250 hello", b"250 fine", b"250 fine", b"354 go on"):
                lines.readline()
                lines.write(answer + b"\r\n")

    long = replace(LETTER, body="word " * 5_000_000)
    with server(stop) as notify, Mailer(notify, HOST) as mailer:
        sent = mailer.deliver(long, soon(3))
    assert (sent.delivered, sent.uncertain) == (False, False)
    assert "no answer within" in sent.error


@pytest.mark.parametrize("said", [b"554 go away\r\n", b"\x1b[2J\xff nonsense\r\n", b""])
def test_a_server_that_speaks_no_smtp_is_a_value(said: bytes) -> None:
    def speak(connection: socket.socket) -> None:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_RDWR)

    with server(speak) as notify, Mailer(notify, HOST) as mailer:
        sent = mailer.deliver(LETTER, soon())
    assert not sent.delivered
    assert sent.error.isprintable()


def test_no_letter_is_begun_when_the_run_is_out_of_time(office: Office) -> None:
    with Mailer(office.notify, HOST) as mailer:
        assert mailer.deliver(LETTER, time.monotonic()).error == "no time left in this run"
        assert mailer.deliver(LETTER, soon()).delivered
    assert len(office.mails) == 1


def test_a_wrong_header_is_a_value_and_nothing_is_sent(office: Office) -> None:
    with Mailer(office.notify, HOST) as mailer:
        sent = mailer.deliver(replace(LETTER, subject="x\nBcc: all@example.edu"), soon())
    assert sent.error.startswith("mail header Subject: holds a control character")
    assert office.mails == []


def test_a_policy_with_wrong_headers_sends_nothing() -> None:
    with pytest.raises(ConfigError, match="mail header From"):
        Mailer(Notify(smtp="localhost:25", sender="a\nb", address="{user}"), HOST)


# sendmail.


def by_sendmail(path: str | Path) -> Notify:
    return Notify(sendmail=str(path), sender="HPC <noreply@example.edu>", address="{user}@x.edu")


def script(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(("#!/bin/sh", *lines)) + "\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def msmtp(tmp_path: Path, office: Office) -> Path:
    """Return the sendmail of msmtp-mta, with a configuration of its own for this server."""
    settings = tmp_path / "msmtprc"
    settings.write_text(f"account default\nhost 127.0.0.1\nport {office.port}\nauth off\ntls off\n")
    return script(tmp_path / "sendmail", f'exec {REAL_SENDMAIL} -C {settings} "$@"')


@needs_sendmail
def test_a_real_sendmail_delivers_the_letter_as_it_was_written(msmtp: Path, office: Office) -> None:
    with Mailer(by_sendmail(msmtp), HOST) as mailer:
        assert mailer.deliver(LETTER, soon()) == Sent(True)
    (envelope,) = office.mails
    assert (envelope.mail_from, envelope.rcpt_tos) == ("noreply@example.edu", ["ada@example.edu"])
    assert office.read().get_content().replace("\r\n", "\n") == LETTER.body


@needs_sendmail
def test_a_real_sendmail_that_cannot_deliver_is_a_value(msmtp: Path, office: Office) -> None:
    office.answers["bob@example.edu"] = "550 5.1.1 no such user"
    with Mailer(by_sendmail(msmtp), HOST) as mailer:
        refused = mailer.deliver(replace(LETTER, address="bob@example.edu"), soon())
        assert mailer.deliver(LETTER, soon()).delivered
    assert not refused.delivered
    assert "exit status" in refused.error
    assert "no such user" in refused.error


def test_sendmail_gets_the_recipient_as_an_argument_and_little_else(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    program = script(
        tmp_path / "sendmail", f'{{ printf "%s\\n" "$@"; env; ps -o sid= -p $$; }} > {seen}'
    )
    with Mailer(by_sendmail(program), HOST) as mailer:
        assert mailer.deliver(LETTER, soon()).delivered
    arguments, rest = seen.read_text().split("PATH=", 1)
    assert arguments.split("\n")[:5] == [
        "-i", "-f", "noreply@example.edu", "--", "ada@example.edu",
    ]  # fmt: skip
    assert "HOME=" not in arguments + rest
    assert str(os.getsid(0)) not in rest.split()


def test_a_sendmail_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    program = script(tmp_path / "sendmail", "sleep 60 &", f"echo $$ $! > {pids}", "wait")
    with Mailer(by_sendmail(program), HOST) as mailer:
        sent = mailer.deliver(LETTER, soon(3))
        assert mailer.deliver(LETTER, soon()).error.startswith("not tried")
    assert sent == Sent(False, f"{program}: did not end within 3 s", uncertain=True)
    for pid in map(int, pids.read_text().split()):
        eventually(lambda pid=pid: is_alive(pid), lambda alive: not alive)  # type: ignore[misc]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_a_sendmail_that_delivers_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    """It keeps our standard output open, as a queue runner that is forked off does."""
    pid = tmp_path / "pid"
    program = script(tmp_path / "sendmail", f"sleep 60 & echo $! > {pid}; exit 0")
    start = time.monotonic()
    with Mailer(by_sendmail(program), HOST) as mailer:
        assert mailer.deliver(LETTER, soon()).delivered
    assert time.monotonic() - start < 10
    child = int(pid.read_text())
    assert is_alive(child), "what it left behind is its own affair"
    os.kill(child, signal.SIGKILL)


def test_a_sendmail_that_does_not_read_does_not_block(tmp_path: Path) -> None:
    program = script(tmp_path / "sendmail", "printf '\\033[2Jno\\nroom' >&2; exit 75")
    with Mailer(by_sendmail(program), HOST) as mailer:
        sent = mailer.deliver(replace(LETTER, body="x" * 1_000_000), soon())
    assert sent.error == f"{program}: exit status 75: \\x1b[2Jno room"


def test_a_sendmail_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match="must be a whole path"):
        Mailer(by_sendmail("sendmail"), HOST)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is that careful")
def test_root_runs_no_sendmail_that_others_can_change(tmp_path: Path) -> None:
    program = script(tmp_path / "sendmail", "exit 0")
    program.chmod(0o777)
    with pytest.raises(ConfigError, match=r"notify\.sendmail: .*others can write it"):
        Mailer(by_sendmail(program), HOST)
    with pytest.raises(ConfigError, match="No such file"):
        Mailer(by_sendmail(tmp_path / "gone"), HOST)
