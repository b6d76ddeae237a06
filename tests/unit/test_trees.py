"""What pass two has to read, and trees that recorded tables cannot show."""

from __future__ import annotations

import pytest

from tests.builders import (
    CATALOGUE,
    COMMIT,
    HOME,
    LEGACY,
    child,
    detail,
    established,
    launcher,
    listening,
    process,
    server,
    snapshot,
)
from vscadmin.model import Detail, NetTable, Process, UnixSocket
from vscadmin.procs.trees import concerned, executables_in, find_trees, sightings

TABLE = {
    each.pid: each
    for each in (
        launcher(10),
        server(11, 10, age=3500),
        child(12, 11, "extensionHost", age=3400),
        child(20, 1, "fileWatcher", age=3300),
        process(21, "sleep", "9", ppid=20, age=3200),
        process(30, "renamed", age=3300),
        process(31, "sleep", ppid=30, age=3000),
        process(40, "job", uid=1002),
        process(50, "-bash", ppid=49),
    )
}


def sighted(ourselves: frozenset[int] = frozenset()) -> set[int]:
    return set(sightings(TABLE.values(), CATALOGUE, ourselves))


def test_ourselves_and_ancestors_are_never_sighted() -> None:
    assert sighted() == {10, 11, 12, 20}
    assert sighted(frozenset({10, 11})) == {12, 20}


def test_pass_two_reads_candidates_their_descendants_and_the_owners_orphans() -> None:
    found = sightings(TABLE.values(), CATALOGUE, frozenset())
    near, maybe = concerned(TABLE, found, {})
    assert near == {10, 11, 12, 20, 21}
    assert maybe == {30}
    recorded = {TABLE[30].key: TABLE[10].key}
    assert concerned(TABLE, found, recorded) == ({10, 11, 12, 20, 21, 30, 31}, set())


def test_nothing_sighted_is_nothing_to_read() -> None:
    assert concerned(TABLE, {}, {}) == (set(), set())


def test_an_orphan_may_belong_by_its_executable() -> None:
    found = sightings(TABLE.values(), CATALOGUE, frozenset())
    details = {pid: detail(TABLE[pid]) for pid in found}
    exes = {30: f"{LEGACY}/node".encode()}
    assert executables_in(exes, TABLE, found, details) == {30, 31}
    exes = {30: f"{HOME}/.vscode-server/extensions/x".encode()}
    assert executables_in(exes, TABLE, found, details) == set()


def members(table: dict[int, Process], **facts: object) -> list[list[int]]:
    trees = find_trees(snapshot(table.values()), CATALOGUE, **facts).trees  # type: ignore[arg-type]
    return [sorted(each.pid for each in tree.members) for tree in trees]


def test_what_an_earlier_scan_saw_as_a_descendant_belongs() -> None:
    """Its executable is the user's own by now, but its key was recorded below the root."""
    assert members(TABLE) == [[10, 11, 12, 20, 21]]
    recorded = {TABLE[30].key: TABLE[10].key}
    assert members(TABLE, recorded=recorded) == [[10, 11, 12, 20, 21, 30, 31]]
    another = {TABLE[30].key: TABLE[10].key._replace(start_ticks=1)}
    assert members(TABLE, recorded=another) == [[10, 11, 12, 20, 21]]


def test_a_member_in_a_second_network_namespace_is_looked_at_in_its_own() -> None:
    root, main = launcher(10), server(11, 10, age=3500)
    other = "net:[9]"
    details = {
        10: detail(root),
        11: detail(main, net_ns=other, sockets=frozenset({1, 2})),
    }
    table = NetTable((listening(4711, 1), established(4711, 5000, 2)), ())
    found = snapshot([root, main], details, nets={other: table})
    (tree,) = find_trees(found, CATALOGUE).trees
    assert tree.connections.clients == ("127.0.0.1:5000 is connected to 127.0.0.1:4711",)


def test_a_namespace_whose_sockets_cannot_be_read_is_told() -> None:
    root, main = launcher(10), server(11, 10, age=3500)
    details = {10: detail(root), 11: detail(main, sockets=frozenset({1}))}
    blind = snapshot([root, main], details, nets={})
    (tree,) = find_trees(blind, CATALOGUE).trees
    assert tree.connections.unreadable == (
        "the socket table of its network namespace could not be read",
    )


