"""history, notices and replay on real stores."""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.builders import ADA, launcher, tree
from tests.integration.as_user import as_user
from tests.run import vscadmin
from tests.stores import delivered, new, notice, run, scan, termination, trees
from vscadmin.cleanup.records import Delivery, Outcome, Result
from vscadmin.cleanup.store import Store
from vscadmin.model import Owner, Tree

HOUR = 3600.0
DAY = 24 * HOUR
POLICY = """
version = 1
[store]
path = "{store}"
[session]
confirm_span = "10m"
[[rule]]
name = "abandoned"
when = {{ state = "abandoned", for = "2h" }}
action = "terminate"
notice = "4h"
"""


class Site(NamedTuple):
    """A policy file, and the store that it names."""

    policy: str
    store: str

    def open(self) -> Store:
        return Store.open(self.store, time.time())

    def lines(self, verb: str, *arguments: str) -> list[str]:
        done = vscadmin(verb, "--policy", self.policy, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    def json(self, verb: str, *arguments: str) -> dict[str, Any]:
        policy = [self.policy] if verb == "replay" else ["--policy", self.policy]
        done = vscadmin(verb, *policy, "--json", *arguments)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    path = tmp_path / "lib" / "store.sqlite"
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY.format(store=path))
    return Site(str(policy), str(path))


@pytest.fixture
def used(site: Site) -> Site:
    """Store what a policy has told, ended, spared and been refused."""
    now = time.time()
    one, two, three = trees(3)
    with new(Path(site.store).parent) as store:
        for number in range(3):
            at = now - 5 * HOUR + number * 600
            store.begin_run(run(f"r{number}", at, outcome=Outcome.DONE, finished_at=at + 2))
        words = ("plan 0f0f0f0f0f0f refused, nothing is done",)
        store.begin_run(run("r3", now - 600, outcome=Outcome.REFUSED, words=words))
        delivered(store, one, now - 20 * DAY)
        failed = notice(two, now - 2 * HOUR, user="grace")
        store.add_notices([failed])
        store.finish_notices([failed], Delivery.FAILED, error="550 no such user\x1b[2J")
        store.add_notices([notice(three, now - 60)])
        begun = [termination(each, now - HOUR) for each in (one, two, three)]
        for each in begun:
            store.begin_termination(each)
        ended, spared, survived = (replace(each, finished_at=now - HOUR + 3) for each in begun)
        store.finish_termination(replace(ended, result=Result.ENDED))
        store.finish_termination(
            replace(spared, result=Result.SPARED, words=("client: 10.1.2.3:4 is connected",))
        )
        store.finish_termination(
            replace(survived, result=Result.SURVIVORS, survivors=1, words=("pid 4122 lives on",))
        )
    return site


class TestHistory:
    def test_each_thing_that_was_done_is_a_line_and_the_newest_is_last(self, used: Site) -> None:
        *dated, total = used.lines("history")
        told, quiet, failed, *ends, refused, last = [line[18:] for line in dated]
        assert told.startswith("notice  ada pid 4100 (vscode), abandoned: delivered, end not bef")
        assert quiet.startswith("run     3 runs until ")
        assert quiet.endswith("mode enforce: done")
        assert failed.endswith("pid 4110 (vscode), abandoned: failed: 550 no such user\\x1b[2J")
        assert [line.partition("abandoned: ")[2] for line in ends] == [
            "ended, 4M given back",
            "spared: client: 10.1.2.3:4 is connected",
            "survivors (1): pid 4122 lives on",
        ]
        assert refused.startswith("run     mode enforce: refused: plan 0f0f0f0f0f0f refused")
        assert "sending (cut short, or going on: it may have arrived)" in last
        assert total == (
            "4 runs (1 refused), 3 notices (1 failed), 1 server ended (1 spared), 4M given back."
        )

    def test_runs_with_something_between_them_are_lines_of_their_own(self, used: Site) -> None:
        with used.open() as store:
            delivered(store, trees(1)[0], time.time() - 5 * HOUR + 700, user="grace")
        words = [line[18:] for line in used.lines("history") if "  run " in line]
        assert words[0].startswith("run     2 runs until ")
        assert words[1] == "run     mode enforce: done"

    def test_a_user_is_shown_without_the_runs_of_all(self, used: Site) -> None:
        found = used.json("history", "--user", "grace")
        assert (found["runs"], found["terminations"]) == ([], [])
        assert [each["user"] for each in found["notices"]] == ["grace"]

    def test_of_a_user_who_was_never_told_nothing_is_stored(self, used: Site) -> None:
        assert used.lines("history", "--user", "nobody-knows") == ["Nothing stored of that."]

    def test_since_leaves_out_what_is_older(self, used: Site) -> None:
        found = used.json("history", "--since", "90m")
        assert [each["run_id"] for each in found["runs"]] == ["r3"]
        assert len(found["terminations"]) == 3
        assert [each["delivery"] for each in found["notices"]] == ["sending"]

    def test_json_has_it_all(self, used: Site) -> None:
        found = used.json("history")
        assert found["store"] == used.store
        assert [each["outcome"] for each in found["runs"]] == ["done"] * 3 + ["refused"]
        assert found["terminations"][1]["words"] == ["client: 10.1.2.3:4 is connected"]


