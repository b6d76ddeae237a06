"""Whatever happens to a run of cleanup: no wrong end, no double notice, nothing left stopped."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.lab import site as lab_site
from tests.lab.cluster import Cluster
from tests.lab.leftovers import lookalike
from tests.lab.node import Node
from tests.lab.site import STORE, alive, asked, body, cleanup, mails, metric, policy, stopped
from tests.run import eventually

# The time of day is another; the kernel's own clocks go on as they did.
SET_CLOCK = ("env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1", "faketime", "-f")
COMMITS = [f"{number:040x}" for number in range(1, 9)]

# Runs the real command, and dies by SIGKILL when it enters or leaves a function. Nothing of
# it is replaced: the interpreter tells of every call.
DIES_AT = """
import os, signal, sys
event, wanted = sys.argv.pop(1), sys.argv.pop(1)
def watch(frame, happened, _):
    if happened == event and frame.f_code.co_qualname == wanted:
        os.kill(os.getpid(), signal.SIGKILL)
sys.setprofile(watch)
sys.argv[0] = "vscadmin"
from vscadmin.cli.main import main
main()
"""
STEPS = [
    ("return", "Store.begin_run"),
    ("return", "see"),
    ("call", "Store.record_scan"),
    ("return", "Store.record_scan"),
    ("call", "Store.add_notices"),
    ("return", "Store.add_notices"),
    ("return", "Mailer.deliver"),
    ("return", "Store.finish_notices"),
    ("call", "Store.begin_termination"),
    ("return", "Store.begin_termination"),
    ("return", "note"),
    ("return", "Standstill.stop"),
    ("return", "Standstill.send"),
    ("call", "Store.finish_termination"),
    ("return", "Store.finish_termination"),
    ("call", "Store.finish_run"),
    ("return", "Store.prune"),
]


@pytest.fixture
def site(cluster: Cluster) -> Iterator[Cluster]:
    with lab_site.site(cluster) as made:
        yield made


@pytest.fixture
def login1(site: Cluster) -> Node:
    return site["login1"]


def ready(node: Node) -> None:
    """Let the second go over that notices and graces of these policies last."""
    node.run("sleep", "1.1")


def run_until(node: Node, done: str, pid: int, most: int = 6) -> subprocess.CompletedProcess[str]:
    """Run cleanup until the tree of *pid* is "told" or "ended"; return the last run."""
    for _ in range(most):
        last = cleanup(node)
        assert last.returncode in (0, 10), last.stderr
        told = any(each["pid"] == pid and each["delivery"] == "delivered" for each in told_of(node))
        if (done == "told" and told) or (done == "ended" and not alive(node, pid)):
            return last
        ready(node)
    raise AssertionError(f"not {done}: {asked(node, 'report')}")


def told_of(node: Node) -> list[dict[str, object]]:
    found: list[dict[str, object]] = asked(node, "history")["notices"]
    return found


class TestARunThatIsKilled:
    @pytest.mark.parametrize(("event", "function"), STEPS, ids=str)
    def test_leaves_nothing_stopped_and_ends_nobody_untold(
        self, site: Cluster, login1: Node, event: str, function: str
    ) -> None:
        login1.write("/etc/vscadmin/policy.toml", policy(every="1h"))
        pid = lookalike(site, "bob", "login1")
        untold = lookalike(site, "carol", "login1")
        for _ in range(4):
            died = login1.run(
                *("/opt/vscadmin/bin/python3", "-I", "-c", DIES_AT, event, function, "cleanup"),
                check=False,
            )
            ready(login1)
            if died.returncode in {137, -9}:
                break
        else:
            pytest.fail(f"never came to {function}: {died.stderr}")
        after = cleanup(login1)
        assert after.returncode in (0, 10), after.stderr
        assert stopped(login1) == []
        for _ in range(4):
            ready(login1)
            cleanup(login1)
        for user, root in (("bob", pid), ("carol", untold)):
            got = [mail for mail in mails(site, user) if f"pid {root}\n" in body(mail)]
            assert len(got) <= 1, "nobody is told twice within notify.every"
            if not alive(login1, root):
                assert len(got) == 1, "nobody's server ends untold"
        assert asked(login1, "history")["runs"][-1]["outcome"] in ("done", "incomplete")


class TestMail:
    def test_a_server_that_is_down_delays_everything(self, site: Cluster, login1: Node) -> None:
        login1.write("/etc/vscadmin/policy.toml", policy(smtp="ctl:2525"))
        pid = lookalike(site, "bob", "login1")
        for _ in range(4):
            said = cleanup(login1)
            ready(login1)
        assert said.returncode == 10
        assert "no notice to bob" in said.stderr
        assert alive(login1, pid)
        login1.write("/etc/vscadmin/policy.toml", policy())
        run_until(login1, "ended", pid)
        assert len(mails(site, "bob")) == 1

    def test_one_that_hangs_ends_with_the_run(self, site: Cluster, login1: Node) -> None:
        """Meanwhile a second run is turned away, and touches nothing."""
        login1.write(
            "/etc/vscadmin/policy.toml", policy(smtp="ctl:2526") + '[run]\ntimeout = "12s"\n'
        )
        pid = lookalike(site, "bob", "login1")
        cleanup(login1)
        ready(login1)
        with silent_server(site["ctl"], 2526), login1.start("vscadmin", "cleanup") as hanging:
            eventually(lambda: told_of(login1), bool)
            second = cleanup(login1)
            assert (second.returncode, len(second.stderr.splitlines())) == (75, 1)
            begun = time.monotonic()
            hanging.wait(30)
            assert time.monotonic() - begun < 20
        assert hanging.returncode == 10
        assert alive(login1, pid)
        assert [each["delivery"] for each in told_of(login1)] in (["failed"], ["sending"])


@contextmanager
def silent_server(node: Node, port: int) -> Iterator[None]:
    """Listen on *port*, take connections, and never say a word."""
    script = (
        f"import socket, time; s = socket.create_server(('', {port})); print(flush=True); "
        "time.sleep(600)"
    )
    with node.start("python3", "-c", script) as server:
        assert server.stdout is not None
        server.stdout.readline()
        try:
            yield
        finally:
            server.kill()


class TestTheMachine:
    def test_a_full_disk_stops_everything_and_loses_nothing(
        self, site: Cluster, login1: Node
    ) -> None:
        pid = lookalike(site, "bob", "login1")
        with small_disk(login1) as fill:
            run_until(login1, "told", pid)
            fill("fill")
            ready(login1)
            said = cleanup(login1)
            assert said.returncode == 10, said.stderr
            assert "Traceback" not in said.stderr
            assert alive(login1, pid)
            assert stopped(login1) == []
            fill("free")
            assert [each["delivery"] for each in told_of(login1)] == ["delivered"]
            run_until(login1, "ended", pid)
        assert len(mails(site, "bob")) == 1

    @pytest.mark.parametrize("step", ["+1h", "-1h"])
    def test_a_clock_that_jumps_ends_nothing_early(
        self, site: Cluster, login1: Node, step: str
    ) -> None:
        login1.write("/etc/vscadmin/policy.toml", policy(notice="50m", every="2h"))
        pid = lookalike(site, "bob", "login1")
        run_until(login1, "told", pid)
        spoken = ""
        for _ in range(3):
            said = login1.run(*SET_CLOCK, step, "vscadmin", "cleanup", check=False)
            assert said.returncode in (0, 10), said.stderr
            spoken += said.stderr
            ready(login1)
        assert "the clock was set by" in spoken
        assert alive(login1, pid)
        assert len(mails(site, "bob")) == 1
        assert cleanup(login1).returncode == 0
        assert alive(login1, pid)

    def test_a_store_that_is_damaged_is_set_aside_and_nothing_ends_by_it(
        self, site: Cluster, login1: Node
    ) -> None:
        pid = lookalike(site, "bob", "login1")
        run_until(login1, "told", pid)
        login1.run("sh", "-c", f"printf damaged | dd of={STORE} conv=notrunc status=none")
        ready(login1)
        said = cleanup(login1)
        assert "set aside" in said.stderr
        assert alive(login1, pid)
        assert any("set aside" in body(mail) for mail in mails(site, "ops"))
        run_until(login1, "ended", pid)

    def test_processes_that_come_and_go_do_no_harm(self, site: Cluster, login1: Node) -> None:
        pid = lookalike(site, "bob", "login1")
        storm = "while :; do for i in 1 2 3 4 5 6 7 8 9; do sleep 0.01 & done; wait; done"
        with login1.start("sh", "-c", storm, user="alice") as forking:
            try:
                run_until(login1, "ended", pid)
            finally:
                forking.kill()


@contextmanager
def small_disk(node: Node) -> Iterator[Callable[[str], object]]:
    """Keep the store on a disk of its own, which the block can fill and free."""
    place = "/var/lib/vscadmin"
    node.run("mkdir", "-p", place)
    node.run("mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "disk", place)
    scripts = {
        "fill": f"dd if=/dev/zero of={place}/fill bs=4k 2>/dev/null; sync",
        "free": f"rm {place}/fill",
    }
    try:
        yield lambda what: node.run("sh", "-c", scripts[what], check=False)
    finally:
        node.run("umount", place)


class TestTheBreaker:
    def test_too_much_at_once_is_refused_until_an_admin_approves_it(
        self, site: Cluster, login1: Node
    ) -> None:
        login1.write("/etc/vscadmin/policy.toml", policy(most=1))
        pids = [lookalike(site, user, "login1") for user in ("bob", "carol")]
        run_until(login1, "told", pids[-1])  # and the other with it: both were seen as often
        ready(login1)
        refused = [cleanup(login1) for _ in range(3)]
        assert [each.returncode for each in refused] == [11, 11, 11]
        assert all(alive(login1, pid) for pid in pids)
        assert metric(login1, "vscadmin_breaker_refused") == 1
        told = [mail for mail in mails(site, "ops") if "approve" in body(mail)]
        assert len(told) == 1, "once a day"
        intended = asked(login1, "report")["plan"]
        assert (intended["ends_due"], len(intended["refused_because"])) == (2, 1)
        assert cleanup(login1, "--approve", "0" * 12).returncode == 11
        done = cleanup(login1, "--approve", intended["hash"])
        assert done.returncode == 0, done.stderr
        assert not any(alive(login1, pid) for pid in pids)
        assert cleanup(login1, "--approve", intended["hash"]).returncode == 11

    def test_a_user_with_a_hundred_servers_stops_nobodys_cleanup(
        self, site: Cluster, login1: Node
    ) -> None:
        many = [lookalike(site, "carol", "login1", commit=commit) for commit in COMMITS]
        one = lookalike(site, "bob", "login1")
        run_until(login1, "ended", one)
        left = [pid for pid in many if alive(login1, pid)]
        assert len(left) == len(many) - 5, "the oldest five of a run"
        assert left == many[5:]


class TestHowFarItGoes:
    def test_observe_records_and_tells_nobody(self, site: Cluster, login1: Node) -> None:
        login1.write("/etc/vscadmin/policy.toml", policy(mode="observe"))
        pid = lookalike(site, "bob", "login1")
        for _ in range(4):
            assert (cleanup(login1).stdout, cleanup(login1).stderr) == ("", "")
            ready(login1)
        assert alive(login1, pid)
        assert mails(site, "bob") == []
        (tree,) = asked(login1, "report")["trees"]
        assert (tree["state"], tree["wanted"], tree["action"]) == ("abandoned", "terminate", "keep")

    def test_notify_tells_once_and_ends_nothing(self, site: Cluster, login1: Node) -> None:
        login1.write("/etc/vscadmin/policy.toml", policy(mode="notify"))
        pid = lookalike(site, "bob", "login1")
        for _ in range(5):
            assert cleanup(login1).returncode == 0
            ready(login1)
        assert alive(login1, pid)
        (mail,) = mails(site, "bob")
        assert "will be ended" not in body(mail)

    def test_cron_gets_no_word_when_all_is_well(self, site: Cluster, login1: Node) -> None:
        pid = lookalike(site, "bob", "login1")
        for _ in range(5):
            said = cleanup(login1)
            assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
            ready(login1)
        assert not alive(login1, pid)

    def test_a_dry_run_is_the_report_and_changes_nothing(self, site: Cluster, login1: Node) -> None:
        lookalike(site, "bob", "login1")
        said = cleanup(login1, "--dry-run")
        assert "1 server of 1 user" in said.stdout
        assert login1.run("test", "-e", STORE, check=False).returncode == 1

    def test_a_policy_that_others_can_write_is_refused(self, login1: Node) -> None:
        login1.run("chmod", "666", "/etc/vscadmin/policy.toml")
        said = cleanup(login1)
        assert said.returncode == 78
        assert "/etc/vscadmin/policy.toml" in said.stderr

    def test_only_root_may(self, login1: Node) -> None:
        said = login1.run("vscadmin", "cleanup", user="bob", check=False)
        assert (said.returncode, len(said.stderr.splitlines())) == (77, 1)
