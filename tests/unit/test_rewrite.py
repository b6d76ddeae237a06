"""The backend's announcements are found, and answered with the listener's address."""

from __future__ import annotations

import pytest

from tests.corpus.sessions import RESULTS, relayed
from vscadmin.proxy.rewrite import Announced, Announcements, Backend, Forward, Tcp, Unix

BLANKS = [b" ", b"   ", b"\t", b"\r"]
FORMS: list[tuple[bytes, Backend, bytes]] = [
    (b"37178", Tcp("127.0.0.1", 37178), b"50000"),
    (b"127.0.0.1:42179", Tcp("127.0.0.1", 42179), b"127.0.0.1:50000"),
    (b"0.0.0.0:42179", Tcp("0.0.0.0", 42179), b"127.0.0.1:50000"),  # noqa: S104
    (b"[::1]:42179", Tcp("::1", 42179), b"127.0.0.1:50000"),
    (b"localhost:1", Tcp("localhost", 1), b"127.0.0.1:50000"),
    (b"node-17.cluster:65535", Tcp("node-17.cluster", 65535), b"127.0.0.1:50000"),
    (b"/run/user/1000/s", Unix(b"/run/user/1000/s"), b"/tmp/proxy-0/s"),
    (b"/tmp/a=b \xff", Unix(b"/tmp/a=b \xff"), b"/tmp/proxy-0/s"),
    (b"/" + b"x" * 106, Unix(b"/" + b"x" * 106), b"/tmp/proxy-0/s"),
]
NOT_ONE = [
    b"listeningOn====",
    b"listeningOn==0==",
    b"listeningOn==65536==",
    b"listeningOn==127.0.0.1:65536==",
    b"listeningOn==127.0.0.1:0==",
    b"listeningOn==127.0.0.1:==",
    b"listeningOn==080==",
    b"listeningOn==[:]:7==",
    b"listeningOn==/==",
    b"listeningOn==/" + b"x" * 107 + b"==",
    b"listeningOn==/nul\0==",
    b"listeningOn==relative/path==",
    b"listeningOn==37178",
    b"listeningOn==37178=",
    b"listeningOn=37178==",
    b"ListeningOn==37178==",
    b"listeningOn==$LISTENING_ON==",
    b'echo "listeningOn==37178=="',
    b'    echo "listeningOn==37178=="',
    b"+ echo listeningOn==37178==",
    b"bash$ listeningOn==37178==",
    b"x listeningOn==37178==",
    b"-listeningOn==37178==",
    b"notlisteningOn==37178==",
]


@pytest.mark.parametrize(("written", "backend", "answered"), FORMS)
def test_every_form_is_announced_and_keeps_its_form(
    written: bytes, backend: Backend, answered: bytes
) -> None:
    line = b"6f1b: start\nlisteningOn==%b==\nnext"
    assert relayed([line % written]) == (line % answered, [backend])


@pytest.mark.parametrize("line", NOT_ONE)
@pytest.mark.parametrize("newline", [b"", b"\n", b"\r\n"])
def test_a_line_that_announces_nothing_passes_unchanged(line: bytes, newline: bytes) -> None:
    assert relayed([line + newline]) == (line + newline, [])


@pytest.mark.parametrize("name", RESULTS)
def test_only_the_addresses_of_a_real_result_are_changed(name: str) -> None:
    printed, expected = RESULTS[name]
    assert relayed([printed])[0] == expected


def test_every_announcement_of_a_session_is_told_of() -> None:
    printed, _ = RESULTS["twice"]
    ports = [each.port for each in relayed([printed])[1] if isinstance(each, Tcp)]
    assert ports == [42179, 40007, 42179]


