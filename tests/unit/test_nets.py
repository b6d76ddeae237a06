"""Socket tables in the kernel's text and netlink forms."""

from __future__ import annotations

import struct

import pytest

from vscadmin.model import Endpoint, UnixSocket
from vscadmin.procs import nets

# ruff: noqa: E501 - lines as the kernel prints them
TCP = b"""  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:A4C3 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 41 1 0 100
   1: 0100007F:A4C3 0100007F:C738 01 00000000:00000000 00:00000000 00000000  1001        0 42 1 0 20
   2: 0100007F:A4C3 0100007F:C740 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0
"""
TCP6 = b"""  sl  local_address                         remote_address                        st
   0: 0000000000000000FFFF00000100007F:A4C3 0000000000000000FFFF00000100007F:C738 01 0:0 0:0 0 1001 0 43 1
   1: 00000000000000000000000001000000:A4C3 00000000000000000000000000000000:0000 0A 0:0 0:0 0 1001 0 44 1
"""


def test_tcp_sockets_are_read_with_their_states() -> None:
    listener, connection, closing = nets.parse_tcp(TCP)
    assert listener[:1] + listener[2:] == (Endpoint("127.0.0.1", 42179), True, False, 41)
    assert connection.remote == Endpoint("127.0.0.1", 51000)
    assert (connection.established, connection.inode) == (True, 42)
    assert not closing.listening
    assert not closing.established


def test_ipv4_in_ipv6_is_ipv4() -> None:
    mapped, six = nets.parse_tcp(TCP6)
    assert mapped.local == Endpoint("127.0.0.1", 42179)
    assert str(six.local) == "[::1]:42179"


@pytest.mark.parametrize("bad", [b"head\n 0: 0100007F:A4C3\n", b"head\n" + b"x " * 12])
def test_a_line_of_another_form_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        nets.parse_tcp(bad)


UNIX = b"""Num       RefCount Protocol Flags    Type St Inode Path
0000000018833229: 00000002 00000000 00010000 0001 01  1071 /tmp/code-a b
0000000018833230: 00000003 00000000 00000000 0001 03  1072 /tmp/code-a b
0000000058613bb7: 00000003 00000000 00000000 0001 03  1073
"""


def test_unix_sockets_in_text_have_no_peers() -> None:
    listener, accepted, nameless = nets.parse_unix(UNIX)
    assert listener == UnixSocket(b"/tmp/code-a b", True, False, 1071, None)
    assert accepted == UnixSocket(b"/tmp/code-a b", False, True, 1072, None)
    assert nameless.path == b""


def test_a_path_with_a_newline_cannot_forge_a_socket() -> None:
    forged = UNIX + b"0000000058613bb8: 00000002 00000000 00010000 0001 01  1072 /tmp/victim\n"
    with pytest.raises(ValueError, match="twice"):
        nets.parse_unix(forged)
    with pytest.raises(ValueError, match="another form"):
        nets.parse_unix(UNIX + b"/tmp/half a line\n")


def attribute(kind: int, value: bytes) -> bytes:
    padded = value + b"\0" * (-len(value) % 4)
    return struct.pack("=HH", 4 + len(value), kind) + padded


def message(state: int, inode: int, *attributes: bytes) -> bytes:
    body = struct.pack("=BBBBIII", 1, 1, state, 0, inode, 0, 0) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), 20, 2, 1, 0) + body


DONE = struct.pack("=IHHIIi", 20, 3, 2, 1, 0, 0)


def test_netlink_names_path_and_peer() -> None:
    path = attribute(0, b"/tmp/code-a\nb\0")
    data = message(10, 1071, path) + message(1, 1072, path, attribute(2, struct.pack("=I", 99)))
    sockets, done = nets.parse_unix_reply(data)
    assert sockets == [
        UnixSocket(b"/tmp/code-a\nb", True, False, 1071, 0),
        UnixSocket(b"/tmp/code-a\nb", False, True, 1072, 99),
    ]
    assert not done
    assert nets.parse_unix_reply(DONE) == ([], True)


def test_netlinks_refusal_is_an_error() -> None:
    with pytest.raises(ValueError, match="refused"):
        nets.parse_unix_reply(struct.pack("=IHHIIi", 20, 2, 2, 1, 0, -2))


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("=IHHIIi", 20, 3, 2, 1, 0, -105),
        struct.pack("=IHHIIi", 20, 3, 2 | 0x10, 1, 0, 0),
    ],
)
def test_a_list_that_is_not_whole_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="list of unix sockets"):
        nets.parse_unix_reply(data)


def test_a_cut_message_is_refused() -> None:
    with pytest.raises(ValueError, match="cut message"):
        nets.parse_unix_reply(message(10, 1071)[:-4])


def test_an_attribute_of_no_length_ends_the_list() -> None:
    sockets, _ = nets.parse_unix_reply(message(1, 7, b"\0\0\0\0"))
    assert sockets == [UnixSocket(b"", False, True, 7, 0)]


def test_the_request_asks_for_names_and_peers_of_all() -> None:
    request = nets.unix_request()
    length, kind, flags, _, _ = struct.unpack_from("=IHHII", request)
    assert (length, kind, flags) == (len(request), 20, 0x301)
    family, _, _, states, _, show, _, _ = struct.unpack_from("=BBHIIIII", request, 16)
    assert (family, states, show) == (1, 0xFFFFFFFF, 5)
