from __future__ import annotations

import pytest

from vscadmin.procs import machine

INFO = """\
22 27 0:21 / /proc rw,relatime shared:5 - proc proc rw,hidepid=invisible
23 27 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup rw,nsdelegate
24 27 0:23 / /sys/fs/cgroup/memory rw master:9 - cgroup cgroup rw,memory
a line of another form
"""


@pytest.mark.parametrize(
    ("text", "option"),
    [(INFO, "invisible"), (INFO.replace(",hidepid=invisible", ""), "0"), ("", "0")],
)
def test_hidepid_is_read_from_the_mounts(text: str, option: str) -> None:
    assert machine.hidepid(machine.parse_mounts(text)) == option


def test_the_versions_of_cgroups_are_read_from_the_mounts() -> None:
    assert machine.cgroup_version(machine.parse_mounts(INFO)) == "v1 and v2"
    assert machine.cgroup_version(()) == "none"


def test_this_machine_is_described() -> None:
    assert machine.mounts()
    assert machine.pidfd_problem() == ""
    assert machine.pid_namespace()[0] is True
    assert isinstance(machine.clock_problem(), str)
