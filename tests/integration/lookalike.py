"""Processes that have a server's names: argv as in life, and `node` a copy of a shell.

For whatever needs many of them, or one in an odd place, and no editor to connect.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.builders import COMMIT

_BLOCK = "read _ < {fifo}\n"


class Lookalike:
    """A server's folder below *home*; nothing in it serves anybody."""

    def __init__(self, home: Path, body: str = "") -> None:
        self.folder = home / ".vscode-server" / "bin" / COMMIT
        (self.folder / "bin").mkdir(parents=True)
        (self.folder / "out").mkdir()
        self.node = self.folder / "node"
        shutil.copy("/bin/sh", self.node)
        self.fifo = home / "fifo"
        os.mkfifo(self.fifo)
        self.block = _BLOCK.format(fifo=self.fifo)
        self.main = self.folder / "out" / "server-main.js"
        self.main.write_text(body + self.block)
        self.launcher = self.folder / "bin" / "code-server"
        self.launcher.write_text(f'#!/bin/sh\n"{self.node}" "{self.main}" "$@"\nexit\n')
        self.launcher.chmod(0o755)
        for path in (home, *home.rglob("*")):
            path.chmod(path.stat().st_mode | 0o055)

    def start(self, *before: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start the launcher behind the command *before*, such as setpriv or unshare."""
        return subprocess.Popen([*before, "sh", str(self.launcher), "--start-server"], **options)