def test_the_start_of_the_youngest_extension_host_is_known() -> None:
    found = snapshot([TABLE[10], TABLE[11], TABLE[12], child(13, 11, "extensionHost", age=60)])
    (tree,) = find_trees(found, CATALOGUE).trees
    assert tree.host_started_at == found.taken_at - 60


def test_parents_are_told_in_words() -> None:
    for ppid, words in ((1, "pid 1"), (0, "outside this pid namespace"), (9, "pid 9, which is")):
        (tree,) = find_trees(snapshot([launcher(10, ppid=ppid)]), CATALOGUE).trees
        assert tree.parent.startswith(words)


CLIENT = (listening(4711, 1), established(4711, 5000, 2))


@pytest.mark.parametrize(
    ("argv0", "exe"),
    [
        (f"{LEGACY}/node", "/opt/node20/bin/node"),
        ("/opt/glibc/ld-linux-x86-64.so.2", "/opt/glibc/ld-linux-x86-64.so.2"),
    ],
)
def test_a_server_that_is_not_recognised_may_have_clients(argv0: str, exe: str) -> None:
    """Old clusters run node by a linker of their own, or by a link to another node."""
    root = launcher(10)
    main = process(11, argv0, f"{LEGACY}/out/server-main.js", ppid=10, age=3500)
    details = {10: detail(root), 11: detail(main, exe, sockets=frozenset({1, 2}))}
    (tree,) = find_trees(snapshot([root, main], details, tcp=CLIENT), CATALOGUE).trees
    assert len(tree.connections.clients) == 1


def test_an_adopted_host_may_hold_a_client_of_the_server_before() -> None:
    root, main = launcher(10), server(11, 10, age=3500)
    host = child(20, 1, "extensionHost", age=3000)
    details = {
        11: detail(main, sockets=frozenset({1})),
        20: detail(host, sockets=frozenset({7})),
    }
    tcp = (listening(7000, 1), established(4000, 5000, 7))
    (tree,) = find_trees(snapshot([root, main, host], details, tcp=tcp), CATALOGUE).trees
    assert [each.pid for each in tree.members] == [10, 11, 20]
    assert len(tree.connections.clients) == 1


def test_a_cut_argv_states_no_path_so_any_will_do() -> None:
    root, main = launcher(10), server(11, 10, "--install-extension=x", age=3500)
    unix = (
        UnixSocket(b"/tmp/code-x", True, False, 1, 0),
        UnixSocket(b"/tmp/code-x", False, True, 2, 99),
    )
    details = {11: detail(main, sockets=frozenset({1, 2}))}
    (tree,) = find_trees(snapshot([root, main], details, unix=unix), CATALOGUE).trees
    assert len(tree.connections.clients) == 1


def test_a_tunnel_inside_a_server_is_used_by_its_own_client() -> None:
    folder = f"{HOME}/.vscode/cli/servers/Stable-{COMMIT}/server"
    tunnel = process(30, f"{HOME}/code", "tunnel", ppid=11, age=2000)
    inner = server(31, 30, "--socket-path=/tmp/code-y", folder=folder, age=1900)
    table = [launcher(10), server(11, 10, age=3500), tunnel, inner]
    unix = (
        UnixSocket(b"/tmp/code-y", True, False, 1, 0),
        UnixSocket(b"/tmp/code-y", False, True, 2, 3),
        UnixSocket(b"", False, True, 3, 2),
    )
    details = {
        30: detail(tunnel, sockets=frozenset({3})),
        31: detail(inner, sockets=frozenset({1, 2})),
    }
    (tree,) = find_trees(snapshot(table, details, unix=unix), CATALOGUE).trees
    assert tree.product == "vscode"
    assert len(tree.connections.clients) == 1


OTHER = LEGACY.replace(COMMIT, COMMIT[::-1])


