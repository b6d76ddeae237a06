"""Run the installed command as people do, and wait for what takes time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

COMMAND = os.path.join(os.path.dirname(sys.executable), "vscadmin")
T = TypeVar("T")


def vscadmin(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `vscadmin` with *arguments*; *options* are subprocess.run's."""
    known: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 60, "check": False}
    return subprocess.run([COMMAND, *arguments], **{**known, **options})  # noqa: PLW1510


def json_of(*arguments: str, **options: Any) -> dict[str, Any]:
    """Return the JSON that a command prints; its exit code must be 0 or 10."""
    done = vscadmin(*arguments, "--json", **options)
    assert done.returncode in (0, 10), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def eventually(look: Callable[[], T], wanted: Callable[[T], bool], seconds: float = 20) -> T:
    """Look until *wanted* is true of what is seen; fail with the last look after *seconds*."""
    deadline = time.monotonic() + seconds
    while not wanted(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)
    return seen
