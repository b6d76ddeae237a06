"""What a lab could change of the machine it runs on."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Final

_CGROUPS: Final = Path("/sys/fs/cgroup")
# Where the lab's daemons would write if they were the machine's; other folders are others' too.
_WRITTEN: Final = {
    "/run": "munge slurmd.pid slurmctld.pid sshd.pid crond.pid dnsmasq.pid lab-awaited minute",
    "/var/log": "slurmd.log slurmctld.log sshd.log syslog lab.log munge",
    "/var": "spool/slurmd spool/slurmctld spool/cron/crontabs mail/all",
    "/tmp": ".X11-unix/X0",
    "/dev": "log",
    "/root": ".ssh",
}
_SETTINGS: Final = {
    "kernel": "hostname domainname pid_max core_pattern printk",
    "vm": "swappiness overcommit_memory",
    "fs": "file-max",
    "net": "ipv4/ip_forward ipv4/ip_local_port_range core/somaxconn",
}


def outside() -> dict[str, object]:
    """Return the state of all that, to be compared."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    return {
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "links": [line.split(": ")[1] for line in links.splitlines()],
        "names": {folder: sorted(os.listdir(folder)) for folder in ("/", "/home", "/opt", "/dev")},
        "etc": _digest(Path("/etc")),
        "written": {path: path.exists() and path.stat().st_mtime for path in _paths(_WRITTEN)},
        "settings": {path: path.read_text() for path in _paths(_SETTINGS, Path("/proc/sys"))},
        "cgroups": Path("/proc/self/cgroup").read_text(),
        "delegated": [path.read_text() for path in _CGROUPS.glob("*/cgroup.subtree_control")],
    }


def _paths(names: dict[str, str], top: Path = Path("/")) -> list[Path]:
    return [top / folder / name for folder, each in names.items() for name in each.split()]


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(os.fsencode(path))
        if path.is_file() and not path.is_symlink():
            digest.update(path.read_bytes())
    return digest.hexdigest()
