"""The environment without what our own Python added to it.

Runs on both sides of a session: standard library of Python 3.6 only.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_COERCED = "LC_CTYPE"


def as_given(environment: "Mapping[str, str]") -> "dict[str, str]":
    """Return our *environment* with the LC_CTYPE that we were started with, or none.

    Without a usable locale Python sets one for itself (PEP 538), and isolated (-I) it cannot be
    told not to. What the kernel keeps is the environment as it was.
    """
    made = dict(environment)
    try:
        with open("/proc/self/environ", "rb") as file:
            given = dict(each.split(b"=", 1) for each in file.read().split(b"\0") if b"=" in each)
    except OSError:  # no /proc: an LC_CTYPE too many does little harm
        return made
    made.pop(_COERCED, None)
    if _COERCED.encode() in given:
        made[_COERCED] = os.fsdecode(given[_COERCED.encode()])
    return made
