"""The systemd timer by the role, in the order of the tests, on a node that systemd runs.

It begins with the program alone, and ends so but for policy and store.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.lab.errors import LabError
from tests.lab.leftovers import lookalike
from tests.lab.node import Node
from tests.lab.roll_out import Controller, strip
from tests.lab.software import CHECKOUT
from tests.lab.systemd_node import small_lab
from tests.run import eventually
from vscadmin.version import __version__

ROLE = "vscadmin_cleanup"
CRON = CHECKOUT / "cron"
STORE = "/var/lib/vscadmin/store.sqlite"
SERVICE, TIMER = "vscadmin-cleanup.service", "vscadmin-cleanup.timer"
TABLE = "/etc/cron.d/vscadmin-cleanup"
UNITS = "ls -d /etc/systemd/system/vscadmin* /etc/systemd/system/*/vscadmin* 2>/dev/null"
SOON = "[Timer]\nOnActiveSec=0\nRandomizedDelaySec=0\n"
WAITING = "[Service]\nExecStart=\nExecStart=/usr/local/bin/vscadmin cleanup --splay 5m\n"


@pytest.fixture(scope="module")
def controller(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """Lend the admin's machine; where systemd cannot be had, skip, or fail if CI is "true"."""
    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(small_lab(f"test-{os.getpid()}-timer"))
        except LabError as error:
            if os.environ.get("CI") == "true":
                pytest.fail(str(error), pytrace=False)
            pytest.skip(str(error))
        lay_out(cluster["login1"])
        # By its own table a run would begin at any full ten minutes.
        cluster["login1"].run("systemctl", "stop", "lab@cron.service")
        yield Controller(
            cluster,
            tmp_path_factory.mktemp("controller"),
            vscadmin_version=__version__,
            vscadmin_cleanup_schedule="systemd",
        )


@pytest.fixture
def node(controller: Controller) -> Node:
    return controller.cluster["login1"]


def lay_out(node: Node) -> None:
    """Turn what the lab shows to every node into what the role vscadmin has installed."""
    home = f"/opt/vscadmin/{__version__}"
    node.run("cp", "-a", "/opt/vscadmin", "/opt/program")
    strip(node)
    node.run("mkdir", "/opt/vscadmin")
    node.run("mv", "/opt/program", home)
    node.write(f"{home}/INSTALLED", f"version {__version__}\n")


def show(node: Node, unit: str, *names: str) -> list[str]:
    """Return what systemd knows of *unit*."""
    wanted = [f"--property={name}" for name in names]
    return node.run("systemctl", "show", *wanted, unit).stdout.splitlines()


def is_gone(node: Node) -> bool:
    """Tell whether neither files nor systemd's memory hold a unit of ours."""
    files = node.run("sh", "-c", UNITS, check=False).stdout
    known = node.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "vscadmin*")
    return (files, known.stdout) == ("", "")


def logged(node: Node, event: str) -> list[dict[str, Any]]:
    """Return what the service's runs have logged of *event*."""
    journal = node.run("journalctl", "--output=cat", "SYSLOG_IDENTIFIER=vscadmin")
    lines = (json.loads(line) for line in journal.stdout.splitlines())
    return [line for line in lines if line["event"] == event]


def drop_in(node: Node, unit: str, text: str) -> None:
    """Change *unit* until it is loaded without the change."""
    node.write(f"/run/systemd/system/{unit}.d/test.conf", text)
    node.run("systemctl", "daemon-reload")


def undo_drop_in(node: Node, unit: str) -> None:
    node.run("rm", "-r", f"/run/systemd/system/{unit}.d")


def test_check_mode_says_what_a_bare_node_would_get(controller: Controller, node: Node) -> None:
    played = controller.role(ROLE, "--check", "--diff")
    assert played.code == 0, played.said
    assert "\n+OnCalendar=*:0/10" in played.said
    assert is_gone(node)


