"""What goes into a pipe or a file: no line ends in the blanks that only fill a screen."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

from tests import stores
from tests.integration.lookalike import Lookalike
from tests.run import COMMAND, eventually, json_of, vscadmin
from vscadmin.cleanup.records import Outcome

HOUR = 3600.0
NOBODY = 65534
SSH = f'#!/bin/sh\nfor last; do :; done\nPATH={Path(COMMAND).parent}:$PATH exec sh -c "$last"\n'


class Site(NamedTuple):
    """A server that runs, a store with a past, and an ssh whose every node is this machine."""

    pid: str
    policy: str
    path: str


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with TemporaryDirectory() as folder:
        yield from running(Path(folder))


def running(folder: Path) -> Iterator[Site]:
    folder.chmod(0o755)  # the server is another user's
    policy = past(folder)
    (ssh := folder / "ssh").write_text(SSH, encoding="ascii")
    ssh.chmod(0o755)
    (home := folder / "home").mkdir()
    user = {"user": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    server = Lookalike(home).start(start_new_session=True, cwd="/", **user)
    try:
        eventually(lambda: is_seen(server.pid), bool)
        yield Site(str(server.pid), str(policy), f"{folder}:{os.environ['PATH']}")
    finally:
        os.killpg(server.pid, 9)
        server.wait()


def past(folder: Path) -> Path:
    """Store runs, a notice, and servers that a rehearsal ends."""
    now, store = time.time(), folder / "lib" / "store.sqlite"
    found = stores.trees(2)
    with stores.new(store.parent) as opened:
        for number in range(9):
            stores.scan(opened, found, now - (9 - number) * HOUR)
        opened.begin_run(stores.run("r1", now - HOUR, outcome=Outcome.DONE, finished_at=now))
        stores.delivered(opened, found[0], now - HOUR)
    policy = folder / "policy.toml"
    policy.write_text(
        f'version = 1\n[store]\npath = "{store}"\n[[rule]]\nname = "abandoned"\n'
        'when = {state = "abandoned"}\naction = "terminate"\nnotice = "1h"\n',
        encoding="utf-8",
    )
    return policy


def is_seen(pid: int) -> bool:
    return pid in {tree["pid"] for tree in json_of("report")["trees"]}


COMMANDS = {  # and what shows that there was something to print
    "report --policy POLICY": "PID",
    "report --policy POLICY --wide": "PID",
    "scan": "PID",
    "explain PID": "PID",
    "fleet report -w login1": "PID",
    "fleet doctor -w login1": "LAST RUN",
    "history --policy POLICY": "delivered",
    "notices --policy POLICY": "4100",
    "replay POLICY --mode enforce": "ENDED",
    "digest --policy POLICY": "delivered",
    "mine --policy POLICY": "",
    "sessions": "session",
    "doctor --policy POLICY": "pidfd",
    "config show --policy POLICY": "abandoned",
    "config generate": "rule",
    "ssh-config --host-name login1": "RemoteCommand",
    "completion bash": "complete",
    "--help": "report",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_line_ends_in_blanks(command: str, site: Site) -> None:
    words = {"PID": site.pid, "POLICY": site.policy}
    done = vscadmin(
        *(words.get(word, word) for word in command.split()),
        env={**os.environ, "PATH": site.path},
        stderr=subprocess.STDOUT,
        capture_output=False,
        stdout=subprocess.PIPE,
    )
    assert words.get(COMMANDS[command], COMMANDS[command]) in done.stdout
    assert [line for line in done.stdout.splitlines() if line != line.rstrip()] == []
