"""Whose a tree is: names and groups of user ids, asked one by one, never enumerated.

A look-up may hang when the directory service is down, so it runs in a thread with a
deadline; one that fails is a None in the Owner, and the tree's state is unknown.
"""

from __future__ import annotations

import grp
import os
import pwd
import threading
from collections.abc import Iterable

from vscadmin.deadline import start_without_signals
from vscadmin.model import Owner

DEADLINE = 5.0  # seconds for all look-ups of a run together


def owners(
    uids: Iterable[int], *, with_groups: bool = False, deadline: float = DEADLINE
) -> dict[int, Owner]:
    """Return the Owner of each uid, within *deadline* seconds."""
    wanted = sorted(set(uids))
    found: dict[int, Owner] = {}

    def look_up() -> None:
        for uid in wanted:
            found[uid] = _owner(uid, with_groups=with_groups)

    if wanted:
        thread = threading.Thread(target=look_up, daemon=True)
        start_without_signals(thread)
        thread.join(deadline)
    return {uid: found.get(uid, Owner(uid, None, None)) for uid in wanted}


def _owner(uid: int, *, with_groups: bool) -> Owner:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Owner(uid, None, None)
    if not with_groups:
        return Owner(uid, entry.pw_name)
    try:
        gids = os.getgrouplist(entry.pw_name, entry.pw_gid)
        return Owner(uid, entry.pw_name, tuple(grp.getgrgid(gid).gr_name for gid in gids))
    except (KeyError, OSError):
        return Owner(uid, entry.pw_name, None)


def uid_of(name: str) -> int | None:
    """Return the uid of a user name, None where there is no such user."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None
