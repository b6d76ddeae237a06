from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import ADA, BOOT, NOW, TICKS, launcher, tree
from tests.stores import (
    BOOT_ID,
    ENFORCE,
    HOUR,
    aged,
    delivered,
    identity,
    new,
    notice,
    run,
    scan,
    seen,
    termination,
    trees,
)
from vscadmin.cleanup import schema
from vscadmin.cleanup.lock import begin_count_anew, held, turned_away
from vscadmin.cleanup.records import Delivery, Outcome, Result
from vscadmin.cleanup.store import Store
from vscadmin.cleanup.store_read import Reader
from vscadmin.errors import LockHeldError, StoreError, StoreFailedError
from vscadmin.model import Connections, ProcessKey
from vscadmin.policy.decide import Scene, decide
from vscadmin.policy.ladder import Rung
from vscadmin.policy.settings import Action, State
from vscadmin.policy.states import CpuSample, History, Told

DAY = 24 * HOUR


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new(tmp_path / "lib") as opened:
        yield opened


@pytest.fixture
def path(tmp_path: Path, store: Store) -> str:
    return str(tmp_path / "lib" / "store.sqlite")


class TestFile:
    def test_it_is_private_and_one_file_at_rest(self, path: str, store: Store) -> None:
        aged(store, trees())
        folder = Path(path).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        assert Path(path).stat().st_mode & 0o777 == 0o600
        assert os.listdir(folder) == ["store.sqlite"]

    def test_a_folder_that_others_can_write_is_refused(self, tmp_path: Path) -> None:
        folder = tmp_path / "lax"
        folder.mkdir()
        folder.chmod(0o777)
        with pytest.raises(StoreError, match="its group or others can write it"):
            new(folder)
        assert os.listdir(folder) == []

    def test_a_file_that_others_can_write_is_refused(self, path: str, store: Store) -> None:
        Path(path).chmod(0o620)
        for opening in (Store.open, Reader.open):
            with pytest.raises(StoreError, match="its group or others can write it") as caught:
                opening(path)
            assert caught.value.exit_code == 78

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
    def test_another_users_file_is_refused(self, path: str, store: Store) -> None:
        os.chown(path, 4321, -1)
        with pytest.raises(StoreError, match="belongs to uid 4321"):
            Store.open(path)

    def test_a_link_is_refused(self, tmp_path: Path, path: str, store: Store) -> None:
        link = tmp_path / "store.sqlite"
        link.symlink_to(path)
        with pytest.raises(StoreError, match="is a symbolic link"):
            Store.open(str(link))

    def test_a_pipe_is_refused_and_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "store.sqlite")
        with pytest.raises(StoreError, match="is no plain file"):
            new(tmp_path)

    def test_a_link_among_the_folders_is_followed(self, tmp_path: Path, path: str) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "lib")
        new(tmp_path / "link").close()
        assert new(tmp_path / "link").problems == ()

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can give a link away")
    def test_another_users_link_among_the_folders_is_refused(
        self, tmp_path: Path, path: str
    ) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "lib")
        os.lchown(tmp_path / "link", 4321, -1)
        with pytest.raises(StoreError, match="is another user's link"):
            new(tmp_path / "link")

    def test_another_programs_database_is_left_alone(self, tmp_path: Path) -> None:
        file = tmp_path / "store.sqlite"
        other = sqlite3.connect(file)
        other.execute("CREATE TABLE dashboards (name TEXT)")
        other.close()
        before = file.read_bytes()
        with pytest.raises(StoreError, match="is another program's database"):
            new(tmp_path)
        assert file.read_bytes() == before

    def test_a_newer_store_is_refused_and_left_alone(self, path: str, store: Store) -> None:
        aged(store, trees())
        store.close()
        newer = sqlite3.connect(path)
        newer.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
        newer.close()
        before = Path(path).read_bytes()
        for opening in (Store.open, Reader.open):
            with pytest.raises(StoreError, match="was written by a newer vscadmin") as caught:
                opening(path)
            assert caught.value.exit_code == 78
        assert Path(path).read_bytes() == before

    def test_tables_of_an_older_version_are_brought_up(self, path: str, store: Store) -> None:
        aged(store, trees())
        store.close()
        longer = (*schema.MIGRATIONS, ("ALTER TABLE runs ADD COLUMN extra TEXT DEFAULT 'x'",))
        connection = sqlite3.connect(path, isolation_level=None)
        schema.migrate(connection, longer)
        assert schema.version_of(connection) == schema.VERSION + 1
        assert schema.tables(connection) == schema.expected(longer)
        assert connection.execute("SELECT count(*) FROM scans").fetchone() == (4,)
        connection.close()

    def test_opening_brings_an_older_store_up(self, tmp_path: Path) -> None:
        older = sqlite3.connect(tmp_path / "store.sqlite")
        older.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        older.close()
        with pytest.raises(StoreFailedError, match="brings it from version 0"):
            Reader.open(str(tmp_path / "store.sqlite"))
        with new(tmp_path) as store:
            assert store.problems == ()
            assert schema.version_of(store._database.connection) == schema.VERSION

    def test_a_migration_that_fails_changes_nothing(self, path: str, store: Store) -> None:
        store.close()
        longer = (*schema.MIGRATIONS, ("ALTER TABLE runs ADD COLUMN extra TEXT", "NONSENSE"))
        connection = sqlite3.connect(path, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="NONSENSE"):
            schema.migrate(connection, longer)
        assert schema.version_of(connection) == schema.VERSION
        assert schema.tables(connection) == schema.expected()
        connection.close()


