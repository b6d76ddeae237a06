"""The project as a site installs it for its nodes: a wheel in a virtual environment below /opt."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.lab import state
from tests.lab.errors import InstallError

CHECKOUT: Final = Path(__file__).resolve().parents[2]

_CACHE: Final = CHECKOUT / ".cache" / "lab"
_BUILD: Final = "build-"
_KEPT: Final = 3
_SOURCES: Final = ("vscadmin", "pyproject.toml", "README.md", "LICENSE", ".ci/constraints.txt")
_PIP: Final = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def installed(claim: Callable[[Path], None] = lambda _: None) -> Path:
    """Return the folder that is a node's /opt/vscadmin; make it if the sources changed.

    *claim* is told of it before anybody else may forget it.
    """
    python = _python()
    with _locked():
        target = _CACHE / f"opt-{_digest(python)}"
        if not target.is_dir():
            _forget_old()
            with tempfile.TemporaryDirectory(prefix=_BUILD, dir=_CACHE) as build:
                os.replace(_build(Path(build), python), target)
        claim(target)
    return target


@contextmanager
def _locked() -> Iterator[None]:
    """Wait until nobody else builds; whoever comes second finds what the first has built."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _forget_old() -> None:
    """Remove killed builds, and installations but the newest and those that labs run."""
    for build in _CACHE.glob(f"{_BUILD}*"):
        shutil.rmtree(build)
    in_use = {state.software(lab) for lab in state.names()}
    found = sorted(_CACHE.glob("opt-*"), key=lambda each: each.stat().st_mtime)
    for old in found[:-_KEPT]:
        if str(old) not in in_use:
            shutil.rmtree(old)


def _python() -> str:
    """Return an interpreter that ordinary users can run."""
    for directory in ("/usr/bin", "/usr/local/bin"):
        for name in ("python3", "python3.14", "python3.13", "python3.12", "python3.11"):
            path = os.path.join(directory, name)
            test = "import sys; sys.exit(sys.version_info < (3, 11))"
            if os.access(path, os.X_OK) and _succeeds(path, "-c", test):
                return path
    raise InstallError("no Python 3.11 or newer in /usr/bin or /usr/local/bin for the lab's users")


def _digest(python: str) -> str:
    """Name the sources and the interpreter, so that a change of either is a new installation."""
    digest = hashlib.sha256(python.encode())
    for source in _SOURCES:
        top = CHECKOUT / source
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(os.fsencode(path.relative_to(CHECKOUT)) + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _build(build: Path, python: str) -> Path:
    target = build / "opt"
    _run(python, "-m", "venv", "--without-pip", str(target))
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(build))
    (wheel,) = build.glob("*.whl")
    pins = str(CHECKOUT / ".ci" / "constraints.txt")
    _run(*_PIP, "--python", str(target / "bin" / "python"), "install", "-c", pins, str(wheel))
    return target


def _run(*command: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=CHECKOUT, umask=0o022
    )
    if done.returncode != 0:
        why = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
        raise InstallError(f"cannot install vscadmin for the lab: {why}")


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, check=False).returncode == 0
