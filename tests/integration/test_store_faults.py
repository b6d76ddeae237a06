"""The store on a real file system that fails: killed, full, damaged, read-only, shared.

Whatever happens, no history comes out of it that did not go in.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import NOW
from tests.stores import BOOT_ID, HOUR, aged, delivered, identity, new, notice, scan, trees
from vscadmin.cleanup.lock import held, turned_away
from vscadmin.cleanup.records import Delivery
from vscadmin.cleanup.store import Store
from vscadmin.cleanup.store_read import Reader
from vscadmin.errors import LockHeldError, StoreError, StoreFailedError
from vscadmin.model import ProcessKey
from vscadmin.policy.states import History, Told

CHECKOUT = Path(__file__).parents[2]
SPANS = (1800, 7200)
ASIDE = "store.sqlite.corrupt-20260921T141320Z"


def python(script: str, *arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-c", script, *arguments]


@contextmanager
def child(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        python(script, *arguments), cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=20)


def in_a_mount_namespace(script: str, folder: Path, options: str) -> str:
    """Run *script* where *folder* is a tmpfs of its own, with *options*; return its output."""
    inside = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o "$0" none "$1" && shift && "$@"']
    probe = subprocess.run([*inside, "size=1m", str(folder), "true"], check=False)
    if probe.returncode:
        assert os.environ.get("CI") != "true", "the CI must be able to mount a tmpfs"
        pytest.skip("a tmpfs of our own needs root")
    done = subprocess.run(
        [*inside, options, str(folder), *python(script, str(folder))],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestKilled:
    NOTICES = """
import sys
from tests.stores import *
from pathlib import Path
store = new(Path(sys.argv[1]))
for number in range(1_000_000):
    delivered(store, trees(1)[0], NOW + number)
    print(number, flush=True)
"""
    MIDWAY = """
import sys, time
from tests.stores import *
from pathlib import Path
store = new(Path(sys.argv[1]))
store._database.run("PRAGMA cache_size = 4")  # so that pages reach the file before the commit
with store._database.transaction():
    for number in range(2000):
        store._database.run("UPDATE notices SET error = ?", str(number) * 2000)
        store._database.run("INSERT INTO approvals VALUES (?, 1)", str(number))
        if number == 1000:
            print("midway", flush=True)
            time.sleep(600)
"""

    @pytest.mark.parametrize("commits", [1, 7, 20])
    def test_what_was_committed_is_there_and_whole(self, tmp_path: Path, commits: int) -> None:
        with child(self.NOTICES, str(tmp_path)) as process:
            assert process.stdout is not None
            for _ in range(commits):
                last = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=20)
        with new(tmp_path) as store:
            assert store.problems == ()
            found = [each.created_at - NOW for each in store.notices()]
            sure = [n.created_at for n in store.notices() if n.delivery is Delivery.DELIVERED]
        assert sorted(found) == list(range(len(found)))
        assert len(sure) > last

    def test_a_transaction_that_was_cut_short_never_happened(self, tmp_path: Path) -> None:
        path = tmp_path / "store.sqlite"
        with new(tmp_path) as store:
            done = delivered(store, trees(1)[0])
            store.add_notices([notice(trees(2)[1])])
        with child(self.MIDWAY, str(tmp_path)) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "midway\n"
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=20)
        assert (tmp_path / "store.sqlite-journal").stat().st_size > 0, "the test must be midway"
        with pytest.raises(StoreFailedError, match="the next one repairs it"):
            Reader.open(str(path))
        with new(tmp_path) as store:
            assert store.problems == ()
            assert store.notices(limit=9) == (notice(trees(2)[1]), done)
            assert store.use_approval("1", NOW)
        assert os.listdir(tmp_path) == ["store.sqlite"]


class TestFullDisk:
    FULL = """
import os, sys
from tests.stores import *
from pathlib import Path
from vscadmin.errors import StoreError
from vscadmin.model import Connections
folder = Path(sys.argv[1])
store = new(folder)
delivered(store, trees(1)[0])
for number in range(10_000):
    try:
        used = Connections(clients=(f"client {number}",))
        scan(store, trees(40, connections=used), NOW + number * 600)
    except StoreError as error:
        print(int(error.exit_code), error)
        break
store.close()
print(number, len(list(new(folder).scans(0, NOW * 2))))
filler = folder / "filler"
with filler.open("wb", buffering=0) as file:
    try:
        while file.write(bytes(4096)):
            pass
    except OSError:
        pass
again = new(folder)
try:
    again.add_notices([notice(trees(2)[1])])
except StoreError as error:
    print(int(error.exit_code))
filler.unlink()
print(len(again.notices()), again.problems)
again.add_notices([notice(trees(2)[1])])
print(len(again.notices()))
"""
    NEW = """
import os, sys
from tests.stores import *
from pathlib import Path
from vscadmin.errors import StoreError
folder = Path(sys.argv[1])
(folder / "filler").write_bytes(bytes(60 * 1024))
try:
    new(folder)
