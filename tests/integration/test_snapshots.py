"""The shared directory: who may write there, what is read, how much, and how fast."""

from __future__ import annotations

import os
import resource
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.fleet import NODES, TREES, read_snapshots, write_snapshots
from vscadmin.cleanup import snapshots
from vscadmin.cleanup.peers import Peer, Standing
from vscadmin.cleanup.snapshots import SharedDirectoryError, read, write

NOW = 1_790_000_000.0
PEER = Peer("login2", "b00710ad", NOW, NOW + 1, True, (Standing(1001, "ada", 4100, 1, NOW - 9),))


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o700)
    return folder


def test_what_one_node_writes_the_others_read_and_itself(shared: Path) -> None:
    write(str(shared), PEER)
    assert read(str(shared), "login1").peers == (PEER,)
    assert read(str(shared), "login2").own == PEER
    assert (shared / "login2.json").stat().st_mode & 0o777 == 0o600
    assert os.listdir(shared) == ["login2.json"]


def test_a_snapshot_is_replaced_whole(shared: Path) -> None:
    """Whoever reads meanwhile has the old one or the new one, never a part."""
    many = replace(PEER, trees=PEER.trees * 2000)
    write(str(shared), many)
    seen, stop = set(), threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            write(str(shared), many)
            write(str(shared), PEER)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for _ in range(50):
            found = read(str(shared), "login1")
            assert found.problems == ()
            seen.add(len(found.peers[0].trees))
    finally:
        stop.set()
        writer.join()
    assert seen <= {1, 2000}


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to somebody else")
def test_a_file_of_somebody_else_is_not_believed(shared: Path) -> None:
    write(str(shared), PEER)
    os.chown(shared / "login2.json", 65534, 65534)
    found = read(str(shared), "login1")
    assert found.peers == ()
    (problem,) = found.problems
    assert problem == ("login2.json", f"{shared}/login2.json: belongs to uid 65534, not to root")


def test_a_link_is_not_followed(shared: Path, tmp_path: Path) -> None:
    write(str(shared), PEER)
    os.rename(shared / "login2.json", tmp_path / "elsewhere")
    (shared / "login2.json").symlink_to(tmp_path / "elsewhere")
    found = read(str(shared), "login1")
    assert found.peers == ()
    assert "is a symbolic link" in found.problems[0][1]


def test_a_link_at_the_place_of_the_new_file_is_not_written_through(
    shared: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious", encoding="ascii")
    (shared / ".login2.new").symlink_to(victim)
    with pytest.raises(SharedDirectoryError, match="cannot be written"):
        write(str(shared), PEER)
    assert victim.read_text(encoding="ascii") == "precious"


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_directory_that_others_can_write_is_not_used(shared: Path, mode: int) -> None:
    """A sticky one neither: a user could take the name of a node's file."""
    write(str(shared), PEER)
    shared.chmod(mode)
    for work in (lambda: read(str(shared), "login1"), lambda: write(str(shared), PEER)):
        with pytest.raises(SharedDirectoryError, match="its group or others can write it"):
            work()


def test_a_directory_that_is_not_there_or_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(SharedDirectoryError, match="No such file or directory"):
        read(str(tmp_path / "none"), "login1")
    (tmp_path / "file").write_text("", encoding="ascii")
    with pytest.raises(SharedDirectoryError, match="is no directory"):
        read(str(tmp_path / "file"), "login1")


def test_a_name_that_is_no_nodes_is_passed_over(shared: Path) -> None:
    for name in (".login1.new", "README", "-x.json", "a b.json", ".json"):
        (shared / name).write_text("{", encoding="ascii")
    found = read(str(shared), "login1")
    assert (found.peers, found.problems) == ((), ())


def test_a_node_whose_name_is_no_files_cannot_write(shared: Path) -> None:
    with pytest.raises(SharedDirectoryError, match="cannot be a file's name"):
        write(str(shared), replace(PEER, node="../login2"))


def test_a_file_that_is_too_large_is_not_read(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "MOST_BYTES", 1 << 20)
    (shared / "login2.json").write_bytes(b" " * ((1 << 20) + 1))
    (shared / "login2.json").chmod(0o600)
    assert read(str(shared), "login1").problems == (
        ("login2.json", f"{shared}/login2.json: is larger than 1 MiB"),
    )
    with pytest.raises(SharedDirectoryError, match="larger than 1 MiB"):
        write(str(shared), replace(PEER, trees=PEER.trees * 20_000))


def test_a_file_of_another_schema_is_named_and_the_rest_is_read(shared: Path) -> None:
    write(str(shared), PEER)
    (shared / "login3.json").write_text('{"schema": 2}', encoding="ascii")
    (shared / "login3.json").chmod(0o600)
    found = read(str(shared), "login1")
    assert found.peers == (PEER,)
    words = "has schema 2, and this vscadmin knows 1"
    assert found.problems == (("login3.json", f"{shared}/login3.json: {words}"),)


def test_a_directory_that_hangs_is_given_up(shared: Path) -> None:
    """A pipe that nobody writes to answers as a dead file server does: not at all."""
    begun = time.monotonic()
    with pytest.raises(SharedDirectoryError, match="no answer within 0 s"):
        snapshots._within(0.2, str(shared), threading.Event().wait)
    assert time.monotonic() - begun < 5


def test_a_thousand_nodes_are_merged_soon_and_in_little_memory(tmp_path: Path) -> None:
    """Five seconds and 300 MB are the targets of `python -m benchmarks.fleet`; here is room."""
    write_snapshots(str(tmp_path))
    before = resource.getrusage(resource.RUSAGE_SELF)
    assert read_snapshots(str(tmp_path)) == (NODES - 1) * TREES // 5
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 10
    assert (after.ru_maxrss - before.ru_maxrss) * 1024 < 300e6