class TestNotices:
    def test_they_say_whether_they_arrived_and_what_they_promised(self, used: Site) -> None:
        found = used.json("notices")["notices"]
        assert [each["delivery"] for each in found] == ["delivered", "failed", "sending"]
        assert found[1]["error"] == "550 no such user\\x1b[2J"
        assert found[0]["not_before"] > found[0]["delivered"]

    def test_the_table_fits_100_columns(self, used: Site) -> None:
        lines = used.lines("notices")
        assert lines[0].split()[:4] == ["SENT", "USER", "PID", "PRODUCT"]
        assert max(map(len, lines)) <= 100
        assert "\x1b" not in "".join(lines)

    def test_none_of_a_user_is_said(self, used: Site) -> None:
        assert used.lines("notices", "--user", "zoe") == ["No notice stored of that."]


def lasting(path: str, hours: int, client_in_the_end: bool, owner: Owner = ADA) -> list[Tree]:
    """Store a scan an hour, the last one now, of two servers that nobody uses."""
    now = time.time()
    found = [tree(root=launcher(pid)) for pid in (4100, 4200)]
    with new(Path(path).parent) as store:
        for hour in range(hours, -1, -1):
            if client_in_the_end and hour == 0:
                busy = replace(found[0].connections, clients=("somebody",))
                found[0] = replace(found[0], connections=busy)
            scan(store, found, now - hour * HOUR, owner=owner)
    return found