class TestReader:
    def test_where_there_is_no_store_there_is_none(self, tmp_path: Path) -> None:
        assert Reader.open(str(tmp_path / "store.sqlite")) is None
        assert os.listdir(tmp_path) == []

    def test_it_reads_while_the_store_is_open_and_leaves_nothing(
        self, path: str, store: Store
    ) -> None:
        aged(store, trees())
        reader = Reader.open(path)
        assert reader is not None
        with reader:
            assert len(reader.histories(BOOT_ID)) == 3
            scan(store, trees(), NOW + 600)
            assert reader.histories(BOOT_ID)[trees()[0].key].previous_scan == NOW + 600
        assert os.listdir(Path(path).parent) == ["store.sqlite"]

    def test_it_cannot_write(self, path: str, store: Store) -> None:
        reader = Reader.open(path)
        assert reader is not None
        with reader, pytest.raises(StoreFailedError):
            reader._database.run("DELETE FROM scans")


class TestMemory:
    def test_a_new_store_knows_nothing(self, store: Store) -> None:
        assert store.histories(BOOT_ID) == {}
        assert store.recorded(BOOT_ID) == {}
        assert store.last_completed_run() is None
        assert store.problems == ()

    def test_the_memory_of_a_decision_comes_back(self, store: Store) -> None:
        found = trees()
        aged(store, found)
        plan = scan(store, found, NOW + 600)
        assert store.histories(BOOT_ID) == {each.tree.key: each.memory for each in plan}
        assert plan[0].memory.state is State.ABANDONED
        assert plan[0].memory.clear_scans == 2

    def test_only_the_trees_asked_for_are_answered(self, store: Store) -> None:
        found = trees()
        aged(store, found)
        assert list(store.histories(BOOT_ID, [found[1].key])) == [found[1].key]

    def test_without_being_asked_those_seen_within_a_day_of_scans_are_answered(
        self, store: Store
    ) -> None:
        gone, stays = trees(2)
        store._database.run("PRAGMA synchronous = OFF")
        scan(store, [gone, stays], NOW)
        for number in range(1, 145):
            scan(store, [stays], NOW + number * 600)
            if number == 143:
                assert set(store.histories(BOOT_ID)) == {gone.key, stays.key}
        assert set(store.histories(BOOT_ID)) == {stays.key}
        assert set(store.histories(BOOT_ID, [gone.key])) == {gone.key}

    def test_every_member_leads_to_its_root(self, store: Store) -> None:
        found = trees(2)
        scan(store, found, NOW)
        assert store.recorded(BOOT_ID) == {
            member.key: one.key for one in found for member in one.members
        }

    def test_members_are_those_of_the_last_scan_alone(self, store: Store) -> None:
        found = trees(2)
        scan(store, found, NOW)
        scan(store, found[:1], NOW + 600)
        assert set(store.recorded(BOOT_ID).values()) == {found[0].key}

    def test_another_boot_shares_nothing(self, store: Store) -> None:
        """A pid and its start ticks come again after a reboot, and mean somebody else."""
        found = trees(1)
        scan(store, found, NOW)
        delivered(store, found[0])
        scan(store, found, NOW + HOUR, boot_id="another")
        assert store.recorded(BOOT_ID) == {}
        assert store.histories("another")[found[0].key].first_seen == NOW + HOUR
        assert store.histories("another")[found[0].key].told is None
        assert store.histories("a third") == {}
        assert store.recorded("a third") == {}

    def test_an_owner_whose_name_is_no_text_is_stored(self, store: Store) -> None:
        found = trees(1)
        owners = {1001: replace(ADA, name="ad\udcff")}
        plan = decide(found, Scene(owners), ENFORCE, NOW)
        store.record_scan("r", seen(found, NOW), plan, {})
        (stored,) = store.scans(0, NOW + 1)
        assert stored.sightings[0].owner.name == "ad\udcff"


