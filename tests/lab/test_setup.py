"""What the lab's packages bring does not start on the machine, now or at the next boot."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.lab.errors import LabError
from tests.lab.machine import check_machine

SETUP = Path(__file__).resolve().parents[1] / "setup.sh"
POLICY = "/usr/sbin/policy-rc.d"

# Layers of this block's own, so that nothing of it stays; apt-get only shows the policy it finds.
PREPARE = """
set -e
mount -t tmpfs scratch /mnt
for folder in /etc /usr/sbin /var/lib/systemd; do
  mkdir -p /mnt/upper$folder /mnt/work$folder
  mount -t overlay -o lowerdir=$folder,upperdir=/mnt/upper$folder,workdir=/mnt/work$folder o $folder
done
mkdir /mnt/bin
printf '#!/bin/sh\\nhead -n2 /usr/sbin/policy-rc.d >&2\\n' >/mnt/bin/apt-get
chmod 755 /mnt/bin/apt-get
PATH=/mnt/bin:$PATH
rm -f /usr/sbin/policy-rc.d
"""


@pytest.fixture(autouse=True)
def packages_are_here() -> None:
    try:
        check_machine()
    except LabError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


def in_layers(script: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", PREPARE + script, "bash", str(SETUP)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_services_of_new_packages_are_disabled_and_not_started() -> None:
    done = in_layers(
        "systemctl --quiet enable munge cron 2>/dev/null || exit\n"
        '(. "$1"; install_debian munge)\n'
        "ls /etc/rc2.d /etc/systemd/system/multi-user.target.wants"
    )
    assert "made by vscadmin" in done.stderr
    assert "munge.service" not in done.stdout
    assert "S01munge" not in done.stdout
    assert "cron.service" in done.stdout, "it was here before"


def test_the_policy_is_gone_afterwards_and_one_of_a_killed_setup_too() -> None:
    left = "printf '#!/bin/sh\\n# made by vscadmin'\"'s tests/setup.sh\"'\\nexit 101\\n'"
    for before in ("true", f"{left} >{POLICY}"):
        in_layers(f'{before}; (. "$1"; install_debian munge); test ! -e {POLICY}')


def test_a_policy_of_the_machine_stays() -> None:
    said = in_layers(f'echo "exit 0" >{POLICY}; (. "$1"; install_debian munge); cat {POLICY}')
    assert said.stdout == "exit 0\n"
