"""One node of a running lab: run something in it, put files there, read them."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from tests.lab import cgroups
from tests.lab.errors import CommandFailedError, GoneError
from tests.lab.topology import USERS, NodeSpec

# Join the cgroups whose files are named up to "--", then become what follows it.
JOIN: Final = (
    *("sh", "-c"),
    'while [ "$1" != -- ]; do echo $$ >"$1" || exit; shift; done; shift; exec "$@"',
    "sh",
)

_PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
_UIDS: Final = {str(user.uid): user.name for user in USERS}
_SHELLS: Final = {user.name: user.shell for user in USERS}
_LOG_LINES: Final = "60"
_LOGS: Final = """
for log in $(find /var/log -type f -size +0); do
  echo "==> $log"
  tail -n "$1" "$log"
done
"""
_TIDY: Final = """
while pids=$(ps -o pid= -u "$1"); do
  kill -KILL $pids 2>/dev/null
  sleep 0.01
done
find /tmp /var/tmp /dev/shm -mindepth 1 -maxdepth 1 -uid +20000 -uid -20100 -exec rm -rf {} +
for runtime in /run/user/*/; do [ ! -d "$runtime" ] || find "$runtime" -mindepth 1 -delete; done
shift
cd /var/spool/cron/crontabs && rm -f "$@"
"""
_RENEW: Final = "find /home -mindepth 2 -delete && cp -a /etc/lab/homes/* /home"


@dataclass(frozen=True, slots=True)
class Node:
    """A node of *lab* that is up: *pid* is its first process, in the machine's numbers.

    A pid is reused, a pid and its *start_ticks* are not.
    """

    lab: str
    spec: NodeSpec
    pid: int
    start_ticks: int

    @classmethod
    def of(cls, lab: str, spec: NodeSpec, pid: int) -> Self:
        """Return the node whose first process is *pid*."""
        return cls(lab, spec, pid, _start_ticks(pid))

    @classmethod
    def find(cls, lab: str, spec: NodeSpec) -> Self | None:
        """Return the node by what runs in its cgroups, if it is up."""
        first = [pid for pid in cgroups.members(lab, spec.name) if is_first(pid)]
        return cls.of(lab, spec, first[0]) if len(first) == 1 else None

    @property
    def name(self) -> str:
        """Its host name."""
        return self.spec.name

    @property
    def inside(self) -> str:
        """Its address on the cluster's network."""
        return self.spec.inside

    @property
    def is_up(self) -> bool:
        """Tell whether its first process is still there."""
        return _start_ticks(self.pid) == self.start_ticks

    def argv(
        self, *command: str, user: str = "root", env: Mapping[str, str] | None = None
    ) -> list[str]:
        """Return what runs *command* here as *user*, in their home and a login's environment.

        The command dies with the process that this starts. Its parent is outside, so ppid
        is 0: what has to look like a user's process comes over ssh.
        """
        if not self.is_up:
            raise GoneError(f"{self.name} is gone")
        home = "/root" if user == "root" else f"/home/{user}"
        become = ["--reuid", user, "--regid", user, "--init-groups"] if user != "root" else []
        shell = _SHELLS.get(user, "/bin/bash")
        environment = {"HOME": home, "USER": user, "LOGNAME": user, "SHELL": shell}
        environment |= {"PATH": _PATH, "LANG": "C.UTF-8", **(env or {})}
        settings = [f"{key}={value}" for key, value in environment.items()]
        return [
            *(*JOIN, *cgroups.joins(self.lab, self.name), "--"),
            *("nsenter", f"--target={self.pid}", "--mount", "--uts", "--ipc", "--net", "--pid"),
            *("--cgroup", "--", "setpriv", *become, "--pdeathsig", "KILL", "--"),
            *("env", "-i", f"--chdir={home}", *settings, *command),
        ]

    def run(
        self, *command: str, user: str = "root", check: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run *command* to its end; *options* are subprocess.run's."""
        known: dict[str, Any] = {"capture_output": True, "timeout": 60}
        if options.get("text", True):
            known |= {"text": True, "errors": "replace"}
        if "input" not in options:
            known["stdin"] = subprocess.DEVNULL
        argv = self.argv(*command, user=user)
        done = subprocess.run(argv, check=False, **{**known, **options})
        if check and done.returncode != 0:
            said = f"{done.stdout or ''}{done.stderr or ''}"
            what = shlex.join(command).partition("\n")[0]
            why = f"exit {done.returncode}: {said.strip().rpartition(chr(10))[2]}"
            raise CommandFailedError(f"{user}@{self.name}: {what}: {why}\n{said}")
        return done

    def start(self, *command: str, user: str = "root", **options: Any) -> subprocess.Popen[bytes]:
        """Start *command* and return at once; *options* are Popen's."""
        known: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return subprocess.Popen(self.argv(*command, user=user), **{**known, **options})

    def write(self, path: str, content: str | bytes, user: str = "root", mode: int = 0o644) -> None:
        """Put *content* into the file *path* here, with its directory if that is missing."""
        data = content.encode() if isinstance(content, str) else content
        script = 'mkdir -p "${1%/*}" && cat >"$1.$$" && chmod "$2" "$1.$$" && mv "$1.$$" "$1"'
        self.run("sh", "-c", script, "sh", path, f"{mode:o}", user=user, input=data, text=False)

    def read(self, path: str, user: str = "root") -> str:
        """Return the content of the file *path* here."""
        return self.run("cat", "--", path, user=user).stdout

    def copy(self, source: Path, path: str, user: str = "root") -> None:
        """Copy the file *source* of this machine to *path* here, its rights included."""
        self.write(path, source.read_bytes(), user, source.stat().st_mode & 0o777)

    def pids(self, *words: str, user: str = "") -> list[int]:
        """Return the pids here, in its own numbers, whose arguments hold all *words*."""
        listing = self.run("ps", "-eo", "pid=,user:32=,args=", "-ww").stdout
        rows = (line.split(maxsplit=2) for line in listing.splitlines())
        return [
            int(pid)
            for pid, owner, arguments in (row for row in rows if len(row) == 3)
            if all(word in arguments for word in words) and user in ("", owner)
        ]

    def tidy(self) -> None:
        """End every process of the users here, and remove what they left but in their homes."""
        words = (",".join(_UIDS), *_UIDS.values())
        self.run("timeout", "20", "sh", "-c", _TIDY, "sh", *words)

    def renew_homes(self) -> None:
        """Make the users' homes as they were; nobody may run anything in them."""
        self.run("sh", "-c", _RENEW)

    def logs(self) -> dict[str, str]:
        """Return the ends of its log files, by name."""
        found = self.run("sh", "-c", _LOGS, "sh", _LOG_LINES, check=False).stdout
        parts = [part.partition("\n") for part in found.split("==> ") if part]
        return {name: text for name, _, text in parts}


def is_first(pid: int) -> bool:
    """Tell whether *pid* is the first process of a pid namespace right below ours."""
    with contextlib.suppress(OSError, ValueError):
        numbers = _namespaced(str(pid))
        return numbers[-1] == "1" and len(numbers) == len(_namespaced("self")) + 1
    return False


def _namespaced(pid: str) -> list[str]:
    """Return the numbers a process has, from our pid namespace to its own."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (each for each in status.splitlines() if each.startswith("NSpid:"))
    return line.split()[1:]


def _start_ticks(pid: int) -> int:
    """Return when *pid* started, in ticks since boot; 0 if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(stat.rpartition(")")[2].split()[19])