class TestNotices:
    def history(self, store: Store) -> History:
        return store.histories(BOOT_ID)[trees()[0].key]

    def test_only_a_delivered_notice_was_told(self, store: Store) -> None:
        one = trees()[0]
        aged(store, [one])
        sending = notice(one)
        store.add_notices([sending])
        assert self.history(store).told is None
        store.finish_notices([sending], Delivery.DELIVERED, NOW + 2)
        assert self.history(store).told == Told(NOW + 2, NOW + DAY)
        assert self.history(store).notified == {"abandoned"}

    def test_a_failed_notice_tells_nobody(self, store: Store) -> None:
        one = trees()[0]
        aged(store, [one])
        store.add_notices([notice(one)])
        store.finish_notices([notice(one)], Delivery.FAILED, error="550 no such user")
        assert self.history(store).told is None
        assert store.notices()[0].error == "550 no such user"

    def test_a_notice_from_before_this_run_of_scans_counts_no_more(self, store: Store) -> None:
        one = trees()[0]
        aged(store, [one])
        delivered(store, one, NOW)
        scan(store, [replace(one, connections=Connections(clients=("c",)))], NOW + 600)
        for hours in range(1, 6):
            scan(store, [one], NOW + hours * HOUR)
        assert self.history(store).state is State.ABANDONED
        assert self.history(store).told is None
        assert self.history(store).notified == frozenset()
        assert self.history(store).notified_at is None
        delivered(store, one, NOW + 5 * HOUR)
        assert self.history(store).told == Told(NOW + 5 * HOUR + 1, NOW + 5 * HOUR + DAY)

    def test_a_notice_of_a_clock_that_was_ahead_counts_for_no_later_run_of_scans(
        self, store: Store
    ) -> None:
        """Its moment comes when a client has been and gone."""
        one = trees()[0]
        aged(store, [one])
        delivered(store, one, NOW + 2 * HOUR)
        assert store.histories(BOOT_ID, now=NOW + HOUR)[one.key].told is None
        scan(store, [replace(one, connections=Connections(clients=("c",)))], NOW + 600)
        for minutes in range(20, 200, 10):
            scan(store, [one], NOW + minutes * 60)
        history = store.histories(BOOT_ID, now=NOW + 4 * HOUR)[one.key]
        assert (history.told, history.notified) == (None, frozenset())
        assert store.last_message_to("ada") == NOW + 2 * HOUR

    def test_a_scan_is_in_order_until_the_clock_went_back_over_it(self, store: Store) -> None:
        aged(store, trees())
        assert store.is_in_order(BOOT_ID, NOW)
        assert not store.is_in_order("another", NOW)
        assert not store.is_in_order(BOOT_ID, NOW + 1)
        scan(store, trees(), NOW - 60)
        assert not store.is_in_order(BOOT_ID, NOW)
        assert store.is_in_order(BOOT_ID, NOW - HOUR)

    def test_a_notice_without_an_end_notifies_and_tells_nothing(self, store: Store) -> None:
        one = trees()[0]
        aged(store, [one])
        delivered(store, one, rule="heavy", action=Action.NOTIFY, not_before=None)
        assert self.history(store).told is None
        assert self.history(store).notified == {"heavy"}
        assert self.history(store).notified_at == NOW + 1

    def test_the_newest_notice_is_what_was_told(self, store: Store) -> None:
        one = trees()[0]
        aged(store, [one])
        delivered(store, one, NOW)
        delivered(store, one, NOW + HOUR)
        assert self.history(store).told == Told(NOW + HOUR + 1, NOW + HOUR + DAY)

    def test_a_tree_climbs_to_its_end_over_the_store(self, store: Store) -> None:
        one = trees(1)
        for hours in range(28):
            plan = scan(store, one, NOW + hours * HOUR)
        assert plan[0].standing.rung is Rung.CONFIRMED
        delivered(store, one[0], NOW + 27 * HOUR)
        assert scan(store, one, NOW + 28 * HOUR)[0].standing.rung is Rung.TOLD
        assert scan(store, one, NOW + 53 * HOUR)[0].standing.rung is Rung.DUE

    def test_what_was_never_begun_is_never_delivered(self, store: Store) -> None:
        one = trees()[0]
        with pytest.raises(LookupError):
            store.finish_notices([notice(one)], Delivery.DELIVERED, NOW)
        done = delivered(store, one)
        with pytest.raises(LookupError):
            store.finish_notices([done], Delivery.FAILED)
        assert [each.delivery for each in store.notices()] == [Delivery.DELIVERED]

    def test_one_message_is_recorded_whole_or_not_at_all(self, store: Store) -> None:
        one, two = trees(2)
        store.add_notices([notice(one)])
        with pytest.raises(LookupError):
            store.finish_notices([notice(one), notice(two)], Delivery.DELIVERED, NOW)
        assert [each.delivery for each in store.notices()] == [Delivery.SENDING]

    def test_a_message_that_may_have_arrived_counts_as_the_last(self, store: Store) -> None:
        one, two, three = trees(3)
        assert store.last_message_to("ada") is None
        delivered(store, one, NOW)
        store.add_notices([notice(two, NOW + 10)])
        assert store.last_message_to("ada") == NOW + 10
        store.add_notices([notice(three, NOW + 20)])
        store.finish_notices([notice(three, NOW + 20)], Delivery.FAILED)
        assert store.last_message_to("ada") == NOW + 10
        assert store.last_message_to("bob") is None

    def test_notices_are_listed_newest_first(self, store: Store) -> None:
        one, two = trees(2)
        first, second = delivered(store, one, NOW), delivered(store, two, NOW + 5, user="bob")
        assert store.notices() == (second, first)
        assert store.notices(user="ada") == (first,)
        assert store.notices(since=NOW + 1) == (second,)
        assert store.notices(limit=1) == (second,)


