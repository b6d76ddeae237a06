"""doctor on what cleanup needs: mail, the store, whoever starts it, earlier runs."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.stores import new, run
from vscadmin.cleanup.lock import note_turned_away
from vscadmin.cleanup.records import Outcome
from vscadmin.cli import doctor_cleanup
from vscadmin.cli.main import cli
from vscadmin.deadline import within
from vscadmin.procs.machine import parse_mounts

MAIL = 'from = "x@example.edu"\naddress = "{user}@example.edu"\n'
Graded = dict[str, tuple[str, str]]


class Site:
    """A policy file in the making, and doctor on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = str(folder / "lib" / "store.sqlite")
        self.mode = "observe"
        self.notify = 'smtp = "127.0.0.1:1"\n'

    def doctor(self) -> tuple[int, Graded]:
        """Return the exit code, and each check's grade and words."""
        policy = self.folder / "policy.toml"
        policy.write_text(
            f'version = 1\nmode = "{self.mode}"\n[store]\npath = "{self.store}"\n'
            f"[notify]\n{MAIL}{self.notify}"
        )
        arguments = ["doctor", "--json", "--policy", str(policy)]
        done = CliRunner().invoke(cli, arguments, standalone_mode=False, catch_exceptions=False)
        rows = json.loads(done.stdout)["checks"]
        return done.return_value, {row["check"]: (row["grade"], row["words"]) for row in rows}

    def check(self, name: str) -> tuple[str, str]:
        return self.doctor()[1][name]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return a site on a machine of its own: nothing starts cleanup, and there is no store."""
    monkeypatch.setattr(doctor_cleanup, "CRON", str(tmp_path / "cron"))
    monkeypatch.setattr(doctor_cleanup, "UNITS", (str(tmp_path),))
    return Site(tmp_path)


@contextlib.contextmanager
def mail_server(*answers: bytes) -> Iterator[int]:
    """Serve one client, who gets an answer a line; then, and without any, silence."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection, connection.makefile("rb") as lines:
                    for answer in answers:
                        connection.sendall(answer)
                        lines.readline()
                    lines.read()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]


class TestMail:
    @pytest.mark.usefixtures("root")  # a policy that is not root's is a failure by itself
    def test_it_is_not_asked_for_in_mode_observe(self, site: Site) -> None:
        code, found = site.doctor()
        assert found["mail"] == ("ok", "not used in mode observe")
        assert "templates" not in found
        assert code == 0

    @pytest.mark.usefixtures("root")  # a policy that is not root's is a failure by itself
    def test_a_server_that_greets_will_do(self, site: Site) -> None:
        site.mode = "notify"
        with mail_server(b"220 here\r\n", b"250 go on\r\n", b"221 bye\r\n") as port:
            site.notify = f'smtp = "127.0.0.1:{port}"\n'
            code, found = site.doctor()
        assert found["mail"] == ("ok", f"127.0.0.1:{port} answers")
        assert found["templates"] == ("ok", "those of vscadmin can be filled in")
        assert code == 0

    @pytest.mark.parametrize("answers", [(), (b"220 here\r\n",)], ids=["mute", "mute after hello"])
    def test_one_that_hangs_costs_three_seconds(
        self, site: Site, answers: tuple[bytes, ...]
    ) -> None:
        site.mode = "enforce"
        with mail_server(*answers) as port:
            site.notify = f'smtp = "127.0.0.1:{port}"\n'
            begun = time.monotonic()
            grade, words = site.check("mail")
        assert grade == "warn"
        assert "nobody's servers ended" in words
        assert time.monotonic() - begun < 20

    def test_one_that_refuses_us_is_a_warning(self, site: Site) -> None:
        site.mode = "notify"
        with mail_server(b"554 not you\r\n") as port:
            site.notify = f'smtp = "127.0.0.1:{port}"\n'
            grade, words = site.check("mail")
        assert grade == "warn"
        assert ": 554 not you: nobody would be told" in words

    @pytest.mark.usefixtures("root")  # a policy that is not root's is a failure by itself
    def test_one_that_is_not_there_is_a_warning(self, site: Site) -> None:
        site.mode = "notify"
        code, found = site.doctor()
        assert found["mail"][0] == "warn"
        assert "127.0.0.1:1: " in found["mail"][1]
        assert code == 0

    def test_sendmail_has_to_be_a_program(self, site: Site) -> None:
        site.mode, site.notify = "notify", 'sendmail = "/bin/true"\n'
        assert site.check("mail") == ("ok", "/bin/true can be run")
        no_program = site.folder / "sendmail"
        no_program.touch(0o644)
        site.notify = f'sendmail = "{no_program}"\n'
        words = f"{no_program}: cannot be run: nobody would be told"
        assert site.check("mail") == ("warn", words)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root is that strict")
    def test_a_sendmail_that_others_can_write_is_a_failure(self, site: Site) -> None:
        program = site.folder / "sendmail"
        program.touch()
        program.chmod(0o777)
        site.mode, site.notify = "notify", f'sendmail = "{program}"\n'
        code, found = site.doctor()
        assert found["mail"][0] == "fail"
        assert code == 78

    def test_a_template_that_is_wrong_is_a_failure(self, site: Site) -> None:
        templates = site.folder / "templates"
        templates.mkdir()
        (templates / "notice.txt.j2").write_text("Dear {{ user }\n")
        site.mode, site.notify = "notify", f'sendmail = "/bin/true"\ntemplates = "{templates}"\n'
        code, found = site.doctor()
        assert found["templates"][0] == "fail"
        assert "notice.txt.j2:1: " in found["templates"][1]
        assert code == 78


