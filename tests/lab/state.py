"""Where a lab keeps its homes, keys and logs; who works on it, and what it runs."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.lab import cgroups
from tests.lab.errors import LabError

STATE: Final = Path("/var/lib/vscadmin-lab")

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_LOCK_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.005
_COMPLETE: Final = "complete"
_SOFTWARE: Final = "software"


def names() -> set[str]:
    """Return the labs that there is anything of, be it only an empty folder."""
    folders = STATE.iterdir() if STATE.is_dir() else ()
    return cgroups.labs() | {each.name for each in folders}


@contextmanager
def locked(name: str) -> Iterator[Path]:
    """Keep others from the lab *name*, and lend its folder: that is what is locked."""
    if not _NAME.fullmatch(name):
        raise LabError(f"a lab's name is made of a-z, 0-9 and -, not {name!r}")
    folder = STATE / name
    handle = _lock(folder)
    try:
        yield folder
    finally:
        os.close(handle)


def is_complete(name: str) -> bool:
    """Tell whether the lab *name* once was all up."""
    return (STATE / name / _COMPLETE).is_file()


def set_complete(name: str) -> None:
    """Note that all of the lab *name* is up."""
    (STATE / name / _COMPLETE).touch()


def software(name: str) -> str:
    """Return the installation of the project that the lab *name* runs, "" if it has none."""
    try:
        return (STATE / name / _SOFTWARE).read_text()
    except FileNotFoundError:
        return ""


def set_software(name: str, folder: Path) -> None:
    """Note that the lab *name* runs *folder*, so that it is kept."""
    (STATE / name / _SOFTWARE).write_text(str(folder))


def empty(name: str) -> None:
    """Remove what the folder of the lab *name* holds; links in it are not followed."""
    for each in (STATE / name).iterdir():
        shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()


def remove(name: str) -> None:
    """Remove the empty folder of the lab *name*."""
    (STATE / name).rmdir()
    with suppress(OSError):  # another lab's state is there
        STATE.rmdir()


def _lock(folder: Path) -> int:
    """Lock *folder*, made if need be.

    One that another removed meanwhile would lock nothing. A child of somebody who was killed
    may hold the lock until it has become another program, so it is waited for a moment.
    """
    deadline = time.monotonic() + _LOCK_SECONDS
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            if _is_ours(handle, folder):
                return handle
            os.close(handle)
        time.sleep(_POLL_SECONDS)
    raise LabError(f"lab {folder.name} is being brought up or taken down")


def _is_ours(handle: int, folder: Path) -> bool:
    """Lock *handle* if nobody else has, and tell whether it is what *folder* names now."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle), os.stat(folder))
    except (BlockingIOError, FileNotFoundError):
        return False