class TestCpu:
    def record(self, store: Store, minutes: float, cpu_ticks: int) -> None:
        one = tree(root=launcher(4100, cpu_ticks=cpu_ticks))
        scan(store, [one], NOW + minutes * 60)

    def samples(self, store: Store, minutes: float, *spans: int) -> tuple[CpuSample, ...]:
        (found,) = store.histories(BOOT_ID, cpu_spans=spans, now=NOW + minutes * 60).values()
        return found.cpu

    def test_the_sample_is_the_newest_before_the_span(self, store: Store) -> None:
        for number in range(5):
            self.record(store, number * 10, number * 6000)
        assert self.samples(store, 45, 1800) == (CpuSample(NOW + 600, 60.0),)
        assert self.samples(store, 40, 1800) == (CpuSample(NOW + 600, 60.0),)
        assert set(self.samples(store, 40, 600, 1800)) == {
            CpuSample(NOW + 1800, 180.0),
            CpuSample(NOW + 600, 60.0),
        }

    def test_a_tree_that_is_too_young_has_none(self, store: Store) -> None:
        self.record(store, 0, 0)
        assert self.samples(store, 29, 1800) == ()

    def test_a_scan_that_missed_the_tree_is_passed_over(self, store: Store) -> None:
        self.record(store, 0, 100)
        scan(store, [], NOW + 600)
        self.record(store, 20, 200)
        assert self.samples(store, 45, 1800) == (CpuSample(NOW, 1.0),)


