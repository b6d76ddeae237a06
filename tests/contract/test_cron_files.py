"""What cron and systemd start is what they can read, and no more powerful than it must be."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CRON = Path(__file__).parents[2] / "cron"
TABLE = CRON / "vscadmin-cleanup"
SERVICE = CRON / "vscadmin-cleanup.service"
TIMER = CRON / "vscadmin-cleanup.timer"
ANALYZE = shutil.which("systemd-analyze")
MOST_EXPOSED = 30  # of 100: what root and a view of all processes cost at least

with_systemd = pytest.mark.skipif(
    ANALYZE is None, reason="systemd-analyze is only where systemd is"
)


def assignments() -> dict[str, str]:
    return dict(re.findall(r"^([A-Z]+)=(.*)$", TABLE.read_text(), re.MULTILINE))


def jobs() -> list[str]:
    lines = TABLE.read_text().splitlines()
    return [line for line in lines if line and not re.match(r"#|[A-Z]+=", line)]


def section(path: Path, name: str) -> dict[str, list[str]]:
    """Return a section's values by their key; a key may be given several times."""
    found: dict[str, list[str]] = {}
    text = re.split(rf"^\[{name}\]$", path.read_text(), flags=re.MULTILINE)[1]
    for line in re.split(r"^\[", text, flags=re.MULTILINE)[0].splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


class TestCron:
    def test_its_name_is_one_that_cron_reads(self) -> None:
        """run-parts' rule, which cron.d follows: a dot, and the file is passed over."""
        assert re.fullmatch(r"[A-Za-z0-9_-]+", TABLE.name)

    def test_it_ends_with_a_line_end(self) -> None:
        """Cron ignores a last line without one."""
        assert TABLE.read_text().endswith("\n")

    def test_it_is_one_job_of_roots_every_ten_minutes(self) -> None:
        (job,) = jobs()
        *when, user, command = job.split(None, 6)
        assert (when, user) == (["*/10", "*", "*", "*", "*"], "root")
        assert command == "vscadmin cleanup --splay 5m"

    def test_no_percent_sign_cuts_the_command(self) -> None:
        assert "%" not in jobs()[0]

    def test_what_it_runs_in_is_stated(self) -> None:
        assert assignments()["SHELL"] == "/bin/sh"
        path = assignments()["PATH"].split(":")
        assert {"/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin"} <= set(path)
        assert all(each.startswith("/") for each in path)

    def test_nobody_gets_mail_by_accident(self) -> None:
        assert "MAILTO" not in assignments()
        assert re.search(r"^#MAILTO=\S+@", TABLE.read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", [SERVICE, TIMER], ids=lambda path: path.suffix)
def test_a_unit_is_what_an_ini_reader_reads(path: Path) -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    assert parser.read(path)
    for name in parser.sections():
        found = {key: values[-1] for key, values in section(path, name).items()}
        assert dict(parser[name]) == found


HARDENING = {
    "Type": ["oneshot"],
    "ExecStart": ["/usr/local/bin/vscadmin cleanup"],
    "NoNewPrivileges": ["yes"],
    "AmbientCapabilities": [""],
    "ProtectHome": ["yes"],
    "ProtectSystem": ["strict"],
    "StateDirectory": ["vscadmin"],
    "StateDirectoryMode": ["0700"],
    "PrivateTmp": ["yes"],
    "PrivateDevices": ["yes"],
    "ProtectControlGroups": ["yes"],
    "ProtectKernelLogs": ["yes"],
    "ProtectKernelModules": ["yes"],
    "ProtectKernelTunables": ["yes"],
    "LockPersonality": ["yes"],
    "MemoryDenyWriteExecute": ["yes"],
    "RestrictRealtime": ["yes"],
    "RestrictSUIDSGID": ["yes"],
    "RestrictNamespaces": ["net"],
    "RestrictAddressFamilies": ["AF_UNIX AF_INET AF_INET6 AF_NETLINK"],
    "SystemCallArchitectures": ["native"],
}


class TestService:
    @pytest.mark.parametrize("key", HARDENING)
    def test_it_is_hardened(self, key: str) -> None:
        assert section(SERVICE, "Service")[key] == HARDENING[key]

    def test_of_roots_power_four_pieces_are_left_and_each_has_its_reason(self) -> None:
        (left,) = section(SERVICE, "Service")["CapabilityBoundingSet"]
        assert set(left.split()) == {
            "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_KILL", "CAP_SYS_ADMIN",
        }  # fmt: skip
        explained = re.findall(r"^#   (CAP_\w+)  +\w", SERVICE.read_text(), re.MULTILINE)
        assert explained == left.split()

    def test_it_sees_every_process(self) -> None:
        found = section(SERVICE, "Service")
        assert (found["ProtectProc"], found["ProcSubset"]) == (["default"], ["all"])
        assert not {"User", "DynamicUser", "PrivateUsers", "PrivateNetwork"} & set(found)

    def test_it_writes_where_the_policys_defaults_are(self) -> None:
        paths = section(SERVICE, "Service")["ReadWritePaths"]
        assert paths == ["/var/lib/vscadmin", "-/var/lib/node_exporter/textfile"]

    def test_system_calls_are_those_of_a_service_that_mounts_nothing(self) -> None:
        allowed, denied = section(SERVICE, "Service")["SystemCallFilter"]
        assert allowed == "@system-service"
        assert denied.startswith("~@privileged ")

    def test_it_outlasts_the_commands_own_deadline(self) -> None:
        """Its SIGTERM would cut a run short that is about to end in order."""
        assert section(SERVICE, "Service")["TimeoutStartSec"] == ["15min"]

    def test_a_held_lock_is_no_failure(self) -> None:
        assert section(SERVICE, "Service")["SuccessExitStatus"] == ["75"]


def test_the_timer_starts_each_node_at_a_time_of_its_own() -> None:
    assert section(TIMER, "Timer") == {
        "OnCalendar": ["*:0/10"],
        "RandomizedDelaySec": ["60"],
        "FixedRandomDelay": ["yes"],
        "AccuracySec": ["1s"],
        "Persistent": ["no"],
    }
    assert section(TIMER, "Install") == {"WantedBy": ["timers.target"]}


@with_systemd
class TestWithSystemd:
    def analyze(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(ANALYZE), *arguments], capture_output=True, text=True, check=False, timeout=60
        )

    def test_the_units_are_right(self, tmp_path: Path) -> None:
        """Of a copy, whose command is there; systemd says what it ignores and exits with 0."""
        text = SERVICE.read_text().replace("/usr/local/bin/vscadmin", shutil.which("true") or "")
        (tmp_path / SERVICE.name).write_text(text)
        shutil.copy(TIMER, tmp_path)
        done = self.analyze("verify", str(tmp_path / SERVICE.name), str(tmp_path / TIMER.name))
        ours = [line for line in done.stderr.splitlines() if "vscadmin" in line]
        assert (done.returncode, ours) == (0, [])

    def test_the_timer_comes_every_ten_minutes(self) -> None:
        (when,) = section(TIMER, "Timer")["OnCalendar"]
        done = self.analyze("calendar", when)
        assert done.returncode == 0
        assert "*-*-* *:00/10:00" in done.stdout

    def test_little_is_exposed(self) -> None:
        done = self.analyze(
            "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(SERVICE)
        )
        assert done.returncode == 0, done.stdout


def test_the_readme_says_of_each_file_what_it_does_to_whom() -> None:
    named = re.findall(r"^\| `([\w.-]+)` \| .{60}", (CRON / "README.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(each.name for each in CRON.iterdir() if each.suffix != ".md")