class TestReplay:
    def test_it_says_what_would_have_been_ended(self, site: Site) -> None:
        lasting(site.store, 20, client_in_the_end=False)
        found = site.json("replay", "--mode", "enforce")
        assert (found["scans"], found["servers"], found["users"]) == (21, 2, 1)
        assert (found["messages"], found["plans_refused"], found["regretted"]) == (1, 0, 0)
        assert found["rss_bytes"] == sum(each["rss_bytes"] for each in found["ended"]) == 2 << 20
        assert found["first_scan"] < found["ended"][0]["at"] < found["last_scan"]
        assert found["policy"]["mode"] == "enforce"

    def test_whoever_came_back_is_regretted(self, site: Site) -> None:
        lasting(site.store, 20, client_in_the_end=True)
        found = site.json("replay", "--mode", "enforce")
        assert (found["servers"], found["regretted"]) == (2, 1)
        assert [each["client_at"] for each in found["ended"]] == [found["last_scan"], None]
        done = vscadmin("replay", site.policy, "--mode", "enforce")
        assert "Would have ended 2 servers of 1 user, 2M in all." in done.stdout
        assert "Regret: 1 of these 2 had a client later." in done.stdout

    def test_of_what_was_really_ended_no_regret_can_be_known(self, site: Site) -> None:
        found = lasting(site.store, 20, client_in_the_end=False)
        begun = termination(found[0], time.time() - 60)
        with site.open() as store:
            store.begin_termination(begun)
            store.finish_termination(replace(begun, result=Result.ENDED))
        seen = site.json("replay", "--mode", "enforce")
        assert (seen["servers"], seen["regretted"], seen["regret_unknown"]) == (2, 0, 1)
        said = vscadmin("replay", site.policy, "--mode", "enforce").stdout
        assert "1 of them cleanup really ended: no client could come." in said

    def test_scans_without_groups_are_a_warning_where_the_policy_asks_for_groups(
        self, site: Site
    ) -> None:
        lasting(site.store, 20, client_in_the_end=False, owner=Owner(1001, "ada"))
        assert site.json("replay")["sightings_without_groups"] == 0
        assert "Warning" not in vscadmin("replay", site.policy).stdout
        with open(site.policy, "a", encoding="utf-8") as policy:
            policy.write('[protect]\ngroups = ["staff"]\n')
        assert site.json("replay")["sightings_without_groups"] == 42
        said = vscadmin("replay", site.policy, "--wide").stdout
        assert "Warning: 42 sightings of servers without the groups of their owner" in said

    def test_a_plan_too_big_for_the_breaker_ends_nothing(self, site: Site) -> None:
        lasting(site.store, 20, client_in_the_end=False)
        with open(site.policy, "a", encoding="utf-8") as policy:
            policy.write("[terminate]\nmax_trees_per_run = 1\n")
        found = site.json("replay", "--mode", "enforce")
        assert found["ended"] == []
        assert found["plans_refused"] > 0

    def test_by_itself_it_takes_the_mode_of_the_policy(self, site: Site) -> None:
        lasting(site.store, 20, client_in_the_end=False)
        done = vscadmin("replay", site.policy)
        assert "Would have ended 0 servers" in done.stdout
        assert "In mode observe nothing is ended; as if it were: --mode enforce" in done.stdout

    def test_last_limits_what_it_sees(self, site: Site) -> None:
        lasting(site.store, 20, client_in_the_end=False)
        assert site.json("replay", "--last", "5h")["scans"] in (5, 6)
        assert "No scan is stored" in vscadmin("replay", site.policy, "--last", "0s").stdout

    def test_what_was_really_ended_and_opened_again_is_told(self, site: Site) -> None:
        now = time.time()
        (old,) = trees(1)
        again = tree(root=launcher(4900, start_ticks=old.root.start_ticks + 10**9))
        with new(Path(site.store).parent) as store:
            scan(store, [old], now - 2 * HOUR)
            begun = termination(old, now - HOUR)
            store.begin_termination(begun)
            done = replace(begun, result=Result.ENDED, finished_at=now - HOUR + 3)
            store.finish_termination(done)
            scan(store, [again], now - 60)
        found = site.json("replay")
        assert found["really_ended"] == 1
        assert [each["pid"] for each in found["really_regretted"]] == [4100]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("version = 1\nmod = 1\n", ": mod: "),
            ('version = 1\n[scope]\nproducts = ["ssh-tunnel"]\n', "is only reported"),
        ],
    )
    def test_a_wrong_policy_is_refused(self, site: Site, text: str, said: str) -> None:
        Path(site.policy).write_text(text)
        done = vscadmin("replay", site.policy)
        assert done.returncode == 78
        assert said in done.stderr

    def test_nothing_is_written(self, site: Site) -> None:
        lasting(site.store, 5, client_in_the_end=False)
        before = Path(site.store).read_bytes()
        site.json("replay", "--mode", "enforce")
        assert Path(site.store).read_bytes() == before


CALLS = [("history", "--policy"), ("notices", "--policy"), ("replay",)]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call[0])
class TestWithoutAStore:
    def test_nothing_stored_yet_is_no_failure(self, site: Site, call: tuple[str, ...]) -> None:
        done = vscadmin(*call, site.policy)
        assert done.returncode == 0
        assert done.stdout.startswith(f"Nothing stored yet: {site.store} is made by ")
        assert json.loads(vscadmin(*call, site.policy, "--json").stdout)["store"] is None
        assert not os.path.lexists(site.store)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
    def test_one_that_may_not_be_read_is_not_permitted(self, call: tuple[str, ...]) -> None:
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            os.chmod(folder, 0o755)  # noqa: S103 - others have to read the policy in it
            policy = Path(folder, "policy.toml")
            store = Path(folder, "lib", "store.sqlite")
            policy.write_text(POLICY.format(store=store))
            new(store.parent).close()
            for mode in (0o700, 0o755):  # neither the folder nor the file
                store.parent.chmod(mode)
                done = as_user(*call, str(policy))
                assert done.returncode == 77
                assert done.stderr == f"vscadmin: {store}: may be read by root only\n"

    def test_a_damaged_one_is_one_clear_line(self, site: Site, call: tuple[str, ...]) -> None:
        new(Path(site.store).parent).close()
        Path(site.store).write_bytes(b"rubbish" * 2000)
        done = vscadmin(*call, site.policy)
        assert done.returncode == 10
        assert done.stderr == f"vscadmin: {site.store}: it is damaged\n"

    def test_a_time_without_a_unit_is_wrong_usage(self, site: Site, call: tuple[str, ...]) -> None:
        option = "--last" if call == ("replay",) else "--since"
        done = vscadmin(*call, site.policy, option, "14")
        assert done.returncode == 2
        assert '"14" is no duration' in done.stderr