class TestRecords:
    def test_a_run_that_was_cut_short_is_told_once(self, store: Store) -> None:
        store.begin_run(run("r1", NOW))
        store.begin_run(run("r2", NOW + 600))
        failed = store.fail_unfinished_runs("r2", NOW + 600)
        assert [(each.run_id, each.outcome) for each in failed] == [("r1", Outcome.FAILED)]
        assert store.fail_unfinished_runs("r2", NOW + 600) == ()
        assert [each.outcome for each in store.runs()] == [Outcome.FAILED, Outcome.RUNNING]

    def test_the_last_completed_run_is_one_that_came_to_its_end(self, store: Store) -> None:
        refused = run("r1", outcome=Outcome.REFUSED, finished_at=NOW + 1, words=("a", "b"))
        store.begin_run(run("r1"))
        store.finish_run(refused)
        store.finish_run(run("r2", NOW + 600, outcome=Outcome.FAILED))
        assert store.last_completed_run() == refused
        assert store.runs(NOW + 1) == (run("r2", NOW + 600, outcome=Outcome.FAILED),)

    def test_a_termination_that_was_cut_short_is_known_until_it_is_settled(
        self, store: Store
    ) -> None:
        begun = termination(trees()[0])
        store.begin_termination(begun)
        assert store.interrupted_terminations() == (begun,)
        ended = replace(begun, result=Result.SPARED, finished_at=NOW + 9, words=("a client",))
        store.finish_termination(ended)
        assert store.interrupted_terminations() == ()
        assert store.terminations(user="ada", since=NOW) == (ended,)
        assert store.terminations(user="bob") == store.terminations(since=NOW + 1) == ()

    @pytest.mark.parametrize("client_at", [None, NOW + 9])
    def test_a_tree_that_was_spared_begins_its_ladder_anew(
        self, store: Store, client_at: float | None
    ) -> None:
        """Else the notice from before the client came would end it in the next run."""
        found = trees(2)
        aged(store, found)
        for each in found:
            delivered(store, each)
        begun = termination(found[0])
        store.begin_termination(begun)
        store.spare(replace(begun, result=Result.SPARED, finished_at=NOW + 9), client_at)
        spared, other = (store.histories(BOOT_ID)[each.key] for each in found)
        assert (spared.told, spared.clear_since, spared.clear_scans) == (None, None, 0)
        assert spared.last_client == client_at
        assert other.told is not None
        assert store.interrupted_terminations() == ()
        assert len(store.recorded(BOOT_ID)) == 8

    def test_an_approval_is_known_to_be_used(self, store: Store) -> None:
        assert not store.is_approval_used("abc")
        store.use_approval("abc", NOW)
        assert store.is_approval_used("abc")

    def test_an_approval_is_good_for_once(self, store: Store) -> None:
        assert store.use_approval("abc", NOW)
        assert not store.use_approval("abc", NOW + 1)
        assert store.use_approval("abd", NOW + 1)

    def test_admin_mails_are_remembered_by_kind(self, store: Store) -> None:
        assert store.last_admin_mail("refused") is None
        store.note_admin_mail("refused", NOW)
        store.note_admin_mail("refused", NOW + 5)
        assert store.last_admin_mail("refused") == NOW + 5
        assert store.last_admin_mail("digest") is None


