"""What holds for every input: parsers, matching, trees and the policy."""

from __future__ import annotations

import struct
from datetime import date
from typing import Any
from unicodedata import bidirectional, category

from hypothesis import given
from hypothesis import strategies as st

from tests.builders import (
    ADA,
    BOOT,
    CATALOGUE,
    COMMIT,
    LEGACY,
    NOW,
    child,
    detail,
    launcher,
    process,
    server,
    snapshot,
    tree,
)
from vscadmin import units
from vscadmin.config import parse_policy
from vscadmin.errors import ConfigError
from vscadmin.escape import printable
from vscadmin.model import Connections, Place, Process
from vscadmin.policy.decide import Scene, decide
from vscadmin.policy.quiet import first_allowed, parse_quiet_hours
from vscadmin.policy.settings import (
    Action,
    Bytes,
    Count,
    Exemption,
    Glob,
    Mode,
    Percent,
    Policy,
    Protect,
    Rule,
    Scope,
    Seconds,
    State,
    Terminate,
    When,
)
from vscadmin.policy.states import History
from vscadmin.policy.text import as_toml
from vscadmin.procs import nets, stat
from vscadmin.procs.catalogue import script_of, split_path
from vscadmin.procs.trees import find_trees

BIDI_CONTROLS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
ARGV = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([b"sh", b"node", b"-c", b"--", b"tunnel", b"ssh", b"-fN"]),
        st.sampled_from([f"{LEGACY}/{n}".encode() for n in ("node", "bin/code-server", "x")]),
    ),
    max_size=6,
).map(tuple)


@given(st.binary(max_size=64), st.integers(1, 1 << 22), st.integers(0, 1 << 40))
def test_any_name_leaves_the_fields_where_they_are(name: bytes, ppid: int, start: int) -> None:
    line = b"7 (%s) S %d 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 %d 21 22 23" % (
        name,
        ppid,
        start,
    )
    found = stat.parse_process(line, b"", 0, 1)
    assert (found.ppid, found.start_ticks) == (ppid, start)


@given(st.lists(st.binary(min_size=1).filter(lambda each: b"\0" not in each), min_size=1))
def test_an_argv_comes_back(argv: list[bytes]) -> None:
    assert stat.parse_cmdline(b"\0".join(argv) + b"\0") == tuple(argv)


@given(st.binary())
def test_cgroups_of_any_bytes_are_read(data: bytes) -> None:
    where, words = stat.place(stat.parse_cgroups(data), ())
    assert bool(words) == (where is not Place.HERE)


@given(st.integers(0, (1 << 32) - 1), st.integers(0, 65535))
def test_an_ipv4_address_comes_back(address: int, port: int) -> None:
    packed = struct.pack(">I", address)
    word = struct.unpack("=I", packed)[0]
    line = b"h\n 0: %08X:%04X 00000000:0000 0A 0:0 0:0 0 0 0 5 1\n" % (word, port)
    (found,) = nets.parse_tcp(line)
    assert found.local == (".".join(map(str, packed)), port)


@given(st.binary())
def test_a_socket_table_of_any_bytes_is_read_or_refused(data: bytes) -> None:
    for parse in (nets.parse_tcp, nets.parse_unix, nets.parse_unix_reply):
        try:
            parse(data)
        except ValueError:
            continue


@given(ARGV)
def test_a_match_is_by_argv0_or_script_alone(argv: tuple[bytes, ...]) -> None:
    match = CATALOGUE.match(argv)
    if match is not None:
        assert match.path in (argv[0], script_of(argv))
        assert ".." not in split_path(match.path)


@given(st.text())
def test_nothing_printed_controls_a_terminal(text: str) -> None:
    shown = printable(text)
    assert not {each for each in shown if category(each) in ("Cc", "Cs", "Zl", "Zp")}
    assert not {each for each in shown if bidirectional(each) in BIDI_CONTROLS}


@given(st.binary())
def test_any_bytes_can_be_printed(raw: bytes) -> None:
    assert len(printable(raw)) <= 256
    printable(raw).encode()


@given(st.integers(0, 10**9 - 1))
def test_exact_units_come_back(number: int) -> None:
    assert units.parse_duration(units.format_exact_duration(number)) == number
    assert units.parse_size(units.format_exact_size(number)) == number


@given(st.text(max_size=12))
def test_a_duration_is_digits_and_one_unit_or_refused(text: str) -> None:
    try:
        seconds = units.parse_duration(text)
    except ValueError:
        return
    assert text[:-1].isascii()
    assert text[:-1].isdigit()
    assert seconds == int(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1]]


