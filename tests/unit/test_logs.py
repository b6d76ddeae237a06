from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vscadmin import logs
from vscadmin.logs import log_bug, open_log

EVENT = {"event": "notice", "level": "info", "user": "ada", "pid": 4100}
HOSTILE = '\n{"event": "forged"}\r\x1b[2J\x00\x85\u2028\u202e\u200b\udc9bé'


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def test_an_event_is_a_line_with_the_runs_own_fields(tmp_path: Path) -> None:
    with open_log(str(tmp_path / "log"), "r1", "login01") as log:
        log.write(EVENT)
        log.write({**EVENT, "level": "warning"})
    first, second = lines(tmp_path / "log")
    assert first.pop("timestamp")
    assert first == {**EVENT, "run_id": "r1", "host": "login01"}
    assert second["level"] == "warning"


def test_a_hostile_name_stays_in_its_line_and_is_ascii(tmp_path: Path) -> None:
    with open_log(str(tmp_path / "log"), "r1", "login01") as log:
        log.write({**EVENT, "user": HOSTILE})
    written = (tmp_path / "log").read_bytes()
    assert written.count(b"\n") == 1
    assert all(0x20 <= byte < 0x7F for byte in written[:-1])
    assert lines(tmp_path / "log")[0]["event"] == "notice"


def test_for_a_person_a_hostile_name_is_harmless(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_log(str(tmp_path / "log"), "r1", "login01", verbose=True) as log:
        log.write({**EVENT, "level": "warning", "user": HOSTILE, "rule": "", "end_at": None})
    (line,) = capsys.readouterr().err.splitlines()
    assert r"\x0a" in line
    assert not set(line) & set("\n\r\x1b\x00\x85\u2028\u202e\u200b\udc9b")
    assert line.endswith("pid=4100 [warning]")
    assert len(lines(tmp_path / "log")) == 1, "the other log has it too"


def test_without_verbose_stderr_stays_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_log(str(tmp_path / "log"), "r1", "login01") as log:
        log.write(EVENT)
    assert capsys.readouterr() == ("", "")


class TestFile:
    def test_it_and_its_directory_are_its_owners_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "log"
        open_log(str(path), "r1", "login01").close()
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700

    def test_it_is_appended_to(self, tmp_path: Path) -> None:
        for run in ("r1", "r2"):
            with open_log(str(tmp_path / "log"), run, "login01") as log:
                log.write(EVENT)
        assert [each["run_id"] for each in lines(tmp_path / "log")] == ["r1", "r2"]

    def test_a_link_is_not_followed(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "log").symlink_to(tmp_path / "passwd")
        with open_log(str(tmp_path / "log"), "r1", "login01") as log:
            log.write(EVENT)
        assert not (tmp_path / "passwd").exists()
        assert "the log cannot be written" in capsys.readouterr().err

    def test_a_fifo_in_its_place_does_not_hold_us_up(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        os.mkfifo(tmp_path / "log")
        open_log(str(tmp_path / "log"), "r1", "login01").close()
        assert "the log cannot be written" in capsys.readouterr().err

    def test_a_device_is_no_log(self, capsys: pytest.CaptureFixture[str]) -> None:
        open_log("/dev/null", "r1", "login01").close()
        assert "/dev/null: is not a regular file" in capsys.readouterr().err

    @pytest.mark.skipif(os.geteuid() != 0, reason="rights of directories are checked as root")
    def test_root_writes_none_where_others_could_replace_it(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tmp_path.chmod(0o777)
        with open_log(str(tmp_path / "log"), "r1", "login01") as log:
            log.write(EVENT)
        assert not (tmp_path / "log").exists()
        assert "its group or others can write it" in capsys.readouterr().err


FULL_DISK = """
import resource, sys
from vscadmin.logs import open_log
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
with open_log(sys.argv[1], "r1", "login01") as log:
    for number in range(9):
        log.write({"event": "notice", "number": number})
print("went on")
"""


def test_a_full_disk_is_told_once_and_the_run_goes_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "log")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "went on\n"
    (told,) = done.stderr.splitlines()
    assert told.startswith("vscadmin: warning: the log cannot be written: ")
    assert len((tmp_path / "log").read_bytes()) == 200


def test_a_line_after_one_that_was_cut_is_whole(tmp_path: Path) -> None:
    """With space again, the rest of a cut line must not spoil the next one."""
    code = FULL_DISK.replace("(200, 200)", "(200, -1)").replace(
        "        log.write(",
        "        number == 3 and resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))\n"
        "        log.write(",
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "log")], check=True, timeout=60)
    written = (tmp_path / "log").read_text().splitlines()
    assert json.loads(written[-1])["number"] == 8
    with pytest.raises(json.JSONDecodeError):
        json.loads(written[1])


class Daemon:
    """A syslog daemon in place of /dev/log."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.start()

    def start(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(10)
        self.socket.bind(self.path)

    def stop(self) -> None:
        self.socket.close()
        os.unlink(self.path)

    def received(self) -> tuple[str, dict[str, object]]:
        head, _, event = self.socket.recv(1 << 16).decode("ascii").partition(": ")
        return head, json.loads(event)


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    path = str(tmp_path / "dev-log")
    monkeypatch.setattr(logs, "_SYSLOG", path)
    daemon = Daemon(path)
    yield daemon
    if daemon.socket.fileno() >= 0:
        daemon.stop()


class TestSyslog:
    @pytest.mark.parametrize("target", ["journal", "syslog"])
    def test_an_event_is_a_datagram_with_its_severity(self, daemon: Daemon, target: str) -> None:
        with open_log(target, "r1", "login01") as log:
            log.write(EVENT)
            log.write({**EVENT, "level": "warning"})
        head, event = daemon.received()
        assert head == f"<30>vscadmin[{os.getpid()}]"
        assert event["user"] == "ada"
        assert daemon.received()[0].startswith("<28>")

    def test_a_daemon_that_was_restarted_gets_the_next_event(
        self, daemon: Daemon, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with open_log("journal", "r1", "login01") as log:
            daemon.stop()
            daemon.start()
            log.write(EVENT)
        assert daemon.received()[1]["event"] == "notice"
        assert capsys.readouterr().err == ""

    def test_one_that_is_gone_is_told_once(
        self, daemon: Daemon, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with open_log("journal", "r1", "login01") as log:
            daemon.stop()
            for _ in range(5):
                log.write(EVENT)
        (told,) = capsys.readouterr().err.splitlines()
        assert "the log cannot be written" in told

    def test_one_that_comes_back_late_still_gets_what_follows(self, daemon: Daemon) -> None:
        with open_log("journal", "r1", "login01") as log:
            daemon.stop()
            log.write(EVENT)
            daemon.start()
            log.write({**EVENT, "event": "later"})
        assert daemon.received()[1]["event"] == "later"

    def test_one_that_does_not_read_holds_up_a_run_for_seconds_only(
        self, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(logs, "_SEND_DEADLINE", 0.05)
        with open_log("journal", "r1", "login01") as log:
            for _ in range(2000):
                log.write(EVENT)
        assert len(capsys.readouterr().err.splitlines()) == 1

    def test_a_bug_goes_there_too(self, daemon: Daemon) -> None:
        with pytest.raises(RuntimeError) as bug:
            raise RuntimeError(HOSTILE)
        assert log_bug(bug.value) == daemon.path
        head, event = daemon.received()
        assert head.startswith("<27>")
        assert "Traceback" in str(event["exception"])
