"""What holds of the rewriters and of redaction for every stream, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.corpus.sessions import (
    BOOTSTRAPS,
    EVERYTHING,
    HOST,
    RESULTS,
    bound,
    pieces,
    relayed,
    replacement,
)
from vscadmin.proxy.bind import BindRewriter
from vscadmin.proxy.redact import Redactor, redact
from vscadmin.proxy.rewrite import Announced, Announcements, Backend, Forward, Tcp, Unix

CUTS = st.lists(st.integers(0), max_size=30)

ADDRESSES = [
    b"37178", b"127.0.0.1:42179", b"[::1]:1", b"node:65535", b"/run/a=b/s", b"/" + b"x" * 106,
]  # fmt: skip
KEY = b"listeningOn=="
LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-"
COMPLETIONS = {
    line[at:]
    for line in (KEY + each + b"==" for each in (b"7", b"h:7", b"[::]:7", b"/p"))
    for at in range(len(line))
}
# Pieces of streams that are announcements, nearly are, or stand around them.
OUTPUT = st.lists(
    st.sampled_from(
        [
            *ADDRESSES,
            KEY,
            KEY[:5],
            b"=",
            b"==",
            b"\n",
            b"\r\n",
            b" ",
            b"\t",
            b"\r",
            b"x",
            b"0",
            b"/",
        ]
        + [b"\n%b%b==" % (KEY, each) for each in ADDRESSES]
        + [b"%b%b==" % (KEY, each) for each in ADDRESSES]
    )
    | st.binary(max_size=4),
    max_size=40,
).map(b"".join)
INPUT = st.lists(
    st.sampled_from(
        [b"--start-server", b"SERVER_SCRIPT", b"server.sh", b"command-shell", b"LISTEN_ARGS="]
        + [b"--host=", b"--host ", b"--on-host=", b"--on-port", b"--socket-path=", b"127.0.0.1"]
        + [b"localhost", b"[::1]", b"$X", HOST, b" ", b'"', b"'", b"\\", b"\n", b"\\\n", b"-", b"x"]
    )
    | st.sampled_from([b"\xff", b"\0", b"\r", b"s", b"_"]),
    max_size=40,
).map(b"".join)
TEXT = st.lists(
    st.sampled_from(
        ["token", "Token=", "TOKEN==", "--require-token", "secret=", "echo ", "printf '%s\\n' "]
        + [" > ", "x.token", "got Some(", '"', "'", "$", "=", "==", ",", " ", "\n", "\\", "5ec2e7"]
    )
    | st.text(max_size=3),
    max_size=40,
).map("".join)


@given(OUTPUT | st.sampled_from([pair[0] for pair in RESULTS.values()]), CUTS)
def test_any_chunking_of_stdout_gives_the_same_output(data: bytes, cuts: list[int]) -> None:
    assert relayed(pieces(data, cuts)) == relayed([data])


@given(OUTPUT, CUTS)
def test_a_late_answer_gives_the_same_output(data: bytes, cuts: list[int]) -> None:
    assert relayed(pieces(data, cuts), late=True) == relayed([data])


@given(OUTPUT, CUTS)
def test_without_an_answer_nothing_is_changed(data: bytes, cuts: list[int]) -> None:
    rewriter = Announcements()
    out = b""
    for piece in pieces(data, cuts):
        events = rewriter.receive_data(piece)
        while events:
            event = events.pop(0)
            if isinstance(event, Forward):
                out += event.data
            else:
                events += rewriter.answer(None)
    out += b"".join(event.data for event in rewriter.end() if isinstance(event, Forward))
    assert out == data


@given(OUTPUT | st.sampled_from([pair[0] for pair in RESULTS.values()]))
def test_only_the_addresses_are_changed(data: bytes) -> None:
    assert relayed([data]) == read_line_by_line(data)


def read_line_by_line(data: bytes) -> tuple[bytes, list[Backend]]:
    """Do what the rewriter does, with the whole stream at hand and no regular expression."""
    lines: list[bytes] = []
    announced: list[Backend] = []
    for line in data.split(b"\n"):
        body = line.lstrip(b" \t\r")
        address, end, rest = body.removeprefix(KEY).partition(b"==")
        backend = backend_of(address) if body.startswith(KEY) and end else None
        if backend is not None:
            new = written(replacement(len(announced), backend), bare=b":" not in address)
            line = line[: len(line) - len(body)] + KEY + new + end + rest  # noqa: PLW2901
            announced.append(backend)
        lines.append(line)
    return b"\n".join(lines), announced


def backend_of(address: bytes) -> Backend | None:
    if address.startswith(b"/"):
        fits = 2 <= len(address) <= 107 and not set(address) & set(b"\0\r")
        return Unix(address) if fits else None
    host, colon, port = address.rpartition(b":")
    if not port.isdigit() or port.startswith(b"0") or int(port) > 65535:
        return None
    if not colon:
        return Tcp("127.0.0.1", int(port))
    bare = host[1:-1] if host[:1] + host[-1:] == b"[]" else host
    letters, limits = (LETTERS, (1, 64)) if bare == host else (b"0123456789abcdefABCDEF:.", (2, 45))
    if set(bare) - set(letters) or not limits[0] <= len(bare) <= limits[1]:
        return None
    return Tcp(bare.decode(), int(port))


def written(backend: Backend, *, bare: bool) -> bytes:
    if isinstance(backend, Unix):
        return backend.path
    return b"%d" % backend.port if bare else b"127.0.0.1:%d" % backend.port


@given(OUTPUT, st.integers(0))
def test_nothing_is_held_that_cannot_become_an_announcement(data: bytes, cut: int) -> None:
    data = pieces(data, [cut])[0]
    rewriter = Announcements()
    events = rewriter.receive_data(data)
    if any(isinstance(event, Announced) for event in events):
        return
    passed = b"".join(event.data for event in events if isinstance(event, Forward))
    held = data.removeprefix(passed)
    assert passed + held == data
    assert len(held) <= 121
    assert not held or any(is_announced(held + each) for each in COMPLETIONS)


def is_announced(line: bytes) -> bool:
    return any(isinstance(event, Announced) for event in Announcements().receive_data(line))


@pytest.mark.parametrize("address", ADDRESSES)
def test_whatever_begins_an_announcement_is_held(address: bytes) -> None:
    """Were a byte of it gone, the address could not be replaced any more."""
    line = KEY + address + b"=="
    for end in range(1, len(line)):
        assert Announcements().receive_data(line[:end]) == []


@given(INPUT | st.sampled_from([pair[0] for pair in BOOTSTRAPS.values()]), CUTS)
def test_any_chunking_of_stdin_gives_the_same_script(data: bytes, cuts: list[int]) -> None:
    assert bound(pieces(data, cuts)) == bound([data])


@given(INPUT)
def test_a_rewritten_stdin_is_not_rewritten_again(data: bytes) -> None:
    once, _ = bound([data])
    assert bound([once])[0] == once


@given(INPUT)
def test_only_bind_hosts_are_changed_on_stdin(data: bytes) -> None:
    assert with_one_host(bound([data])[0]) == with_one_host(data)


def with_one_host(script: bytes) -> bytes:
    for address in (b"127.0.0.1", b"localhost", b"[::1]"):
        script = script.replace(address, HOST)
    return script.replace(b"--on-host=%b --on-port" % HOST, b"--on-port")


@given(st.binary(max_size=200).filter(lambda data: b"s" not in data and b"S" not in data))
def test_what_names_no_server_is_not_delayed(data: bytes) -> None:
    """Each word that begins such a command has an s in it."""
    assert BindRewriter(HOST).receive_data(data) == ([Forward(data)] if data else [])


@given(TEXT | st.sampled_from(EVERYTHING).map(lambda data: data.decode("latin-1")), CUTS)
def test_any_chunking_is_redacted_like_the_whole(text: str, cuts: list[int]) -> None:
    data = text.encode()
    redactor = Redactor()
    out = b"".join(redactor.feed(piece) for piece in pieces(data, cuts)) + redactor.end()
    assert out.decode() == redact(text)


@given(TEXT)
def test_redaction_only_replaces(text: str) -> None:
    """What is left of the text stands in it, in order."""
    at = 0
    for kept in redact(text).split("[redacted]"):
        at = text.index(kept, at) + len(kept)


@given(st.from_regex(r"[0-9A-Za-z_-]{8,40}", fullmatch=True), st.text(max_size=20), CUTS)
def test_a_token_never_leaks(token: str, around: str, cuts: list[int]) -> None:
    """A server takes tokens of these characters only."""
    lines = ("connectionToken=={}==", "--connection-token={} x", 'X_TOKEN="{}"', "?tkn={}&x")
    for line in lines:
        data = (around + "\n" + line.format(token) + "\n" + around).encode()
        redactor = Redactor()
        out = b"".join(redactor.feed(piece) for piece in pieces(data, cuts)) + redactor.end()
        kept = (around + "\n" + line.format("[redacted]") + "\n" + around).encode()
        assert out == kept
