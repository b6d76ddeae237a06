"""`vscadmin fleet` as a process: many nodes behind an ssh that runs their commands here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

ANSI = re.compile(r"\x1b\[[0-9;]*m")
VSCADMIN = Path(sys.executable).with_name("vscadmin")
# Its nodes by name: down, slow, old, loud, odd, and told, which say what the folder has of them;
# every other runs what it is asked here.
SSH = f"""#!/bin/sh
for last; do :; done
previous=
for each; do node=$previous; previous=$each; done
case $node in
  down*) echo "ssh: connect to host $node port 22: No route to host" >&2; exit 255 ;;
  slow*) exec sleep 60 ;;
  old*) echo '{{"schema": 0, "kind": "report"}}' ;;
  none*) echo "sh: vscadmin: command not found" >&2; exit 127 ;;
  loud*) exec yes "$(printf %09999d 0)" | head -c 40000000 ;;
  odd*) printf 'Welcome \\033[31m\\n' ;;
  told*) date +%s.%N; exec cat "${{0%/*}}/$node.json" ;;
  far*) echo $(($(date +%s) + 3600)).0; exec "{VSCADMIN}" doctor --json ;;
  *) PATH={VSCADMIN.parent}:$PATH exec sh -c "$last" ;;
esac
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    ssh = tmp_path / "ssh"
    ssh.write_text(SSH, encoding="ascii")
    ssh.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


def fleet(path: str, *words: str, before: Iterable[str] = ()) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": path, "CLUSTERSHELL_CFGDIR": path.partition(":")[0]}
    return subprocess.run(
        [*before, VSCADMIN, "fleet", *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=60,
    )


def test_every_node_that_is_missing_is_named_with_the_reason(path: str) -> None:
    begun = time.monotonic()
    nodes = "login1,down[1-2],slow1,old1,none1,odd1"
    done = fleet(path, "report", "-w", nodes, "--timeout", "20s")
    assert done.returncode == 10, done.stderr
    assert time.monotonic() - begun < 40
    assert "on 1 of 7 nodes" in done.stdout
    for words in (
        "INCOMPLETE: 6 nodes missing, in part or whole:",
        "down1: did not answer: ssh: connect to host down1 port 22: No route to host",
        "down2: did not answer: ssh: connect to host down2 port 22: No route to host",
        "slow1: did not answer in time",
        "old1: its JSON has schema 0, ours 1: another vscadmin",
        "none1: exit 127: sh: vscadmin: command not found",
        "odd1: what it said is no JSON",
    ):
        assert words in done.stdout
    assert "\x1b" not in done.stdout


def test_a_node_that_never_stops_talking_fills_no_memory(path: str) -> None:
    done = fleet(path, "report", "-w", "loud1", "--json", "--timeout", "40s")
    assert done.returncode == 10
    (node,) = json.loads(done.stdout)["nodes"]
    assert (node["outcome"], node["words"]) == ("unusable", "it said too much")


def test_the_exit_code_is_0_where_all_answered(path: str) -> None:
    done = fleet(path, "report", "-w", "login1", "--json")
    found = json.loads(done.stdout)
    assert found["complete"] is (done.returncode == 0)
    assert [each["outcome"] for each in found["nodes"]] == ["answered"]


def test_a_clock_that_is_off_is_measured_and_marked(path: str) -> None:
    done = fleet(path, "doctor", "-w", "far1,login1", "--json")
    far, near = json.loads(done.stdout)["nodes"]
    assert abs(far["clock_offset_seconds"] - 3600) <= far["clock_uncertainty_seconds"] + 1
    assert abs(near["clock_offset_seconds"]) <= near["clock_uncertainty_seconds"] + 0.1
    shown = fleet(path, "doctor", "-w", "far1,login1", "--wide").stdout
    row = next(line for line in shown.splitlines() if line.startswith("far1"))
    assert "+3600" in row or "+3599" in row
    assert "*" in row


def told(folder: Path, node: str, **facts: Any) -> None:
    """Write what *node* says to `vscadmin doctor --json`."""
    known = {
        "version": "0.3.0",
        "mode": "enforce",
        "policy_sha256": "3f9c2a7d10be" + 52 * "0",
        "catalogue_sha256": "e949312acb5e" + 52 * "0",
        "proxy_sha256": "91b0c4d2ee01" + 52 * "0",
        "plugins": [{"name": name, "sha256": 64 * "5"} for name in ("workgroup", "salloc_args")],
        "last_run": None,
        "last_outcome": None,
    }
    document = {"schema": 1, "kind": "doctor", "checks": [], "facts": {**known, **facts}}
    (folder / f"{node}.json").write_text(json.dumps(document), encoding="ascii")


def test_doctor_has_one_line_a_node_and_cuts_no_hash(path: str, tmp_path: Path) -> None:
    missing = [{"name": "workgroup", "sha256": None}, {"name": "salloc_args", "sha256": 64 * "5"}]
    told(tmp_path, "told1")
    told(tmp_path, "told2", catalogue_sha256="88aa017c2d31" + 52 * "0")
    told(tmp_path, "told3", plugins=missing)
    on_terminal = [sys.executable, "-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"]
    for before in ([], on_terminal):
        shown = fleet(path, "doctor", "-w", "told[1-3]", before=before).stdout
        lines = [line.split() for line in ANSI.sub("", shown).splitlines()]
        assert [line[0] for line in lines[:5] if line] == ["NODE", "told1", "told2", "told3"]
        assert lines[1][1:9] == [
            *("0.3.0", "enforce", "3f9c2a7d10be", "e949312acb5e", "91b0c4d2ee01"),
            *("salloc_args", "5555…,", "workgroup"),
        ]
        assert lines[2][4] == "88aa017c2d31*"
        assert lines[3][6:10] == ["salloc_args", "5555…,", "workgroup", "missing*"]


def test_the_policy_names_the_nodes_where_nobody_else_does(path: str, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\n[fleet]\nnodes = "down[1-2]"\n', encoding="ascii")
    done = fleet(path, "doctor", "--policy", str(policy), "--json")
    assert done.returncode == 10
    assert [each["node"] for each in json.loads(done.stdout)["nodes"]] == ["down1", "down2"]
    policy.write_text('version = 1\n[fleet]\nnodes = "down["\n', encoding="ascii")
    done = fleet(path, "doctor", "--policy", str(policy))
    assert done.returncode == 2
    assert done.stderr.startswith(f'vscadmin: {policy}: fleet.nodes: "down[" is no node set')


def test_a_page_names_the_nodes_that_are_missing(path: str, tmp_path: Path) -> None:
    page = tmp_path / "fleet.html"
    done = fleet(path, "report", "-w", "login1,down1", "--html", str(page))
    assert (done.returncode, done.stdout) == (10, "")
    assert "down1" in page.read_text(encoding="utf-8")
    assert page.stat().st_mode & 0o777 == 0o600
    assert fleet(path, "report", "-w", "n", "--html", "x", "--json").returncode == 2
