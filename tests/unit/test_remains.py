"""What is left of a tree that is being ended, and who is a client of that."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.builders import (
    CATALOGUE,
    COMMIT,
    HOME,
    LEGACY,
    NET,
    child,
    detail,
    established,
    launcher,
    listening,
    process,
    server,
    snapshot,
    tree,
)
from vscadmin.model import Connections, NetTable, Process, ProcessKey, TcpSocket, UnixSocket
from vscadmin.procs.remains import Remains, remains, still_there

ROOT = launcher(10)
NODE = server(11, 10, age=3500)
HOST = child(12, 11, "extensionHost", age=3400)
BELOW = process(13, "git", "fetch", ppid=12, age=5)
ALL = (ROOT, NODE, HOST, BELOW)
KNOWN = [each.key for each in (ROOT, NODE, HOST)]
TREE = tree(root=ROOT, members=(ROOT, NODE, HOST), connections=Connections(("127.0.0.1:4000",)))
OUTSIDE = established(4000, 60000, 77)  # the server's end
AGENT = f"{HOME}/.vscode-server/code-{COMMIT}"


def pids(processes: Iterable[Process], known: Iterable[ProcessKey] = KNOWN) -> list[int]:
    return list(still_there({each.pid: each for each in processes}, known))


def look(
    *processes: Process,
    tcp: Iterable[TcpSocket] = (),
    unix: Iterable[UnixSocket] = (),
    listeners: tuple[str, ...] = ("127.0.0.1:4000",),
    held: dict[int, set[int]] | None = None,
    **facts: Any,
) -> Remains:
    """Look at what is left; every process holds a socket, and those of *held*."""
    details = {
        each.pid: detail(each, sockets=frozenset((held or {}).get(each.pid, set()) | {each.pid}))
        for each in processes
    }
    details |= facts.pop("details", {})
    seen = snapshot(processes, details, tcp, unix, **facts)
    shown = tree(root=ROOT, members=ALL, connections=Connections(listeners))
    return remains(shown, KNOWN, seen, CATALOGUE)


class TestWhoIsStillThere:
    def test_what_is_known_and_its_descendants(self) -> None:
        assert pids(ALL) == [10, 11, 12, 13]

    def test_what_lost_its_parent_is_known_by_its_key(self) -> None:
        assert pids((HOST._replace(ppid=1), BELOW)) == [12, 13]

    def test_a_stranger_that_lost_its_parent_is_not(self) -> None:
        assert pids((HOST, BELOW._replace(ppid=1))) == [12]

    def test_whoever_took_over_a_pid_is_not_and_neither_are_his_children(self) -> None:
        other = process(12, "vim", age=1)
        assert pids((other, process(14, "less", ppid=12, age=1))) == []

    def test_nobody(self) -> None:
        assert pids(()) == pids(ALL, ()) == []


class TestClients:
    def test_nobody_is_connected(self) -> None:
        assert look(HOST, tcp=[listening(4000, 12)]) == Remains((HOST,))

    def test_a_connection_on_a_listener_that_is_gone(self) -> None:
        """The server is dead, and an extension host holds the window's socket."""
        words = ("127.0.0.1:60000 is connected to 127.0.0.1:4000",)
        assert look(HOST, tcp=[OUTSIDE]).clients == words

    def test_a_connection_that_nobody_has_accepted_yet(self) -> None:
        waiting = [established(4000, port, 0) for port in (60000, 60001)]
        assert len(look(NODE, tcp=[listening(4000, 11), *waiting]).clients) == 2

    def test_another_connection_to_the_outside_is_none(self) -> None:
        assert look(HOST, tcp=[established(50000, 443, 12)]).clients == ()

    def test_a_connection_from_what_is_left_is_its_own(self) -> None:
        other_end = established(60000, 4000, 12)
        assert look(NODE, HOST, tcp=[OUTSIDE, other_end]).clients == ()

    def test_a_connection_from_what_has_died_is_none_of_its_own_any_more(self) -> None:
        other_end = established(60000, 4000, 12)
        assert len(look(NODE, tcp=[OUTSIDE, other_end]).clients) == 1

    def test_a_server_that_listens_on_any_address(self) -> None:
        for any_address in ("0.0.0.0:4000", "[::]:4000"):
            assert len(look(HOST, tcp=[OUTSIDE], listeners=(any_address,)).clients) == 1
        assert look(HOST, tcp=[OUTSIDE], listeners=("192.0.2.1:4000",)).clients == ()

    def test_where_no_listener_was_known_any_connection_counts(self) -> None:
        out = established(50000, 443, 12)
        elsewhere = established(50001, 443, 999)
        assert len(look(HOST, tcp=[out, elsewhere], listeners=()).clients) == 1
        path = UnixSocket(b"/tmp/s", False, True, 12, 500)
        assert len(look(HOST, unix=[path], listeners=()).clients) == 1

    def test_a_client_of_a_unix_socket(self) -> None:
        path = UnixSocket(b"/tmp/s", False, True, 99, 500)
        found = look(NODE, unix=[path], listeners=("/tmp/s",))
        assert found.clients == ("socket 500 is connected to /tmp/s",)
        assert look(NODE, unix=[path], listeners=("/tmp/t",)).clients == ()
        assert look(NODE, HOST, unix=[path], listeners=("/tmp/s",), held={12: {500}}).clients == ()

    def test_a_client_of_a_unix_socket_that_is_gone_or_not_known(self) -> None:
        gone = UnixSocket(b"/tmp/s", False, True, 99, 0)
        unknown = gone._replace(peer=None)
        assert look(NODE, unix=[gone], listeners=("/tmp/s",)).clients == ()
        found = look(NODE, unix=[unknown], listeners=("/tmp/s",))
        assert found.clients == ("somebody who cannot be found is connected to /tmp/s",)

    def test_a_helper_of_the_same_owner_is_no_client(self) -> None:
        """The agent host is no member, and is connected to every server."""
        helper = process(30, AGENT, "--cli-data-dir", "/x", "agent", "host")
        other_end = established(60000, 4000, 30)
        assert look(NODE, helper, tcp=[OUTSIDE, other_end]).clients == ()
        of_another = helper._replace(uid=1002)
        assert len(look(NODE, of_another, tcp=[OUTSIDE, other_end]).clients) == 1

    def test_a_tunnel_carries_clients(self) -> None:
        tunnel = process(12, "/usr/bin/code", "tunnel", age=3400, ppid=11)
        known = (NODE, tunnel)
        seen = snapshot(
            known,
            {each.pid: detail(each, sockets=frozenset({each.pid})) for each in known},
            [OUTSIDE, established(60000, 4000, 12)],
        )
        found = remains(TREE, [each.key for each in known], seen, CATALOGUE)
        assert len(found.clients) == 1