except StoreError as error:
    print(int(error.exit_code), os.listdir(folder))
(folder / "filler").unlink()
"""

    def test_what_does_not_fit_is_not_recorded_and_the_rest_stays(self, tmp_path: Path) -> None:
        lines = in_a_mount_namespace(self.FULL, tmp_path, "size=1m").splitlines()
        code, words = lines[0].split(" ", 1)
        assert int(code) == 10
        assert "the disk is full: nothing is recorded, so nothing is done" in words
        recorded, stored = map(int, lines[1].split())
        assert recorded == stored > 0
        assert lines[2:] == ["10", "1 ()", "2"]

    def test_a_store_that_does_not_fit_leaves_nothing(self, tmp_path: Path) -> None:
        said = in_a_mount_namespace(self.NEW, tmp_path, "size=64k")
        assert said == "10 ['filler']\n"


class TestReadOnly:
    SCRIPT = """
import os, subprocess, sys
from tests.stores import *
from pathlib import Path
from vscadmin.cleanup.lock import held
from vscadmin.cleanup.store_read import Reader
from vscadmin.errors import StoreError
folder = Path(sys.argv[1])
with new(folder) as store:
    aged(store, trees())
subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
try:
    new(folder)
except StoreError as error:
    print(int(error.exit_code), error)
try:
    with held(str(folder / "store.sqlite")):
        pass
except StoreError as error:
    print(int(error.exit_code), error)
print(len(Reader.open(str(folder / "store.sqlite")).histories(BOOT_ID)))
"""

    def test_nothing_is_done_but_reading_works(self, tmp_path: Path) -> None:
        store, lock, read = in_a_mount_namespace(self.SCRIPT, tmp_path, "size=4m").splitlines()
        assert store.startswith("10 ")
        assert "cannot be written" in store
        assert lock.startswith("10 ")
        assert "Read-only file system" in lock
        assert read == "3"


class TestSecondWriter:
    def test_another_process_holds_the_lock(self, tmp_path: Path) -> None:
        path = str(tmp_path / "store.sqlite")
        script = """
import sys, time
from vscadmin.cleanup.lock import held
with held(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""
        with child(script, path) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            with pytest.raises(LockHeldError, match=f"pid {process.pid}"), held(path):
                raise AssertionError
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=20)
            with held(path):
                assert turned_away(path) == 1

    def test_a_writer_in_between_is_waited_for_and_then_told(self, tmp_path: Path) -> None:
        with new(tmp_path) as one, new(tmp_path) as other:
            other._database.run("PRAGMA busy_timeout = 100")
            with one._database.transaction():
                with pytest.raises(StoreFailedError, match="keeps it locked"):
                    other.add_notices([notice(trees(1)[0])])
                assert other.notices() == ()
            other.add_notices([notice(trees(1)[0])])


def remembered(store: Reader) -> dict[ProcessKey, History]:
    return store.histories(BOOT_ID, cpu_spans=SPANS, now=NOW)


