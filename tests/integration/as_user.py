"""The command as an ordinary user runs it, where the tests themselves run as root."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import NOBODY
from tests.run import vscadmin

_BECOME = ("setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups")
_MAIN = """
import sys
sys.path[:0] = [{checkout!r}, {packages!r}]
sys.argv[0] = "vscadmin"
from vscadmin.cli.main import main
"""


def as_user(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `vscadmin` as nobody; without root as ourselves."""
    if os.geteuid() != 0:
        return vscadmin(*arguments)
    return _run(_python(), "-I", "-c", f"{_main()}main()", *arguments)


def _run(*argv: str) -> subprocess.CompletedProcess[str]:
    known: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 60, "check": False}
    return subprocess.run([*_BECOME, *argv], cwd="/", **known)  # noqa: PLW1510


def _main() -> str:
    checkout = str(Path(__file__).parents[2])
    return _MAIN.format(checkout=checkout, packages=sysconfig.get_path("purelib"))


@lru_cache
def _python() -> str:
    """Return an interpreter that nobody can run; ours may lie in root's home."""
    minor = f"python3.{sys.version_info.minor}"
    for path in (
        sys.executable,
        f"/usr/bin/{minor}",
        f"/usr/local/bin/{minor}",
        "/usr/bin/python3",
    ):
        if os.path.exists(path) and _run(path, "-I", "-c", _main()).returncode == 0:
            return path
    if os.environ.get("CI") == "true":
        pytest.fail("no Python that an ordinary user can run")
    pytest.skip("no Python that an ordinary user can run")
