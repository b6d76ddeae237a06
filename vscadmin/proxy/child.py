"""Processes that a session starts: the launcher, short questions to Slurm, and the guardian."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from vscadmin.proxy.descriptors import restore_file_limit
from vscadmin.proxy.signals import restore

_PR_SET_PDEATHSIG = 1  # prctl(2)

# Tidies up when we have gone, however that was: what there is to do it reads from us, until the
# pipe ends. A job that has ended is cancelled in vain, and scancel says so by 0; it fails where
# slurmctld is away, and is told again, for an hour: docs/adr/0009.
_GUARDIAN = """
job=
while read -r what value; do
  case $what in job) job=$value ;; file) set -- "$@" "$value" ;; esac
done
for file; do rm -f "$file"; rmdir "${file%/*}"; done
[ -n "$job" ] || exit
tries=240 pause=1
until scancel --quiet "$job" || [ $((tries -= 1)) -eq 0 ]; do
  sleep $pause
  [ $pause -ge 15 ] || pause=$((pause * 2))
done
"""


class Children:
    """Who of our children ended is asked at SIGCHLD; each one's *ended* gets its wait status."""

    def __init__(self) -> None:
        self._ended: dict[int, Callable[[int], None]] = {}

    def add(self, pid: int, ended: Callable[[int], None]) -> None:
        """Call *ended* once when *pid* ended."""
        self._ended[pid] = ended

    def reap(self, _number: int = signal.SIGCHLD) -> None:
        """Take note of those that ended."""
        for pid in list(self._ended):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self._ended.pop(pid)(status)


def spawn(
    argv: Sequence[str],
    environment: Mapping[str, str],
    stdio: tuple[int, int, int],
    *,
    is_tied: bool = False,
    limits: tuple[int, int] | None = None,
    waits: bool = True,
) -> int:
    """Start a process in a session of its own and return its pid.

    *is_tied*: it gets SIGTERM when we die, whatever we die of; *limits* are its RLIMIT_NOFILE.
    Raises OSError where it cannot be started. Without *waits* that is its status 127 where it is
    the program that cannot be: the file system it lies on may hang.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        os.close(reader)
        os.close(writer)
        raise
    if not pid:
        os.close(reader)
        try:
            restore()
            os.setsid()
            _place(stdio)
            if limits is not None:
                restore_file_limit(limits)
            if is_tied:
                _tie(parent)
            os.execvpe(argv[0], list(argv), dict(environment))  # noqa: S606 - no shell is needed
        except Exception as error:  # such as an ImportError of _tie's
            if waits:
                os.write(writer, _failure(error))
        finally:
            os._exit(127)
    os.close(writer)
    if not waits:
        os.close(reader)
        return pid
    with os.fdopen(reader, "rb") as result:
        failure = result.read()
    if failure:
        os.waitpid(pid, 0)
        number, _, reason = failure.decode("utf-8", "replace").partition(" ")
        raise OSError(int(number), reason, argv[0] if int(number) else None)
    return pid


def _failure(error: Exception) -> bytes:
    """Return an error number, 0 where there is none, and the words for it."""
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.errno} {error.strerror}".encode()
    return f"0 {type(error).__name__}: {error}".encode("utf-8", "backslashreplace")


def _place(stdio: tuple[int, int, int]) -> None:
    """Make *stdio* descriptors 0, 1 and 2, whichever numbers they have now."""
    high = [os.dup(fd) for fd in stdio]
    for number, fd in enumerate(high):
        os.dup2(fd, number)


def _tie(parent: int) -> None:
    """Get SIGTERM when the parent dies; a program that changes its uid unties itself."""
    import ctypes  # noqa: PLC0415 - only in the child: the session has no use for it

    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before that
        os.kill(os.getpid(), signal.SIGTERM)


class Guardian:
    """A shell that outlives us only to tidy up: SIGKILL leaves us no time to, nor Slurm's delay.

    Where it cannot be started there is none, and nothing is lost but this.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        reader, self._writer = os.pipe2(os.O_CLOEXEC)
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            with suppress(OSError):  # no /bin/sh, or no room for a process
                spawn(["/bin/sh", "-c", _GUARDIAN], environment, (reader, null, null))
        finally:
            os.close(reader)
            os.close(null)

    def cancel(self, job: int) -> None:
        """Have it cancel our job."""
        self._tell(b"job %d" % job)

    def remove(self, path: bytes) -> None:
        """Have it remove a file, and its directory if nothing else is in there."""
        self._tell(b"file " + path)

    def _tell(self, line: bytes) -> None:
        with suppress(OSError):  # it was killed itself
            os.write(self._writer, line + b"\n")


def words(error: OSError) -> str:
    """Say why a program could not be started."""
    if error.errno == errno.EAGAIN:
        return "you have too many processes on this node (ulimit -u)"
    if error.errno == errno.ENOENT:
        return f"{error.filename}: there is no such command on PATH"
    return ": ".join(each for each in (error.filename, error.strerror) if each)
