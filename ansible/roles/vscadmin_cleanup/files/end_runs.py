"""End the runs of `vscadmin cleanup` of one installation: end_runs.py PREFIX.

A run waits up to five minutes for its turn; one that acts ends what it has begun. Each is told
by a descriptor of its own (pidfd_open(2)), open before its command line was read for the last
time: no other process can be meant. Prints a line for each; exit status 1 if one does not end.
"""

import os
import select
import signal
import sys
import time

_SECONDS = 60.0  # for all of them
_COMMAND = 4  # index in a run's command line: PREFIX/VERSION/bin/python3 -I -c CODE cleanup …


def is_run(pid: int, prefix: str) -> bool:
    """Tell whether it is root's cleanup of a version below *prefix*; raises OSError."""
    if os.stat(f"/proc/{pid}").st_uid != 0:
        return False
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = os.fsdecode(file.read()).split("\0")
    launched = words[0].startswith(prefix + "/") and words[1:3] == ["-I", "-c"]
    return launched and words[_COMMAND : _COMMAND + 1] == ["cleanup"]


def tell(prefix: str) -> "dict[int, int]":
    """Send SIGTERM to each run; return their descriptors and pids. Raises OSError."""
    told = {}
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            if not is_run(pid, prefix):
                continue
            fd = os.pidfd_open(pid)
            if is_run(pid, prefix):  # still, and from now on it can be nobody else
                signal.pidfd_send_signal(fd, signal.SIGTERM)
                told[fd] = pid
            else:
                os.close(fd)
        except (FileNotFoundError, ProcessLookupError):  # it has gone
            continue
    return told


def main() -> int:
    """Tell them, and wait until they have ended."""
    try:
        left = tell(os.path.realpath(sys.argv[1]))
    except (OSError, AttributeError) as error:  # of the kernel, or of how Python was built
        why = getattr(error, "strerror", None) or error
        print(f"a run of cleanup cannot be ended ({why}): try again after it", file=sys.stderr)
        return 1
    for pid in left.values():
        print(f"pid {pid} was told to end")
    end = time.monotonic() + _SECONDS
    while left and time.monotonic() < end:
        for fd in select.select(list(left), (), (), max(0.0, end - time.monotonic()))[0]:
            del left[fd]
    for pid in left.values():
        print(f"pid {pid} is a run of cleanup that does not end", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
