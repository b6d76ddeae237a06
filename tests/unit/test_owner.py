"""Whose process holds the other end of a connection; where that is not certain, nobody's."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator

import pytest

from tests.relaying import connected, reset
from vscadmin.proxy import owner
from vscadmin.proxy.owner import Owners

US = os.geteuid()


@pytest.fixture
def owners() -> Iterator[Owners]:
    made = Owners()
    yield made
    made.close()


@pytest.mark.parametrize("family", ["tcp", "tcp6", "unix"])
def test_both_ends_of_our_own_connection_are_ours(owners: Owners, family: str) -> None:
    one, other = connected(family)
    with one, other:
        assert (owners.uid_of_peer(one), owners.uid_of_peer(other)) == (US, US)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_listener_for_both_families_sees_whose_each_is(owners: Owners, host: str) -> None:
    """IPv4 arrives there as ::ffff:127.0.0.1, and the client's socket is an IPv4 one."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        client = socket.create_connection((host, listener.getsockname()[1]))
        accepted, _ = listener.accept()
        with client, accepted:
            assert owners.uid_of_peer(accepted) == US


@pytest.mark.parametrize("family", ["tcp", "tcp6"])
def test_a_client_that_half_closed_still_holds_its_end(owners: Owners, family: str) -> None:
    client, accepted = connected(family)
    with client, accepted:
        client.sendall(b"all I want")
        client.shutdown(socket.SHUT_WR)
        assert owners.uid_of_peer(accepted) == US


@pytest.mark.parametrize("family", ["tcp", "tcp6"])
def test_a_client_that_closed_is_nobody(owners: Owners, family: str) -> None:
    """The kernel says uid 0 of such a socket: root's proxy must not believe that."""
    client, accepted = connected(family)
    client.close()
    with accepted:
        assert owners.uid_of_peer(accepted) is None


def test_a_client_that_reset_is_nobody(owners: Owners) -> None:
    client, accepted = connected("tcp")
    reset(client)
    with accepted:
        assert owners.uid_of_peer(accepted) is None


def test_a_socket_without_a_peer_has_none(owners: Owners) -> None:
    with socket.socket() as alone, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        assert owners.uid_of_peer(alone) is None
        datagram.connect(("127.0.0.1", 9))
        assert owners.uid_of_peer(datagram) is None
    assert owners.uid_of_peer(alone) is None


def test_without_a_descriptor_for_the_question_nobody_is_known_until_there_is_one(
    owners: Owners,
) -> None:
    one, other = connected("tcp")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with one, other:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            assert owners.uid_of_peer(one) is None
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert owners.uid_of_peer(one) == US


@pytest.mark.parametrize("family", ["tcp", "tcp6", "unix"])
def test_the_kernel_can_be_asked(owners: Owners, family: str) -> None:
    one, other = connected(family)
    with one:
        with other:
            assert owners.can_ask(one)
        assert owners.can_ask(one), "our own end is known, though its peer has gone"


@pytest.mark.parametrize("family", ["tcp", "tcp6"])
def test_a_kernel_without_the_module_is_told_from_a_peer_that_has_gone(
    owners: Owners, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EGP has no module, so the kernel answers as it does for TCP without tcp_diag: ENOENT."""
    monkeypatch.setattr(owner, "_PROTOCOL", socket.IPPROTO_EGP)
    one, other = connected(family)
    with one, other:
        assert owners.uid_of_peer(one) is None
        assert not owners.can_ask(one)


def test_a_connection_that_was_reset_says_nothing_about_the_kernel(
    owners: Owners, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "_PROTOCOL", socket.IPPROTO_EGP)
    one, other = connected("tcp")
    reset(other)
    with one:
        assert owners.can_ask(one)


def test_one_netlink_socket_serves_all_questions(owners: Owners) -> None:
    one, other = connected("tcp")
    with one, other:
        owners.uid_of_peer(one)
        before = set(os.listdir("/proc/self/fd"))
        for _ in range(100):
            assert owners.uid_of_peer(other) == US
        assert set(os.listdir("/proc/self/fd")) == before
