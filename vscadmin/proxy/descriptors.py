"""How many files a process may open: every connection takes two.

Runs on both sides of a session: standard library of Python 3.6 only.
"""

import resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    Limits = tuple[int, int]

_MOST = 65536  # where the hard limit is none: what is beyond it is no editor's


def raise_file_limit() -> "Limits":
    """Let this process open as many files as it may; return the limits of before (RLIMIT_NOFILE).

    1024 are the usual limit. Who starts others sets the old one for them with `restore_file_limit`:
    programs that use select(2) break above it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return soft, hard


def restore_file_limit(limits: "Limits") -> None:
    """Set the limits that `raise_file_limit` returned, in a child that was just forked."""
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