def test_the_line_waits_for_its_answer_and_so_does_what_follows() -> None:
    rewriter = Announcements()
    first, second = Tcp("127.0.0.1", 42179), Tcp("127.0.0.1", 7)
    assert rewriter.receive_data(b"start\nlisteningOn==127.0.0.1:42179==\r\nlisten") == [
        Forward(b"start\n"),
        Announced(first),
    ]
    assert rewriter.receive_data(b"ingOn==7==\nend\n") == []
    assert rewriter.answer(Tcp("127.0.0.1", 50000)) == [
        Forward(b"listeningOn==127.0.0.1:50000==\r\n"),
        Announced(second),
    ]
    assert rewriter.answer(None) == [Forward(b"listeningOn==7==\nend\n")]
    assert rewriter.receive_data(b"  ") == [Forward(b"  ")]


def test_an_announcement_is_told_of_before_its_line_has_ended() -> None:
    told = Announcements().receive_data(b"listeningOn==42179==")
    assert told == [Announced(Tcp("127.0.0.1", 42179))]


def test_a_line_announces_one_backend() -> None:
    text = b"listeningOn==7==listeningOn==8==\n"
    assert relayed([text]) == (text.replace(b"7", b"50000"), [Tcp("127.0.0.1", 7)])


def test_the_server_may_be_answered_by_another_kind_of_listener() -> None:
    rewriter = Announcements()
    rewriter.receive_data(b"listeningOn==42179==\n")
    assert rewriter.answer(Unix(b"/tmp/s")) == [Forward(b"listeningOn==/tmp/s==\n")]
    rewriter.receive_data(b"listeningOn==/tmp/backend==\n")
    assert rewriter.answer(Tcp("::1", 5)) == [Forward(b"listeningOn==127.0.0.1:5==\n")]


def test_an_answer_that_nobody_asked_for_is_a_bug() -> None:
    with pytest.raises(RuntimeError, match="nothing was announced"):
        Announcements().answer(None)


@pytest.mark.parametrize("held", [b"li", b"listeningOn==127.0.0.1:4217", b"listeningOn==/tmp/a="])
def test_the_end_releases_what_could_have_become_an_announcement(held: bytes) -> None:
    rewriter = Announcements()
    assert rewriter.receive_data(b"x\n" + held) == [Forward(b"x\n")]
    assert rewriter.end() == [Forward(held)]
    assert rewriter.end() == []


def test_the_end_releases_what_was_never_answered() -> None:
    rewriter = Announcements()
    rewriter.receive_data(b"listeningOn==7==\nlisteningOn==8==\nend")
    assert rewriter.end() == [Forward(b"listeningOn==7==\nlisteningOn==8==\nend")]


@pytest.mark.parametrize("text", [b"login01$ ", b"> ", b"(base) ", b"Password: ", b"lo", b"\xff"])
def test_a_prompt_is_not_delayed(text: bytes) -> None:
    assert Announcements().receive_data(text) == [Forward(text)]


@pytest.mark.parametrize("blank", BLANKS)
def test_a_blank_passes_at_once_and_the_line_is_still_at_its_start(blank: bytes) -> None:
    rewriter = Announcements()
    assert rewriter.receive_data(blank) == [Forward(blank)]
    assert rewriter.receive_data(blank + b"listeningOn==7==\n") == [
        Forward(blank),
        Announced(Tcp("127.0.0.1", 7)),
    ]


def test_a_line_is_held_only_while_it_could_be_one() -> None:
    rewriter = Announcements()
    assert rewriter.receive_data(b"listeningOn==127.0.0") == []
    assert rewriter.receive_data(b".1 is my address") == [
        Forward(b"listeningOn==127.0.0.1 is my address")
    ]
    assert rewriter.receive_data(b"listeningOn==7==") == [Forward(b"listeningOn==7==")]


def test_a_path_that_no_socket_can_have_is_not_held() -> None:
    rewriter = Announcements()
    text = b"listeningOn==/" + b"x" * 106
    assert rewriter.receive_data(text) == []
    assert rewriter.receive_data(b"yz") == [Forward(text + b"yz")]


def test_nothing_is_forwarded_for_nothing() -> None:
    assert Announcements().receive_data(b"") == []
    assert Announcements().end() == []