# Twelve processes from pid 10 on: below each other, below pid 1, or below one that is gone.
PARENTS = st.sampled_from([0, 1, 1, *range(10, 22)])
AGES = st.integers(0, 2)
OTHER = LEGACY.replace(COMMIT, COMMIT[::-1])
KINDS = st.sampled_from(["launcher", "server", "child", "program", "tini", "bash"])
FOLDERS = st.sampled_from([LEGACY, OTHER])
ROWS = st.tuples(PARENTS, AGES, KINDS, FOLDERS)
TABLES = st.lists(ROWS, max_size=12).map(
    lambda rows: [someone(pid, *each) for pid, each in enumerate(rows, 10)]
)


def someone(pid: int, ppid: int, age: int, kind: str, folder: str) -> Process:
    """Return a process of a table: a part of a server, something in its folder, or a stranger."""
    if kind == "launcher":
        return launcher(pid, folder, ppid=ppid, age=age)
    if kind == "server":
        return server(pid, ppid, folder=folder, age=age)
    if kind == "child":
        return child(pid, ppid, "extensionHost", folder, age=age)
    return process(pid, f"{folder}/{kind}" if kind == "program" else kind, ppid=ppid, age=age)


@given(TABLES, st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=4))
def test_no_process_is_in_two_trees(table: list[Process], seen: list[tuple[int, int]]) -> None:
    """Whatever the table says, loops and reused pids included."""
    keys = dict(enumerate(each.key for each in table))
    recorded = {keys[one]: keys[root] for one, root in seen if keys.keys() >= {one, root}}
    ourselves = frozenset({10})
    trees = find_trees(snapshot(table, ourselves=ourselves), CATALOGUE, recorded).trees
    members = [member.pid for each in trees for member in each.members]
    assert len(members) == len(set(members))
    assert 10 not in members
    assert all(CATALOGUE.match(each.root.argv) for each in trees)


@given(st.lists(ROWS, max_size=12))
def test_a_server_inside_another_tree_is_part_of_it(rows: list[tuple[int, int, str, str]]) -> None:
    """What a member started is a member, of that tree alone."""
    rows.sort(key=lambda row: -row[1])  # the eldest first: nobody is older than a parent
    table = [
        someone(pid, above if above < pid else 1, age, kind, folder)
        for pid, (above, age, kind, folder) in enumerate(rows, 10)
    ]
    trees = find_trees(snapshot(table), CATALOGUE).trees
    owner = {member.pid: each.root.pid for each in trees for member in each.members}
    assert len(owner) == sum(len(each.members) for each in trees)
    assert all(owner[each.pid] == owner[each.ppid] for each in table if each.ppid in owner)


@given(st.integers(0, 9), st.integers(0, 9), st.booleans())
def test_a_members_parent_started_no_later(age: int, parents_age: int, same_owner: bool) -> None:
    table = [
        launcher(10, age=parents_age),
        server(11, 10, age=age, uid=1001 if same_owner else 1002),
        child(12, 11, "extensionHost", age=0),
    ]
    trees = find_trees(snapshot(table), CATALOGUE).trees
    (first,) = (each for each in trees if each.root.pid == 10)
    assert (11 in [each.pid for each in first.members]) == (age <= parents_age)


@given(st.sampled_from(["exe", "cgroups", "uids", "sockets", "net_ns"]), st.booleans())
def test_what_could_not_be_read_is_never_guessed(missing: str, connected: bool) -> None:
    root = launcher(10)
    blind = detail(root)._replace(**{missing: None})
    (found,) = find_trees(snapshot([root], {10: blind}), CATALOGUE).trees
    history = History(first_seen=NOW - 10**6, last_client=NOW - 10**6)
    scene = Scene(owners={1001: ADA}, histories={found.key: history})
    (only,) = decide([found], scene, Policy(mode=Mode.ENFORCE), NOW)
    assert only.verdict.state is State.UNKNOWN
    assert only.action is Action.KEEP


WHEN = st.builds(
    When,
    state=st.sampled_from([None, *State]),
    orphan=st.sampled_from([None, True, False]),
    age_over=st.none() | st.integers(0, 10**6).map(Seconds),
    lasting=st.none() | st.integers(0, 10**6).map(Seconds),
    rss_over=st.none() | st.integers(0, 1 << 40).map(Bytes),
    user_sessions_over=st.none() | st.integers(1, 9).map(Count),
    product=st.sampled_from([None, "vscode", "cursor"]),
    user=st.sampled_from([None, "ada", "bob"]),
    group=st.sampled_from([None, "physics"]),
)
RULES = st.lists(
    st.builds(
        Rule,
        name=st.text(min_size=1, max_size=8),
        when=WHEN,
        action=st.sampled_from(list(Action)),
        notice=st.integers(1, 10**6).map(Seconds),
    ),
    max_size=4,
).map(tuple)
SOME_TIME = st.none() | st.floats(NOW - 10**6, NOW)