class TestReplay:
    def test_stored_scans_are_judged_as_they_were(self, store: Store) -> None:
        found = trees()
        plans = [scan(store, found, NOW + number * HOUR) for number in range(6)]
        remembered: dict[ProcessKey, History] = {}
        for stored, plan in zip(store.scans(0, NOW + DAY), plans, strict=True):
            scene = Scene(
                {each.owner.uid: each.owner for each in stored.sightings},
                stored.logins,
                remembered,
                stored.ticks,
            )
            seen_then = [each.tree for each in stored.sightings]
            again = decide(seen_then, scene, ENFORCE, stored.taken_at)
            remembered = {each.tree.key: each.memory for each in again}
            assert [each.memory for each in again] == [each.memory for each in plan]
            assert [each.rung for each in stored.sightings] == [each.standing.rung for each in plan]

    def test_a_scan_says_what_was_seen_and_decided(self, store: Store) -> None:
        one = tree(root=launcher(4100, cpu_ticks=250, rss=9 << 20))
        (decision,) = scan(store, [one], NOW, logins={1001: "pid 7 (bash)", 9: "of no owner"})
        (stored,) = store.scans(NOW, NOW + 1)
        assert (stored.boot_id, stored.taken_at, stored.ticks) == (BOOT_ID, NOW, TICKS)
        assert (stored.processes, stored.logins) == (1, {1001: "pid 7 (bash)"})
        (sighting,) = stored.sightings
        assert (sighting.tree.rss, sighting.tree.cpu_ticks) == (9 << 20, 250)
        assert sighting.tree.started_at == BOOT + one.root.start_ticks / TICKS
        assert (sighting.state, sighting.clients) == (State.GRACE, False)
        assert (sighting.wanted, sighting.action) == (decision.wanted, decision.action)
        assert (sighting.rule, sighting.held_back) == ("abandoned", decision.held_back)

    def test_scans_are_chosen_by_time(self, store: Store) -> None:
        aged(store, trees(1))
        moments = [each.taken_at for each in store.scans(NOW - 2 * HOUR, NOW)]
        assert moments == [NOW - 2 * HOUR, NOW - HOUR]

    def test_a_tree_that_does_not_change_is_stored_once(self, store: Store) -> None:
        for number in range(5):
            busy = tree(root=launcher(4100, cpu_ticks=number, rss=number))
            scan(store, [busy], NOW + number * 600)
        assert store._database.value("SELECT count(*) FROM facts") == 1

    def test_a_tree_that_changes_back_is_stored_twice(self, store: Store) -> None:
        used = tree(connections=Connections(clients=("somebody",)))
        for number, one in enumerate((tree(), used, tree(), used)):
            scan(store, [one], NOW + number * 600)
        assert store._database.value("SELECT count(*) FROM facts") == 2
        clients = [each.sightings[0].tree.connections.clients for each in store.scans(0, NOW * 2)]
        assert clients == [(), ("somebody",), (), ("somebody",)]

    def test_a_scan_that_is_pruned_meanwhile_is_left_out(self, store: Store) -> None:
        aged(store, trees(1))
        reading = store.scans(0, NOW + 1)
        assert next(reading).taken_at == NOW - 3 * HOUR
        store.prune(NOW, HOUR)
        assert [each.taken_at for each in reading] == [NOW - HOUR, NOW]


