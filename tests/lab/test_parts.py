"""The lab's parts that need no lab: what is mounted, who holds the lock, what is kept."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from tests.lab import cgroups, mounts, software, state
from tests.lab.errors import InstallError, LabError

MOUNTINFO = r"""22 1 254:1 / / rw - ext4 /dev/vda1 rw
30 22 0:29 / /sys/fs/cgroup rw - tmpfs  rw,mode=755
31 30 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup  rw,cpu,cpuacct
32 30 0:31 / /sys/fs/cgroup/freezer rw shared:3 - cgroup cgroup rw,freezer
33 22 0:31 / /mnt/freezer\040again rw - cgroup cgroup rw,freezer
34 22 0:32 /part /mnt/memory rw - cgroup cgroup rw,memory
35 30 0:33 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
36 30 0:34 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
37 22 254:2 / /var rw - ext4 /dev/vda2 rw
38 22 254:3 / /var/lib/docker\134x rw - ext4 /dev/vda3 rw
39 22 254:4 / /usr rw - ext4 /dev/vda4 rw
short line
"""


class TestMounts:
    def test_a_hierarchy_is_found_once_and_whole(self) -> None:
        found = cgroups.parse(mounts.parse(MOUNTINFO))
        assert [(each.controllers, each.mount_point.name) for each in found] == [
            ("cpu,cpuacct", "cpu,cpuacct"),
            ("freezer", "freezer"),
            ("name=systemd", "systemd"),
            ("v2", "unified"),
        ]

    def test_slurm_has_version_1_where_it_is(self) -> None:
        found = cgroups.parse(mounts.parse(MOUNTINFO))
        assert cgroups.for_slurm(found) == ["cpu,cpuacct", "freezer"]
        assert cgroups.for_slurm(found[2:]) == ["v2"]
        assert cgroups.for_slurm(found[2:3]) == []

    def test_names_are_read_as_they_are(self) -> None:
        points = {str(mount.point) for mount in mounts.parse(MOUNTINFO)}
        assert {"/mnt/freezer again", "/var/lib/docker\\x"} <= points

    def test_system_folders_of_their_own_come_outer_ones_first(self) -> None:
        assert mounts.system_folders(mounts.parse(MOUNTINFO)) == ["/usr", "/var"]


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "STATE", tmp_path / "state")
    monkeypatch.setattr(software, "_CACHE", tmp_path / "cache")
    return tmp_path


class TestState:
    def test_a_lab_is_locked_by_one(self, folders: Path) -> None:
        refused = pytest.raises(LabError, match="a is being brought up")
        with state.locked("a"), state.locked("b"), refused, state.locked("a"):
            pass

    def test_a_folder_that_was_replaced_locks_nothing(
        self, folders: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever had it open when another took the lab down would share it with a third."""

        def taken_down_first(handle: int, how: int) -> None:
            monkeypatch.undo()
            monkeypatch.setattr(state, "STATE", folders / "state")
            state.remove("a")

        monkeypatch.setattr(fcntl, "flock", taken_down_first)
        with state.locked("a") as folder:
            assert folder.is_dir()
            with pytest.raises(LabError), state.locked("a"):
                pass

    def test_links_are_removed_and_not_followed(self, folders: Path) -> None:
        (kept := folders / "kept").mkdir()
        with state.locked("a") as folder:
            (folder / "link").symlink_to(kept)
            (folder / "sub").mkdir()
            (folder / "sub" / "link").symlink_to(kept)
            state.empty("a")
            assert list(folder.iterdir()) == []
        assert kept.is_dir()


class TestSoftware:
    @pytest.fixture
    def build(self, folders: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Build an empty folder of another name each time; return one number for each."""
        built: list[int] = []

        def make(build: Path, python: str) -> Path:
            (build / "opt").mkdir()
            built.append(len(built))
            return build / "opt"

        monkeypatch.setattr(software, "_build", make)
        monkeypatch.setattr(software, "_digest", lambda _: str(len(built)))
        return built

    def test_what_a_lab_runs_is_kept(self, build: list[int], folders: Path) -> None:
        with state.locked("a"):
            first = software.installed(lambda path: state.set_software("a", path))
        others = [software.installed() for _ in range(5)]
        assert first.is_dir()
        assert [each.is_dir() for each in others] == [False, True, True, True, True]

    def test_killed_builds_are_removed(self, build: list[int], folders: Path) -> None:
        (killed := folders / "cache" / "build-x").mkdir(parents=True)
        software.installed()
        assert not killed.exists()

    def test_a_failure_is_one_line_and_changes_no_rights(self) -> None:
        before = os.umask(0o077)
        try:
            with pytest.raises(InstallError, match=r"^cannot install vscadmin for the lab: two$"):
                software._run("sh", "-c", "echo one >&2; echo two >&2; exit 1")
            assert os.umask(0o077) == 0o077
        finally:
            os.umask(before)


def test_groups_that_are_still_busy_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may say so for a moment after the last process."""
    attempts = []
    left = [Path("/x")]

    def rmdir(path: Path) -> None:
        attempts.append(path)
        if len(attempts) < 3:
            raise OSError(16, "Device or resource busy")
        left.clear()

    monkeypatch.setattr(cgroups, "_directories", lambda *_: list(left))
    monkeypatch.setattr(Path, "rmdir", rmdir)
    cgroups.end("none")
    assert len(attempts) == 3
