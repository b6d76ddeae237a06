"""What report says, and what runs of cleanup do: a real server, store and mail server."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import NOBODY
from tests.integration.office import Office
from tests.integration.test_mine import running
from tests.integration.vscode.fixtures import EditorUser
from tests.run import eventually, json_of, vscadmin
from vscadmin.cleanup.run import clean_up
from vscadmin.cleanup.session import Request
from vscadmin.cli.survey import load_families, load_policy
from vscadmin.logs import open_log

pytestmark = pytest.mark.usefixtures("root")
NAME = NOBODY.pw_name
POLICY = """
version = 1
mode = "{mode}"
[session]
confirm = 1
grace_max = "{grace}"
[protect]
login_session = false
[[rule]]
name = "{rule}"
when = {{ {when}, user = "{user}" }}
{action}
[notify]
smtp = "127.0.0.1:{port}"
from = "hpc@example.edu"
address = "{{user}}@example.edu"
terminal = false
every = "24h"
[store]
path = "{store}"
"""
HEAVY, ABANDONED = 'rss_over = "1KiB"', 'state = "abandoned"'
TELL = 'action = "notify"'
END = 'action = "terminate"\nnotice = "1h"'


@dataclass
class Node:
    """A login node with one server on it, of the root process *pid*."""

    folder: Path
    office: Office
    pid: int

    def policy(self, mode: str = "notify", **facts: Any) -> str:
        """Write a policy that is about this server's owner alone."""
        path = self.folder / "policy.toml"
        store = self.folder / "lib" / "store.sqlite"
        known: dict[str, Any] = {"rule": "heavy", "when": HEAVY, "action": TELL, "grace": "3h"}
        known |= {"user": NAME, "port": self.office.port, "store": store}
        path.write_text(POLICY.format(mode=mode, **{**known, **facts}))
        return str(path)

    def clean_up(self, policy: str) -> dict[str, Any]:
        """Do one run, and return what its log says of the server."""
        loaded = load_policy(policy)
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        request = Request(loaded.policy, loaded.digest, load_families(loaded, None), "login01")
        with open_log(str(log), "r1", "login01") as opened:
            clean_up(request, opened, os.urandom(8).hex())
        said = (json.loads(line) for line in log.read_text().splitlines())
        ours = (each for each in said if each["event"] == "decision" and each["pid"] == self.pid)
        found: dict[str, Any] = next(ours)
        return found

    def row(self, policy: str) -> str:
        """Return the server's line of the report."""
        lines = vscadmin("report", "--policy", policy, "--wide").stdout.splitlines()
        (line,) = (each for each in lines if each.split()[1:2] == [str(self.pid)])
        return line


@pytest.fixture
def node(tmp_path: Path, office: Office, vscode_user: EditorUser) -> Iterator[Node]:
    with running(vscode_user) as server:
        yield Node(tmp_path, office, server.launcher.pid)


def test_who_was_told_of_late_is_not_due_to_be_told(node: Node) -> None:
    """Another rule asks now, but notify.every holds its message back for a day."""
    assert node.clean_up(node.policy())["outcome"] == "notify"
    mails = len(node.office.mails)
    other = node.policy(rule="large")
    assert [node.clean_up(other)["outcome"] for _ in range(2)] == ["keep", "keep"]
    assert len(node.office.mails) == mails
    assert node.row(other).endswith("tell owner in 23h")
    found = json_of("report", "--policy", other)
    (tree,) = (each for each in found["trees"] if each["pid"] == node.pid)
    assert (tree["rung"], tree["due"]) == ("confirmed", "keep")
    assert found["plan"]["notices_due"] == 0
    assert "Due now" not in vscadmin("report", "--policy", other).stdout
    explained = vscadmin("explain", "--policy", other, str(node.pid)).stdout
    assert "(an earlier message to this owner is in the way: notify.every)" in " ".join(
        explained.split()
    )


def test_who_was_told_in_mode_notify_is_told_anew_before_enforce_ends_anything(node: Node) -> None:
    facts = {"when": ABANDONED, "action": END, "grace": "1s"}
    policy = node.policy(**facts)
    node.clean_up(policy)
    eventually(lambda: node.row(policy).split()[3], lambda state: state == "abandoned")
    node.clean_up(policy)
    assert node.row(policy).endswith(f"told {date.today()}; mode notify ends nothing")
    enforce = node.policy("enforce", **facts)
    assert node.row(enforce).endswith("tell owner in 23h, end in 24h")
    assert "Due now" not in vscadmin("report", "--policy", enforce).stdout


def test_who_is_due_to_be_told_is_told_by_the_next_run(node: Node) -> None:
    policy = node.policy()
    assert node.row(policy).endswith("tell owner now")
    assert json_of("report", "--policy", policy)["plan"]["notices_due"] > 0
    node.clean_up(policy)
    assert any(each.rcpt_tos == [f"{NAME}@example.edu"] for each in node.office.mails)


@pytest.mark.parametrize(
    ("action", "words"), [(TELL, "the rule asks for no more"), (END, "grace is not ended")]
)
def test_after_a_notice_with_nothing_to_follow_that_is_said(
    node: Node, action: str, words: str
) -> None:
    policy = node.policy(action=action)
    node.clean_up(policy)
    assert node.row(policy).endswith(f"told {date.today()}; {words}")


def test_no_rule_at_all_is_not_the_first_to_come_true(node: Node) -> None:
    policy = node.folder / "empty.toml"
    policy.write_text(f'version = 1\n[store]\npath = "{node.folder}/none"\n')
    lines = vscadmin("explain", "--policy", str(policy), str(node.pid)).stdout.splitlines()
    (decides,) = (line for line in lines if line.startswith("decides"))
    assert decides.split(maxsplit=1)[1].strip() == "none matches, so it is kept"
