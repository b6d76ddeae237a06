"""The parser reads a session's output, however it is cut."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.remote_ssh.result import (
    Event,
    KeepAlive,
    Platform,
    Progress,
    Ready,
    Result,
    ResultParser,
    Running,
    Shell,
)

ID = "5f8a2b3c4d5e"
SESSION = (
    b"Welcome to login01\r\n"
    b"ready: 5f8a2b3c4d5e\n"
    b"Linux 5.14.0-503.el9.x86_64 #1 SMP x86_64\n"
    b"bash\n"
    b"5f8a2b3c4d5e: running\n"
    b"Acquiring lock on /home/zo\xc3\xab/.lock\n"
    b'echo "listeningOn==$LISTENING_ON=="\n'
    b"listeningOn==999==\n"
    b"5f8a2b3c4d5e: start\r\n"
    b'echo "listeningOn==$LISTENING_ON=="\n'
    b"listeningOn==127.0.0.1:33691==osReleaseId==rocky==   \r\n"
    b"unpackResult====\n"
    b"execServerToken==f0e1d2c3==\n"
    b"5f8a2b3c4d5e: end\n"
    b"  bye \n "
)
VALUES = {
    "listeningOn": "127.0.0.1:33691",
    "osReleaseId": "rocky",
    "unpackResult": "",
    "execServerToken": "f0e1d2c3",
}
EVENTS: list[Event] = [
    Progress("Welcome to login01"),
    Ready(),
    Platform("Linux 5.14.0-503.el9.x86_64 #1 SMP x86_64"),
    Shell("bash"),
    Running(),
    Progress("Acquiring lock on /home/zoë/.lock"),
    Progress('echo "listeningOn==$LISTENING_ON=="'),
    Progress("listeningOn==999=="),
    Progress('echo "listeningOn==$LISTENING_ON=="'),
    Result(VALUES),
    KeepAlive(),
    KeepAlive(),
    Progress("bye"),
    KeepAlive(),
]


def events(*pieces: bytes) -> list[Event]:
    parser = ResultParser(ID)
    return [event for piece in pieces for event in parser.receive_data(piece)]


def result(*lines: str) -> Result:
    text = "\n".join((f"{ID}: start", *lines, f"{ID}: end", ""))
    (found,) = events(text.encode())
    assert isinstance(found, Result)
    return found


def test_a_session_is_read() -> None:
    assert events(SESSION) == EVENTS


@given(st.lists(st.integers(0, len(SESSION))))
def test_any_chunking_gives_the_same_events(cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(SESSION)]
    pieces = [SESSION[a:b] for a, b in itertools.pairwise(bounds)]
    assert events(*pieces) == EVENTS


@given(st.lists(st.binary()), st.sampled_from(["", f"{ID}: start\n", f"{ID}: start\n{ID}: end\n"]))
def test_no_bytes_are_too_odd(pieces: list[bytes], head: str) -> None:
    assert events(head.encode(), *pieces) == events(head.encode() + b"".join(pieces))


def test_a_session_without_a_greeting_is_read() -> None:
    block = f"{ID}: running\nfirst\n{ID}: start\nlisteningOn==1==\n{ID}: end\n".encode()
    assert events(block) == [Running(), Progress("first"), Result({"listeningOn": "1"})]


def test_another_sessions_lines_are_none_of_ours() -> None:
    line = "0123456789ab: running"
    assert events(f"{line}\n".encode()) == [Progress(line)]


@pytest.mark.parametrize(
    ("place", "endpoint"),
    [
        ("37178", ("127.0.0.1", 37178)),
        ("127.0.0.1:42179", ("127.0.0.1", 42179)),
        ("0.0.0.0:42179", ("127.0.0.1", 42179)),
        ("[::1]:42179", ("127.0.0.1", 42179)),
        ("/tmp/code-1", Path("/tmp/code-1")),
        ("", None),
    ],
)
def test_the_client_dials_loopback_or_the_path(place: str, endpoint: object) -> None:
    assert result(f"listeningOn=={place}==").endpoint == endpoint


def test_a_failure_has_a_number() -> None:
    failed = result("exitCode==32==", "listeningOn====")
    assert (failed.exit_code, failed.endpoint) == (32, None)


def test_the_token_is_the_servers_own() -> None:
    """What the exec server asks for is between it and the client: it passes bytes on."""
    tokens = [result(f"{key}==abc==").token for key in ("connectionToken", "execServerToken")]
    assert tokens == ["abc", "remotessh"]