def second(folder: str = OTHER) -> tuple[Process, ...]:
    """Return a host that outlived its server, and below it a shell that started a server anew."""
    return (
        child(4001, 1, "extensionHost", age=9000, sid=4000),
        process(4002, "bash", ppid=4001, age=8000),
        launcher(4003, folder, ppid=4002, age=7000),
        server(4004, 4003, folder=folder, age=6900),
    )


def grown(*table: Process, **facts: object) -> dict[int, list[int]]:
    """Return the members by root; fails where a process is in two trees."""
    trees = find_trees(snapshot(table), CATALOGUE, **facts).trees  # type: ignore[arg-type]
    pids = [each.pid for tree in trees for each in tree.members]
    assert len(pids) == len(set(pids))
    return {tree.root.pid: sorted(each.pid for each in tree.members) for tree in trees}


def test_a_server_started_below_a_leftover_is_part_of_it() -> None:
    assert grown(*second()) == {4001: [4001, 4002, 4003, 4004]}


@pytest.mark.parametrize(
    ("holder", "listener"),
    [(4001, 4004), (4004, 4004)],
    ids=["the leftover", "the inner server"],
)
def test_a_leftover_and_its_inner_server_are_in_use_if_either_is(
    holder: int, listener: int
) -> None:
    table = {each.pid: each for each in second()}
    held: dict[int, frozenset[int]] = {listener: frozenset({1})}
    held[holder] = held.get(holder, frozenset()) | {2}
    details: dict[int, Detail] = {pid: detail(table[pid], sockets=s) for pid, s in held.items()}
    tcp = (listening(4711, 1), established(4711 if holder == listener else 4000, 5000, 2))
    (tree,) = find_trees(snapshot(table.values(), details, tcp=tcp), CATALOGUE).trees
    assert tree.servers == 1
    assert len(tree.connections.clients) == 1


def test_a_server_below_an_adopted_process_is_part_of_the_tree_that_has_it() -> None:
    """As before its parent died: it belonged to the outer server then, too."""
    outer = (launcher(10, age=9900), server(11, 10, age=9800))
    assert grown(*outer, *second()) == {10: [10, 11, 4001, 4002, 4003, 4004]}
    shell = process(4002, "bash", age=8000)
    inner = second()[2:]
    assert grown(*outer, shell, *inner) == {10: [10, 11], 4003: [4003, 4004]}
    recorded = {shell.key: outer[0].key}
    found = grown(*outer, shell, *inner, recorded=recorded)
    assert found == {10: [10, 11, 4002, 4003, 4004]}


def test_what_an_inner_server_had_adopted_comes_with_it() -> None:
    outer = (launcher(10, age=9900), server(11, 10, age=9800))
    old, young = (
        child(pid, 1, "fileWatcher", folder=OTHER, age=age) for pid, age in ((20, 9500), (21, 50))
    )
    assert grown(*outer, *second(), old, young) == {10: [10, 11, 20, 21, 4001, 4002, 4003, 4004]}
    assert grown(*second(), old, young) == {4001: [20, 21, 4001, 4002, 4003, 4004]}


def test_a_server_below_a_process_of_its_own_folder_is_not_whose_it_was() -> None:
    """It is younger than what it would have lost; only where there is no other is it home."""
    assert grown(*second(LEGACY)) == {4003: [4001, 4002, 4003, 4004]}
    outer = (launcher(10, age=9900), server(11, 10, age=9800))
    assert grown(*outer, *second(LEGACY)) == {10: [10, 11, 4001, 4002, 4003, 4004]}


def test_a_server_below_a_stranger_that_lost_its_parent_is_a_tree_of_its_own() -> None:
    shell = process(4002, "bash", age=8000)
    assert grown(shell, *second()[2:]) == {4003: [4003, 4004]}


def test_orphans_that_started_in_one_tick_are_settled_outermost_first() -> None:
    """A sub-reaper below a leftover: what it adopted is an orphan inside another's family."""
    reaper = process(4010, "tini", ppid=4011, age=60)
    host = child(4011, 1, "extensionHost", age=60)
    inner = child(4009, 4010, "extensionHost", folder=OTHER, age=60)
    assert grown(inner, reaper, host) == {4011: [4009, 4010, 4011]}