@given(
    st.sampled_from(list(Mode)),
    RULES,
    st.builds(History, first_seen=SOME_TIME, last_client=SOME_TIME, previous_scan=SOME_TIME,
              state=st.sampled_from([None, *State]), state_since=SOME_TIME),
    st.booleans(),
    st.sampled_from(list(Place)),
    st.sampled_from([(), ("ada",)]),
)  # fmt: skip
def test_a_termination_is_always_justified(
    mode: Mode,
    rules: tuple[Rule, ...],
    history: History,
    connected: bool,
    where: Place,
    protected: tuple[str, ...],
) -> None:
    clients = ("somebody",) if connected else ()
    one = tree(connections=Connections(clients=clients), place=where)
    policy = Policy(mode=mode, rules=rules, protect=Protect(users=protected))
    scene = Scene(owners={1001: ADA}, histories={one.key: history})
    (only,) = decide([one], scene, policy, NOW)
    assert only.action.rank <= only.wanted.rank
    if only.action is Action.TERMINATE:
        assert mode is Mode.ENFORCE
        assert only.verdict.state is State.ABANDONED
        assert not connected
        assert not protected
        assert where is Place.HERE
        assert all(finding.holds for finding in only.findings)
        assert history.first_seen is not None or history.last_client is not None
    if mode is Mode.OBSERVE:
        assert only.action is Action.KEEP


NAMES = st.text(max_size=20).filter(lambda text: "\ud800" not in text)
POLICIES: st.SearchStrategy[Policy] = st.builds(
    Policy,
    scope=st.builds(
        Scope,
        uid_min=st.integers(1, 10**6).map(Count),
        products=st.lists(NAMES, max_size=3).map(tuple),
        catalogue_dir=NAMES,
    ),
    protect=st.builds(
        Protect,
        users=st.lists(NAMES, max_size=2).map(tuple),
        commands=st.lists(st.sampled_from([Glob("tmux*"), Glob('a"b\\')]), max_size=2).map(tuple),
        terminal_jobs=st.booleans(),
    ),
    rules=st.lists(
        st.builds(
            Rule,
            name=NAMES,
            when=st.builds(
                When,
                state=st.just(State.ABANDONED),
                age_over=st.none() | st.integers(0, 10**8).map(Seconds),
                cpu_over=st.just(Percent(80)),
                cpu_for=st.just(Seconds(1800)),
                user=st.none() | NAMES,
            ),
            action=st.just(Action.TERMINATE),
            notice=st.integers(1, 10**6).map(Seconds),
        ),
        max_size=3,
        unique_by=lambda rule: rule.name,
    ).map(tuple),
    terminate=st.builds(
        Terminate, quiet_hours=st.sampled_from([(), (parse_quiet_hours("Mon-Fri 08:00-18:00"),)])
    ),
    exempt=st.lists(
        st.builds(
            Exemption, user=NAMES, until=st.dates(date(2020, 1, 1)), reason=st.just("a ticket")
        ),
        max_size=2,
    ).map(tuple),
)


@given(POLICIES)
def test_a_policy_shown_reads_back_the_same(policy: Policy) -> None:
    assert parse_policy(as_toml(policy).encode(), "shown") == policy


JSON_LIKE: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | NAMES, lambda each: st.lists(each, max_size=3)
)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_policy_or_one_clear_error(text: bytes) -> None:
    assert all(line.startswith("p.toml: ") for line in problems(b"version = 1\n" + text))


def problems(text: bytes) -> tuple[str, ...]:
    try:
        parse_policy(text, "p.toml")
    except ConfigError as error:
        return error.problems
    return ()


@given(
    st.lists(
        st.sampled_from(["Mon-Fri 08:00-18:00", "22:00-06:00", "Sat 00:00-24:00", "12:00-12:30"])
    ),
    st.floats(BOOT, NOW),
)
def test_the_first_allowed_moment_is_in_no_window(texts: list[str], at: float) -> None:
    from datetime import datetime  # noqa: PLC0415

    windows = [parse_quiet_hours(text) for text in texts]
    allowed = first_allowed(at, windows)
    assert allowed >= at
    assert all(window.ends(datetime.fromtimestamp(allowed)) is None for window in windows)


@given(st.floats(1.7e9, 1.9e9))
def test_without_quiet_hours_every_moment_is_allowed_as_it_is(at: float) -> None:
    """Else what is due now would be due in less than a microsecond, for ever."""
    assert first_allowed(at, ()) == at