def test_the_timer_takes_the_place_of_cron(controller: Controller, node: Node) -> None:
    node.copy(CRON / "vscadmin-cleanup", TABLE)
    played = controller.role(ROLE)
    assert played.code == 0, played.said
    assert show(node, TIMER, "UnitFileState", "ActiveState", "Triggers") == [
        "Triggers=vscadmin-cleanup.service",
        "ActiveState=active",
        "UnitFileState=enabled",
    ]
    assert node.run("test", "-e", TABLE, check=False).returncode == 1


def test_the_service_sees_what_it_has_to(controller: Controller, node: Node) -> None:
    """With no more power than its unit leaves it: in grace is what all could be read of."""
    pid = lookalike(controller.cluster, "alice", "login1")
    node.run("systemctl", "stop", TIMER, SERVICE)  # a run under way would be joined
    before = len(logged(node, "run-finished"))
    node.run("systemctl", "start", SERVICE)
    assert show(node, SERVICE, "Result", "ExecMainStatus") == [
        "Result=success",
        "ExecMainStatus=0",
    ]
    # journald reads in its own time
    eventually(lambda: len(logged(node, "run-finished")), lambda runs: runs > before)
    assert logged(node, "run-started")[-1]["mode"] == "observe"
    decision = logged(node, "decision")[-1]
    assert (decision["pid"], decision["state"], decision["action"]) == (pid, "grace", "keep")
    node.run("test", "-s", STORE)


def test_the_timer_starts_the_service(node: Node) -> None:
    before = len(logged(node, "run-finished"))
    drop_in(node, TIMER, SOON)
    node.run("systemctl", "restart", TIMER)
    eventually(lambda: len(logged(node, "run-finished")), lambda runs: runs > before)
    undo_drop_in(node, TIMER)


def test_a_second_play_changes_nothing(controller: Controller, node: Node) -> None:
    """It has systemd read what an interrupted play has only written."""
    assert show(node, TIMER, "NeedDaemonReload") == ["NeedDaemonReload=yes"]
    played = controller.role(ROLE)
    assert (played.code, played.changed) == (0, {"login1": 0}), played.said
    assert show(node, TIMER, "NeedDaemonReload") == ["NeedDaemonReload=no"]


def test_cron_takes_the_place_of_the_timer(controller: Controller, node: Node) -> None:
    """A run that the timer has started ends, and no unit is remembered as failed."""
    drop_in(node, SERVICE, WAITING)
    node.run("systemctl", "stop", TIMER, SERVICE)
    node.run("systemctl", "start", "--no-block", SERVICE)
    node.run("systemctl", "start", TIMER)
    eventually(lambda: node.pids("cleanup --splay"), bool)
    played = controller.role(ROLE, vscadmin_cleanup_schedule="cron")
    assert played.code == 0, played.said
    undo_drop_in(node, SERVICE)
    assert is_gone(node)
    assert not node.pids("cleanup --splay")
    node.run("test", "-s", TABLE)


def test_uninstall_leaves_no_unit(controller: Controller, node: Node) -> None:
    """Nor one that was put there by hand, nor what systemd remembers of a run that failed."""
    for unit in (SERVICE, TIMER):
        node.copy(CRON / unit, f"/etc/systemd/system/{unit}")
    node.write(f"/etc/systemd/system/{TIMER}.d/override.conf", "[Timer]\nAccuracySec=2s\n")
    node.run("systemctl", "daemon-reload")
    node.run("systemctl", "enable", "--now", TIMER)
    node.run("chmod", "go+w", "/etc/vscadmin/policy.toml")
    assert node.run("systemctl", "start", SERVICE, check=False).returncode != 0
    assert show(node, SERVICE, "ExecMainStatus") == ["ExecMainStatus=78"]
    played = controller.role(ROLE, vscadmin_state="absent")
    assert played.code == 0, played.said
    assert is_gone(node)
    assert node.run("systemctl", "is-system-running").stdout == "running\n"