class TestPrune:
    def count(self, store: Store, table: str) -> int:
        return int(store._database.value(f"SELECT count(*) FROM {table}"))  # noqa: S608

    def test_what_is_old_goes_and_what_it_alone_used(self, store: Store) -> None:
        gone, stays = trees(2)
        scan(store, [gone, stays], NOW - 40 * DAY)
        scan(store, [stays], NOW)
        delivered(store, gone, NOW - 40 * DAY)
        store.begin_termination(termination(gone, NOW - 40 * DAY))
        ended = termination(gone, NOW - 39 * DAY)
        store.begin_termination(ended)
        store.finish_termination(replace(ended, result=Result.ENDED))
        store.prune(NOW, 30 * DAY)
        assert [self.count(store, each) for each in ("scans", "sightings", "trees", "facts")] == [
            1
        ] * 4
        assert store.notices() == ()
        assert [each.result for each in store.terminations()] == [Result.STARTED]

    def test_what_a_ladder_stands_on_stays_however_old(self, store: Store) -> None:
        """Where terminations wait for months, the notice must not run out."""
        one = trees(1)
        aged(store, one)
        told = delivered(store, one[0], NOW)
        for day in range(1, 91):
            scan(store, one, NOW + day * DAY)
        for _ in range(3):
            store.prune(NOW + 121 * DAY, 30 * DAY)
        history = store.histories(BOOT_ID)[one[0].key]
        assert (history.first_seen, history.told) == (NOW - 3 * HOUR, Told(NOW + 1, NOW + DAY))
        assert store.notices() == (told,)
        assert self.count(store, "scans") == 1

    def test_the_last_scan_stays_after_a_long_standstill(self, store: Store) -> None:
        found = trees(2)
        aged(store, found)
        store.prune(NOW + 90 * DAY, 30 * DAY)
        assert len(store.recorded(BOOT_ID)) == 8
        assert len(store.histories(BOOT_ID)) == 2
        assert len(list(store.scans(0, NOW + 1))) == 1

    def test_old_facts_of_a_living_tree_go(self, store: Store) -> None:
        used = tree(connections=Connections(clients=("somebody",)))
        scan(store, [used], NOW - 40 * DAY)
        scan(store, [tree()], NOW)
        store.prune(NOW, 30 * DAY)
        assert self.count(store, "facts") == self.count(store, "judgements") == 1

    def test_the_last_completed_run_stays(self, store: Store) -> None:
        done = [
            run(
                f"r{days}", NOW - days * DAY, outcome=Outcome.DONE, finished_at=NOW - days * DAY + 9
            )
            for days in (90, 60)
        ]
        for each in done:
            store.finish_run(each)
        store.finish_run(run("failed", NOW - 50 * DAY, outcome=Outcome.FAILED))
        store.prune(NOW, 30 * DAY)
        assert store.last_completed_run() == done[1]
        assert [each.run_id for each in store.runs()] == ["r60", "failed"]

    def test_a_long_backlog_is_worked_off_and_the_file_shrinks(
        self, store: Store, path: str
    ) -> None:
        found = trees(40)
        store._database.run("PRAGMA synchronous = OFF")
        for number in range(120):
            used = Connections(clients=(f"client {number}",))
            scan(store, [replace(each, connections=used) for each in found], NOW + number * 600)
        full = os.path.getsize(path)
        for _ in range(40):
            store.prune(NOW + 99 * DAY, 30 * DAY)
        assert self.count(store, "scans") == 1
        assert os.path.getsize(path) < full / 2


class TestLock:
    @pytest.fixture
    def path(self, tmp_path: Path) -> str:
        return str(tmp_path / "lib" / "store.sqlite")

    def test_a_second_run_is_turned_away_and_counted(self, path: str) -> None:
        assert turned_away(path) == 0
        with held(path):
            for _ in range(2):
                with (
                    pytest.raises(LockHeldError, match=f"held by pid {os.getpid()}") as caught,
                    held(path),
                ):
                    raise AssertionError
            assert caught.value.exit_code == 75
            assert path in str(caught.value)
        assert begin_count_anew(path) == 2
        assert turned_away(path) == 0

    def test_it_is_let_go_of_after_a_failure(self, path: str) -> None:
        with pytest.raises(ZeroDivisionError), held(path):
            raise ZeroDivisionError
        with held(path):
            assert turned_away(path) == 0

    def test_its_file_is_private_and_no_link(self, tmp_path: Path, path: str) -> None:
        with held(path):
            assert os.stat(path + ".lock").st_mode & 0o777 == 0o600
        os.unlink(path + ".lock")
        os.symlink(tmp_path / "elsewhere", path + ".lock")
        with pytest.raises(StoreError), held(path):
            raise AssertionError
        assert not (tmp_path / "elsewhere").exists()

    def test_a_folder_that_others_can_write_holds_no_lock(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o777)
        with pytest.raises(StoreError, match="can write"), held(str(tmp_path / "store.sqlite")):
            raise AssertionError


def test_identities_are_of_one_boot() -> None:
    one = trees()[0]
    assert identity(one) != identity(one, "another")
    assert identity(one).key == one.key
