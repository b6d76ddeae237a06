"""Both login nodes as one: asked over real ssh, and one message for servers on both."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab import cluster as lab
from tests.lab import faults
from tests.lab import site as lab_site
from tests.lab.cluster import Cluster
from tests.lab.leftovers import lookalike
from tests.lab.node import Node
from tests.lab.site import alive, asked, body, cleanup, mails, policy

SHARED = "/home/vscadmin-fleet"
FLEET = f'[fleet]\nnodes = "@login"\nsnapshot = "{SHARED}"\n'
GROUPS_CONF = "[Main]\ndefault: fleet\nautodir: /etc/clustershell/groups.d\n"
GROUPS = 'fleet:\n  login: "login[1-2]"\n'


@contextmanager
def fleet(cluster: Cluster) -> Iterator[Cluster]:
    """Give both login nodes a shared directory, and login1 a name for both of them."""
    with lab_site.site(cluster):
        login1 = cluster["login1"]
        login1.run("mkdir", "-m", "700", SHARED)
        for node in cluster.login_nodes:
            node.write("/etc/vscadmin/policy.toml", policy(every="1h", notice="2s") + FLEET)
        login1.write("/etc/clustershell/groups.conf", GROUPS_CONF)
        login1.write("/etc/clustershell/groups.d/fleet.yaml", GROUPS)
        try:
            yield cluster
        finally:
            login1.run("rm", "-rf", SHARED, "/etc/clustershell")


@pytest.fixture
def own_fleet(cluster: Cluster) -> Iterator[Cluster]:
    with fleet(cluster) as made:
        yield made


def servers(cluster: Cluster, user: str) -> dict[str, int]:
    """Leave a server on both nodes; the home is shared, so each has a commit of its own."""
    names = ("login1", "login2")
    return {
        name: lookalike(cluster, user, name, commit=f"{number:040x}")
        for number, name in enumerate(names, 1)
    }


def said(node: Node, *command: str) -> tuple[int, dict[str, Any]]:
    done = node.run("vscadmin", "fleet", *command, "--json", check=False)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


def test_a_user_with_servers_on_both_nodes_gets_one_message_and_both_end(
    own_fleet: Cluster,
) -> None:
    left = servers(own_fleet, "bob")
    deadline = time.monotonic() + 120
    while any(alive(own_fleet[name], pid) for name, pid in left.items()):
        assert time.monotonic() < deadline, [asked(own_fleet[name], "report") for name in left]
        for name in left:
            done = cleanup(own_fleet[name])
            assert done.returncode == 0, done.stderr
        own_fleet["login1"].run("sleep", "1.1")
    (mail,) = mails(own_fleet, "bob")
    for name, pid in left.items():
        assert f"where:     {name}, pid {pid}\n" in body(mail)
        history = asked(own_fleet[name], "history")
        (told,) = [each for each in history["notices"] if each["boot_id"].count("/") == 0]
        assert (told["pid"], told["delivery"]) == (pid, "delivered")
        (ended,) = history["terminations"]
        assert ended["started"] >= told["not_before"]
    assert mail["Subject"].startswith("[login1, login2]") or "[login2, login1]" in mail["Subject"]
    modes = own_fleet["login1"].run("stat", "-c", "%a %U", f"{SHARED}/login2.json").stdout
    assert modes == "600 root\n"


def test_one_report_over_both_nodes(own_fleet: Cluster) -> None:
    login1 = own_fleet["login1"]
    left = servers(own_fleet, "carol")
    code, found = said(login1, "report", "-w", "login[1-2]")
    assert code == 0
    assert {(tree["node"], tree["pid"]) for tree in found["trees"]} == set(left.items())
    (carol,) = found["users"]
    assert (carol["user"], carol["nodes"], carol["trees"]) == ("carol", 2, 2)
    assert said(login1, "report")[1]["trees"][0]["user"] == "carol"
    text = login1.run("vscadmin", "fleet", "report", "-w", "login[1-2]").stdout
    assert text.startswith("2 servers of 1 user on 2 of 2 nodes")


def test_doctor_shows_what_differs(own_fleet: Cluster) -> None:
    login1, login2 = own_fleet.login_nodes
    code, found = said(login1, "doctor", "-w", "login[1-2]")
    assert code == 0, found
    assert found["differ"] == []
    for each in found["nodes"]:
        assert abs(each["clock_offset_seconds"]) <= each["clock_uncertainty_seconds"] + 0.1
        assert each["facts"]["last_run"] is None
    assert cleanup(login2).returncode == 0
    login2.write("/etc/vscadmin/policy.toml", policy(notice="3s") + FLEET)
    _, found = said(login1, "doctor", "-w", "login[1-2]")
    assert found["differ"] == [{"what": "policy", "nodes": "login[1-2]"}]
    runs = {each["node"]: each["facts"]["last_outcome"] for each in found["nodes"]}
    assert runs == {"login1": None, "login2": "done"}
    text = login1.run("vscadmin", "fleet", "doctor", "-w", "login[1-2]", "--wide").stdout
    assert "* policy differs: login[1-2]" in text


def test_a_node_without_power_is_named_and_the_rest_is_shown() -> None:
    """A lab of its own: one of its nodes is gone afterwards."""
    name = f"test-{os.getpid()}-fleet"
    try:
        with fleet(lab.up(name)) as cluster:
            login1 = cluster["login1"]
            pid = lookalike(cluster, "bob", "login1")
            faults.power_off(cluster["login2"])
            ask = ("-w", "login[1-2]", "--timeout", "20s")
            for verb in ("report", "doctor"):
                code, found = said(login1, verb, *ask)
                assert (code, found["complete"]) == (10, False)
                outcomes = {each["node"]: each["outcome"] for each in found["nodes"]}
                assert outcomes == {"login1": "answered", "login2": "silent"}
            done = login1.run("vscadmin", "fleet", "report", *ask, check=False)
            assert done.returncode == 10
            assert f" {pid} " in done.stdout
            assert "INCOMPLETE: 1 node missing" in done.stdout
            assert "login2: did not answer" in done.stdout
            del cluster.nodes["login2"]
    finally:
        lab.down(name)
