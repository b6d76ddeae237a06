"""Names are matched against command lines that somebody made to be slow."""

from __future__ import annotations

import time

import pytest

from tests.builders import ADA, CATALOGUE, LEGACY, process, tree
from vscadmin.policy.protect import protection
from vscadmin.policy.settings import Glob, Protect
from vscadmin.procs.stat import CMDLINE_LIMIT

TWENTY_STARS = Glob("*a" * 20 + "b")
ROUNDS = 50


@pytest.mark.parametrize(
    "unit", ["a", "/", "/a", "../", "code-", f"{LEGACY}/", ".vscode-server/bin/"]
)
def test_the_longest_hostile_command_line_costs_little(unit: str) -> None:
    """A backtracking match of the stars would not end in a lifetime."""
    word = (unit * CMDLINE_LIMIT)[:CMDLINE_LIMIT]
    root = tree().root
    found = tree(root=root, members=(root, process(4200, word, word, ppid=root.pid)))
    protect = Protect(commands=(TWENTY_STARS,), terminal_jobs=False, login_session=False)
    before = time.process_time()
    for _ in range(ROUNDS):
        assert protection(found, ADA, protect, {}) == ()
        assert CATALOGUE.match((word.encode(), word.encode())) is None
    assert time.process_time() - before < 0.1 * ROUNDS