class TestStore:
    def test_none_yet_is_no_failure(self, site: Site) -> None:
        assert site.check("store")[1].endswith("none yet, the first run of cleanup makes it")
        assert not os.path.lexists(site.store)

    def test_one_is_told_with_its_size(self, site: Site) -> None:
        new(Path(site.store).parent).close()
        grade, words = site.check("store")
        assert grade == "ok"
        assert words.startswith(f"{site.store}: ")
        assert words.endswith("K")

    @pytest.mark.usefixtures("root")  # a policy that is not root's is a failure by itself
    def test_a_damaged_one_is_a_warning(self, site: Site) -> None:
        new(Path(site.store).parent).close()
        Path(site.store).write_bytes(b"rubbish" * 2000)
        code, found = site.doctor()
        assert found["store"] == ("warn", f"{site.store}: it is damaged")
        assert "last run" not in found
        assert code == 0

    def test_one_of_a_newer_version_is_a_failure(self, site: Site) -> None:
        new(Path(site.store).parent).close()
        with contextlib.closing(sqlite3.connect(site.store)) as database:
            database.execute("PRAGMA user_version = 99")
        code, found = site.doctor()
        assert found["store"][0] == "fail"
        assert "was written by a newer vscadmin" in found["store"][1]
        assert code == 78

    @pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="no tmpfs there")
    def test_in_memory_is_a_warning(self, site: Site) -> None:
        site.store = "/dev/shm/vscadmin-test/store.sqlite"
        grade, words = site.check("store disk")
        assert grade == "warn"
        assert words == f"{site.store}: is on tmpfs: a reboot forgets all of it"


MOUNTS = parse_mounts(
    "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    "22 21 0:20 / /var rw - xfs /dev/sda2 rw\n"
    "23 22 0:21 / /var/lib\\040x rw - nfs4 server:/x rw\n"
    "24 22 0:22 / /srv rw - ext4 /dev/sdb rw\n"
    "25 22 0:23 / /srv rw - lustre server:/y rw\n"
)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/vscadmin/store.sqlite", "xfs"),
        ("/var/lib x/store.sqlite", "nfs4"),
        ("/variable/store.sqlite", "ext4"),
        ("/srv/a/b", "lustre"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount_above(path: str, kind: str) -> None:
    assert doctor_cleanup.kind_of(path, MOUNTS) == kind


class TestSchedule:
    @pytest.mark.parametrize(("mode", "grade"), [("observe", "ok"), ("notify", "warn")])
    def test_nothing_that_starts_it_is_pointed_out(self, site: Site, mode: str, grade: str) -> None:
        site.mode = mode
        found = site.check("schedule")
        assert found[0] == grade
        assert found[1].endswith("nothing starts cleanup here")

    @pytest.mark.skipif(os.geteuid() != 0, reason="cron wants root's")
    def test_cron_will_do_if_it_takes_the_file(self, site: Site) -> None:
        site.mode = "notify"
        cron = Path(doctor_cleanup.CRON)
        cron.write_text("")
        cron.chmod(0o644)
        assert site.check("schedule") == ("ok", str(cron))
        cron.chmod(0o664)
        grade, words = site.check("schedule")
        assert grade == "warn"
        assert words.endswith("others can write it: cron passes over such a file")

    def test_an_enabled_timer_will_do_and_both_are_too_much(self, site: Site) -> None:
        site.mode = "notify"
        link = site.folder / "timers.target.wants" / "vscadmin-cleanup.timer"
        link.parent.mkdir()
        link.symlink_to("/nonexistent")
        assert site.check("schedule") == ("ok", "vscadmin-cleanup.timer is enabled")
        Path(doctor_cleanup.CRON).touch()
        assert site.check("schedule")[0] == "warn"


class TestEarlierRuns:
    @pytest.mark.parametrize(
        ("mode", "age", "grade"),
        [
            ("notify", 600, "ok"),
            ("notify", 3700, "warn"),
            ("observe", 3700, "ok"),
            ("notify", None, "warn"),
            ("observe", None, "ok"),
        ],
    )
    def test_the_last_that_came_to_its_end_is_told(
        self, site: Site, mode: str, age: float | None, grade: str
    ) -> None:
        site.mode = mode
        with new(Path(site.store).parent) as store:
            if age is not None:
                at = time.time() - age
                store.begin_run(run("r1", at, outcome=Outcome.DONE, finished_at=at + 1))
            store.begin_run(run("r2", time.time()))
        found = site.check("last run")
        assert found[0] == grade
        assert ("no run" in found[1]) == (age is None)

    def test_three_that_were_turned_away_are_a_warning(self, site: Site) -> None:
        new(Path(site.store).parent).close()
        for count, grade in ((1, "ok"), (2, "ok"), (3, "warn")):
            note_turned_away(site.store)
            found = site.check("lock")
            assert found == (
                grade,
                f"{count} run{'s' * (count > 1)} found another one running since the last success",
            )


def test_what_takes_too_long_is_left_alone() -> None:
    gate = threading.Event()
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer within 0 s"):
        within(0.05, gate.wait)
    assert time.monotonic() - begun < 10
    gate.set()


def test_what_goes_wrong_in_time_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)
    assert within(5, lambda: 4) == 4
