"""Which processes are stopped at this moment, on disk: should we die now, the next run goes on.

Between SIGSTOP and SIGKILL lie milliseconds, and within them even our own SIGKILL must not
leave anything stopped for good.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from typing import NamedTuple

from vscadmin.cleanup.store_file import open_private, prepare
from vscadmin.errors import StoreFailedError
from vscadmin.model import ProcessKey

_SUFFIX = ".stopping"
_LIMIT = 1 << 22  # bytes; a thousand processes need 20 KiB


class Left(NamedTuple):
    """What a run may have left stopped: *keys* and their descendants, *owner*'s alone."""

    owner: int
    keys: tuple[ProcessKey, ...]


def note(path: str, boot_id: str, owner: int, keys: Iterable[ProcessKey]) -> None:
    """Write down what of *owner*'s is about to be stopped, beside the store at *path*.

    Raises StoreFailedError where that is not possible: nothing is stopped then.
    """
    place = prepare(path) + _SUFFIX
    file = open_private(place, os.O_WRONLY | os.O_TRUNC)
    data = json.dumps([boot_id, owner, sorted(keys)]).encode()
    try:
        if os.write(file, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file)
    except OSError as error:
        raise StoreFailedError(f"{place}: cannot be written: {error.strerror}") from error
    finally:
        os.close(file)


def forget(path: str) -> None:
    """Remove the note: nothing of ours is stopped any more."""
    try:
        os.unlink(path + _SUFFIX)
    except OSError:
        return


def left_behind(path: str, boot_id: str) -> Left | None:
    """Return what a run of this boot may have left stopped; None when nothing says so."""
    place = path + _SUFFIX
    if not os.path.lexists(place):
        return None
    file = open_private(place, os.O_RDONLY)
    try:
        boot, owner, keys = json.loads(os.read(file, _LIMIT))
        found = Left(int(owner), tuple(ProcessKey(*key) for key in keys))
        return found if boot == boot_id else None
    except (OSError, ValueError, TypeError):
        return None
    finally:
        os.close(file)
