"""Whatever nodes see of each other: no end without a notice, and no notice lost for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from aiosmtpd.controller import Controller
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fleet_nodes import ABANDONED, HOUR, MINUTE, Clock, Nodes
from tests.integration.office import Office, free_port
from vscadmin.cleanup.turns import Fleet, is_our_turn, sender
from vscadmin.policy.settings import Seconds, Session

NAMES = ("login1", "login2", "login3")
EVERY = 2 * HOUR  # between messages, and of notice
names = st.sampled_from(NAMES)
node_sets = st.frozensets(st.text("abc123-", min_size=1, max_size=6), min_size=1, max_size=8)


@given(user=st.text(max_size=8), nodes=node_sets)
def test_equal_views_have_exactly_one_sender(user: str, nodes: frozenset[str]) -> None:
    views = [Fleet(node=each, heard=True, stale=2400.0) for each in nodes]
    assert sum(sender(user, nodes) == view.node for view in views) == 1
    assert sender(user, sorted(nodes)) == sender(user, sorted(nodes, reverse=True))


@given(user=st.text(max_size=8), nodes=node_sets, gone=st.text("abc123-", min_size=1, max_size=6))
def test_a_node_that_goes_moves_only_its_own_users(
    user: str, nodes: frozenset[str], gone: str
) -> None:
    before = sender(user, nodes | {gone})
    if before != gone:
        assert sender(user, (nodes | {gone}) - {gone}) == before


@given(
    waiting=st.floats(0, 1e6),
    allowed=st.floats(0, 1e6),
    more=st.floats(1, 1e6),
    node=names,
)
def test_nobody_waits_for_longer_than_stale_once_a_message_may_go_out(
    waiting: float, allowed: float, more: float, node: str
) -> None:
    """Whoever the sender is, and whatever it does."""
    fleet = Fleet(node=node, heard=True, stale=2400.0)
    now = max(waiting, allowed) + fleet.stale + more
    assert is_our_turn(fleet, ("ada", 1001), waiting, allowed, now)


@dataclass(frozen=True)
class Event:
    """After *minutes*: a run of *node*, which cannot read of *blind_to*; a client, or faults."""

    node: str
    minutes: int
    blind_to: frozenset[str]
    client: str  # "", "comes", "goes"
    mail_fails: bool
    ahead: int  # seconds
    forgets: bool  # its snapshot is lost


events = st.lists(
    st.builds(
        Event,
        node=names,
        minutes=st.integers(1, 50),
        blind_to=st.frozensets(names, max_size=2),
        client=st.sampled_from(["", "", "", "", "comes", "goes"]),
        mail_fails=st.sampled_from([False, False, True]),
        ahead=st.sampled_from([0, 0, 0, 200, -200, -7200, 7200]),
        forgets=st.sampled_from([False, False, False, True]),
    ),
    min_size=10,
    max_size=40,
)


@contextmanager
def fleet() -> Iterator[Nodes]:
    office = Office(port=free_port())
    controller = Controller(office, "127.0.0.1", office.port)
    controller.start()
    with TemporaryDirectory(dir="/dev/shm") as folder, Clock().ticking() as clock:
        nodes = Nodes(Path(folder), office, clock)
        rule = replace(ABANDONED, notice=Seconds(int(EVERY)))
        notify = replace(office.notify, terminal=False, every=Seconds(int(EVERY)))
        policy = nodes.policy(
            rules=(rule,), notify=notify, session=Session(grace_default=Seconds(600))
        )
        try:
            for name in NAMES:
                nodes.add(name, policy=policy).leave(4100)
            yield nodes
        finally:
            nodes.close()
            controller.stop()


class Watch:
    """Holds every end that a run would make against the mails that really went out."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.client_at: dict[str, float] = {}
        self.ahead = 0.0  # the most that any clock was off

    def run(self, name: str, blind_to: frozenset[str] = frozenset()) -> None:
        node, now = self.nodes.nodes[name], self.nodes.clock.now
        if node.trees[4100].connections.clients:
            self.client_at[name] = now
        self.ahead = max(self.ahead, abs(node.ahead))
        node.due = []
        self.nodes.run(name, blind_to=blind_to)
        for pid in node.due:
            told = [each.at for each in self.nodes.sent if (name, pid) in each.about]
            since = [at for at in told if at >= self.client_at.get(name, 0.0)]
            assert since, f"{name} would end pid {pid}, of which nobody was told"
            assert now - min(since) >= EVERY - 2 * self.ahead


@settings(max_examples=12)
@given(story=events)
def test_no_end_without_a_notice_and_no_notice_lost(story: list[Event]) -> None:
    with fleet() as nodes:
        watch = Watch(nodes)
        for event in story:
            nodes.clock.now += event.minutes * MINUTE
            node = nodes.nodes[event.node]
            node.ahead = event.ahead
            if event.client:
                (node.connect if event.client == "comes" else node.disconnect)(4100)
            if event.forgets:
                (nodes.shared / f"{event.node}.json").unlink(missing_ok=True)
            nodes.office.after_data = "451 later" if event.mail_fails else "250 taken"
            watch.run(event.node, event.blind_to - {event.node})
        nodes.office.after_data = "250 taken"
        for node in nodes.nodes.values():
            node.ahead = 0.0
            node.disconnect(4100)
        calm_since = nodes.clock.now
        for _ in range(36):
            nodes.clock.now += 20 * MINUTE
            for name in NAMES:
                watch.run(name)
        assert [node.due for node in nodes.nodes.values()] == [[4100]] * 3, calm_since


calm = st.lists(
    st.tuples(names, st.integers(4100, 4102), st.integers(0, 3)), min_size=1, max_size=6
)


@settings(max_examples=8)
@given(arrivals=calm)
def test_where_all_see_the_same_a_user_gets_one_message_in_notify_every(
    arrivals: list[tuple[str, int, int]],
) -> None:
    """And each server is told of once in that time."""
    with fleet() as nodes:
        watch = Watch(nodes)
        for name, pid, wait in arrivals:
            if pid not in nodes.nodes[name].trees:
                nodes.nodes[name].leave(pid)
            for _ in range(wait):
                nodes.clock.now += 10 * MINUTE
                for each in NAMES:
                    watch.run(each)
        for _ in range(30):
            nodes.clock.now += 20 * MINUTE
            for each in NAMES:
                watch.run(each)
        moments = [each.at for each in nodes.sent]
        assert moments
        assert all(b - a >= EVERY for a, b in pairwise(moments))
        named = [about for each in nodes.sent for about in each.about]
        assert len(named) == len(set(named))