def fill(folder: Path) -> bytes:
    """Make a store of four scans of thirty trees, half of whose owners were told; return it."""
    with new(folder) as store:
        found = trees(30)
        aged(store, found)
        for one in found[::2]:
            delivered(store, one)
    return (folder / "store.sqlite").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return fill(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("kind", ["start", "zero length", "short", "cut in half", "not a database"])
def test_a_damaged_file_is_set_aside_and_all_begins_anew(
    whole: bytes, tmp_path: Path, kind: str
) -> None:
    noise = random.Random(kind).randbytes  # noqa: S311 - damage is no secret
    damaged = {
        "start": noise(64) + whole[64:],
        "zero length": b"",
        "short": whole[:50],
        "cut in half": whole[: len(whole) // 2],
        "not a database": noise(5000),
    }[kind]
    path = tmp_path / "store.sqlite"
    path.write_bytes(damaged)
    with pytest.raises(StoreError):
        Reader.open(str(path))
    assert path.read_bytes() == damaged, "who only reads repairs nothing"
    with new(tmp_path) as store:
        aside = tmp_path / ASIDE
        assert aside.read_bytes() == damaged
        (said,) = store.problems
        assert str(aside) in said
        assert "every ladder begins anew" in said
        assert remembered(store) == {}
        aged(store, trees())
    assert new(tmp_path).problems == ()


def test_the_journal_of_a_damaged_store_goes_with_it(tmp_path: Path) -> None:
    """Else its pages would be played back into the new one."""
    (tmp_path / "store.sqlite").touch()
    (tmp_path / "store.sqlite-journal").write_bytes(b"of the old one")
    (tmp_path / "store.sqlite-wal").write_bytes(b"too")
    new(tmp_path).close()
    assert sorted(os.listdir(tmp_path)) == sorted(
        ["store.sqlite", ASIDE, f"{ASIDE}-journal", f"{ASIDE}-wal"]
    )


def test_a_missing_table_is_damage(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_bytes(whole)
    with new(tmp_path) as store:
        store._database.run("DROP TABLE approvals")
    assert "its tables are not those of a store" in new(tmp_path).problems[0]


def test_a_number_that_nobody_wrote_justifies_nothing(whole: bytes, tmp_path: Path) -> None:
    """SQLite sees nothing wrong with another time in a notice: its seal does."""
    (tmp_path / "store.sqlite").write_bytes(whole)
    with new(tmp_path) as store:
        store._database.run("UPDATE notices SET not_before = not_before - 86400")
        with pytest.raises(StoreFailedError, match="it is damaged") as caught:
            remembered(store)
        assert caught.value.exit_code == 10
    with pytest.raises(StoreFailedError, match="the next run of cleanup sets it aside"):
        Reader.open(str(tmp_path / "store.sqlite"))
    with new(tmp_path) as store:
        assert "an earlier run found it damaged" in store.problems[0]
        assert remembered(store) == {}
    assert new(tmp_path).problems == ()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE trees SET state_since = state_since - 86400",
        "UPDATE trees SET clear_scans = 99",
        "UPDATE trees SET members = '[[1, 1]]'",
        "UPDATE notices SET delivery = 'delivered', delivered_at = 1",
        "UPDATE sightings SET cpu_ticks = cpu_ticks - 1",
        "UPDATE scans SET taken_at = taken_at + 1",
    ],
)
def test_every_number_that_a_judgement_rests_on_is_sealed(
    whole: bytes, tmp_path: Path, change: str
) -> None:
    (tmp_path / "store.sqlite").write_bytes(whole)
    with new(tmp_path) as store:
        store._database.run(change)
        with pytest.raises(StoreFailedError, match="it is damaged"):
            remembered(store)


def damage(whole: bytes, seed: int) -> bytes:
    """Return *whole* with a few bytes, a sector or a page of it changed, exchanged or lost."""
    luck = random.Random(seed)  # noqa: S311 - damage is no secret
    page = 4096 * luck.randrange(len(whole) // 4096)
    other = 4096 * luck.randrange(len(whole) // 4096)
    length = luck.choice([1, 2, 16, 512, 4096])
    at = luck.randrange(len(whole) - length)
    made = bytearray(whole)
    match luck.randrange(5):
        case 0:
            made[page : page + 4096] = bytes(4096)
        case 1:
            made[page : page + 4096] = whole[other : other + 4096]
        case 2:
            return bytes(made[:at])
        case _:
            made[at : at + length] = luck.randbytes(length)
    return bytes(made)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_damaged_nothing_is_remembered_that_was_not_so(
    whole: bytes, tmp_path: Path, seed: int
) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(whole)
    with new(tmp_path) as store:
        before, members = remembered(store), store.recorded(BOOT_ID)
    path.write_bytes(damage(whole, seed))
    for _ in range(3):
        try:
            with new(tmp_path) as store:
                after = remembered(store)
                assert all(is_no_worse(after[key], before[key]) for key in after)
                assert store.recorded(BOOT_ID).items() <= members.items()
                scan(store, trees(30), NOW + HOUR)
                store.prune(NOW + HOUR, 2 * HOUR)
                return
        except StoreFailedError:
            continue
        except StoreError as error:
            refusal = str(error)
            break
    else:
        pytest.fail("the store is of no use after three runs")
    assert "another program's" in refusal or "newer vscadmin" in refusal


def is_no_worse(after: History, before: History) -> bool:
    """Whether a tree's memory is what it was, or lacks something that speaks against it."""
    told, notified, at, cpu = after.told, after.notified, after.notified_at, after.cpu
    return (
        after == replace(before, told=told, notified=notified, notified_at=at, cpu=cpu)
        and told in (None, before.told)
        and notified <= before.notified
        and set(cpu) <= set(before.cpu)
    )


def test_the_seeds_cover_both_a_store_that_survives_and_one_that_does_not(
    whole: bytes, tmp_path: Path
) -> None:
    """Otherwise the test above would prove nothing."""
    survived = set()
    for seed in range(40):
        folder = tmp_path / str(seed)
        folder.mkdir()
        (folder / "store.sqlite").write_bytes(damage(whole, seed))
        try:
            with new(folder) as store:
                survived.add(len(remembered(store)) > 0)
        except StoreError:
            survived.add(False)
    assert survived == {True, False}


def test_the_fixture_holds_what_the_tests_damage(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_bytes(whole)
    with new(tmp_path) as store:
        history = remembered(store)[trees(1)[0].key]
        assert history.told == Told(NOW + 1, NOW + 24 * HOUR)
        assert len(history.cpu) == len(SPANS)
        assert isinstance(store, Store)
        assert store.notices(limit=1)[0].identity in {identity(each) for each in trees(30)}
