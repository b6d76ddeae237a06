"""What this machine must have for a lab."""

from __future__ import annotations

import os
import shutil
from typing import Final

from tests.lab import cgroups
from tests.lab.errors import LabError

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What a lab runs, and the Debian package that brings it.
_PROGRAMS: Final = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "srun": "slurm-client",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "dnsmasq": "dnsmasq-base",
    "cron": "cron",
    "tini": "tini",
    "Xvfb": "xvfb",
    "xauth": "xauth",
    "xdpyinfo": "x11-utils",
    "xclock": "x11-apps",
    "ip": "iproute2",
    "ps": "procps",
    "dig": "bind9-dnsutils",
    "aiosmtpd": "python3-aiosmtpd",
    "curl": "curl",
    "tmux": "tmux",
    "faketime": "faketime",
    "tcsh": "tcsh",
    "fish": "fish",
    "socat": "socat",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "awk": "mawk",
}


def check_machine() -> None:
    """Raise LabError in one line unless a lab can be had here."""
    check_root()
    missing = {
        package
        for program, package in _PROGRAMS.items()
        if shutil.which(program, path=PATH) is None
    }
    if missing:
        raise LabError(f"the lab needs packages: apt-get install {' '.join(sorted(missing))}")
    if not cgroups.for_slurm(cgroups.hierarchies()):
        raise LabError("the lab needs a mounted cgroup hierarchy")


def check_root() -> None:
    """Raise LabError in one line unless this is root."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root: it makes namespaces and networks")
