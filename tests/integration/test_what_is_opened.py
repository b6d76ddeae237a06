"""Which files a scan opens, as Python's own audit of it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.integration.ending import planted
from tests.integration.vscode.fixtures import EditorUser

ROOT = Path(__file__).resolve().parents[2]
AUDITED = """
import json, os, sys
from vscadmin.cli.main import cli
opened = []
def note(event, arguments):
    if event in ("open", "os.listdir", "os.scandir"):
        opened.append(os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes)) else "")
sys.addaudithook(note)
found = cli.main(["report", "--json"], standalone_mode=False)
print(json.dumps(opened))
"""


def test_neither_a_file_of_a_home_nor_anybodys_environment(vscode_user: EditorUser) -> None:
    """A home may be on a server that hangs, and an environment is what its user says it is."""
    with planted(vscode_user) as tree:
        tree.members(2)
        done = subprocess.run(
            [sys.executable, "-c", AUDITED], capture_output=True, text=True, check=True, cwd=ROOT
        )
        report, _, opened = done.stdout.strip().rpartition("\n")
        assert tree.key.pid in [each["pid"] for each in json.loads(report)["trees"]]
        names: list[str] = json.loads(opened)
        assert f"/proc/{tree.key.pid}/cgroup" in names, "else nothing was noted"
        assert [each for each in names if str(vscode_user.home) in each] == []
        assert [each for each in names if os.path.basename(each) == "environ"] == []