class TestWhatCannotBeRead:
    def test_the_sockets_of_one_that_is_left(self) -> None:
        found = look(NODE, HOST, details={12: detail(HOST, sockets=None)})
        assert found.unreadable == ("the sockets of pid 12 could not be read",)

    def test_a_process(self) -> None:
        assert look(NODE, unreadable=(12,)).unreadable == ("pid 12 could not be read",)

    def test_the_socket_table(self) -> None:
        words = ("the socket table of its network namespace could not be read",)
        for nets in ({}, {NET: NetTable(None, ())}, {NET: NetTable((), None)}):
            assert look(NODE, nets=nets).unreadable == words

    def test_what_holds_no_socket_needs_no_table(self) -> None:
        assert look(NODE, details={11: detail(NODE)}, nets={}).unreadable == ()

    def test_a_zombie_holds_nothing(self) -> None:
        zombie = HOST._replace(state="Z")
        found = look(zombie, details={12: detail(HOST, sockets=None)})
        assert (found.processes, found.unreadable) == ((zombie,), ())

    def test_ourselves_are_never_left(self) -> None:
        assert look(NODE, HOST, ourselves=frozenset({12})).processes == (NODE,)


def test_the_folder_of_the_fixtures_is_a_servers() -> None:
    assert CATALOGUE.match(NODE.argv) is not None
    assert LEGACY in NODE.argv[0].decode()
