"""`python -m benchmarks [scan] [relay]`: start the benchmarks, each in a pid namespace of its own.

Whatever one builds dies with the namespace, and the namespace with this process: that is
what --kill-child and --pdeathsig are for, beside a deadline on both sides.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import NoReturn

from benchmarks import inside, relays

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_PARTS = {"scan": inside, "relay": relays}
_TOOLS = ("unshare", "setpriv", "mount", "ip", "ps", "pgrep", "socat", "haproxy")
_PIDS = 24_000  # 20,000 of ours, and room for those of the machine
_GRACE = 30  # seconds beyond the deadline inside


def main(parts: list[str]) -> int:
    """Run the benchmarks that are named, or all; return what to exit with."""
    if unknown := set(parts) - set(_PARTS):
        print(f"benchmarks: no {', '.join(unknown)}: {' or '.join(_PARTS)}", file=sys.stderr)
        return 2
    if reason := _hindrance():
        print(f"benchmarks: skipped: {reason}")
        return 1 if os.environ.get("CI") == "true" else 0
    signal.signal(signal.SIGTERM, _stop)
    return max([_run(part) for part in parts or _PARTS])


def _run(part: str) -> int:
    module = _PARTS[part]
    deadline = module.DEADLINE + _GRACE
    with tempfile.TemporaryDirectory(prefix="vscadmin-bench-") as folder:
        os.chmod(folder, 0o711)  # noqa: S103 - users run what is in it
        namespace = ["unshare", "--fork", "--pid", "--net", "--mount-proc", "--kill-child"]
        ours = [sys.executable, "-m", module.__name__, folder]
        command = ["setpriv", "--pdeathsig", "KILL", *namespace, *ours]
        try:
            done = subprocess.run(command, cwd=_ROOT, timeout=deadline, check=False)
        except subprocess.TimeoutExpired:
            print(f"benchmarks: {part}: stopped after {deadline} s", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("benchmarks: stopped", file=sys.stderr)
            return 130
    return abs(done.returncode)


def _stop(_signal: int, _frame: object) -> NoReturn:
    """Leave as Ctrl-C does: the namespace is killed, the folder removed."""
    raise KeyboardInterrupt


def _hindrance() -> str:
    """Say why nothing can be measured here; "" if it can."""
    if os.geteuid() != 0:
        return "needs root, for a pid namespace and for processes of many users"
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        return f"needs {', '.join(missing)}"
    with open("/proc/sys/kernel/pid_max", encoding="ascii") as file:
        if (limit := int(file.read())) < _PIDS:
            return f"needs kernel.pid_max of {_PIDS} or more, not {limit}"
    probe = ["unshare", "--fork", "--pid", "--net", "--mount-proc", "--kill-child", "true"]
    if subprocess.run(probe, check=False, capture_output=True).returncode != 0:
        return "may not make namespaces (unshare)"
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
