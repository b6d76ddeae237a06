"""A session's status file: what `vscadmin sessions` shows of it beside what Slurm knows.

One small JSON file a session, in a directory that is its user's alone. It is named after the
process that writes it, PID-START_TICKS, so that one whose process is gone is known by its name.
"""

from __future__ import annotations

import contextlib
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "vscode-shell-proxy"
RUNTIME = "/run/user/{uid}"  # what pam_systemd sets XDG_RUNTIME_DIR to
IN_RUNTIME = RUNTIME + "/" + NAME
IN_TMP = "/tmp/" + NAME + "-{uid}"  # noqa: S108 - made 0700, and never used unless it is ours


def directory(environ: Mapping[str, str], uid: int) -> str:
    """Return where the status files of *uid* go.

    In XDG_RUNTIME_DIR where that is the place that root looks in as well, else in /tmp.
    """
    runtime = RUNTIME.format(uid=uid)
    if environ.get("XDG_RUNTIME_DIR") == runtime and _is_private(runtime, uid):
        return IN_RUNTIME.format(uid=uid)
    return IN_TMP.format(uid=uid)


def start_ticks(pid: int) -> int:
    """Return when a process started, in clock ticks since boot (proc(5), field 22); 0: gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return 0


class StatusFile:
    """The status file of this process; nothing of it is there before the first `write`."""

    def __init__(self, where: str | None, session: str) -> None:
        """Choose the place; *where* None: the one that `directory` says."""
        self._directory = where or directory(os.environ, os.getuid())
        self._pid = os.getpid()
        self._start_ticks = start_ticks(self._pid)
        self._name = f"{self._pid}-{self._start_ticks}"
        self.path = os.path.join(self._directory, self._name)
        self._session = session
        self._has_swept = False

    def write(self, fields: Mapping[str, int | str]) -> bool:
        """Replace the file; the session's id and the process's identity are added to *fields*.

        False where it could not be done, as on a full disk or where somebody else has made our
        directory in /tmp: the session goes on, and others see less of it.
        """
        known: dict[str, int | str] = {
            "session": self._session,
            "pid": self._pid,
            "start_ticks": self._start_ticks,
        }
        try:
            place = self._open()
        except OSError:
            return False
        try:
            _replace(place, self._name, _as_json({**known, **fields}))
        except OSError:
            return False
        finally:
            os.close(place)
        return True

    def remove(self) -> None:
        """Take the file away, and the directory after the last one."""
        try:
            os.unlink(self.path)
            os.rmdir(self._directory)
        except OSError:
            return  # never written, or another session's is there

    def _open(self) -> int:
        """Open our directory, made if it is missing; raises OSError where it is not ours alone."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._directory, 0o700)
        place = open_private(self._directory, os.getuid())
        if not self._has_swept:
            self._has_swept = True
            _sweep(place)
        return place


def _replace(place: int, name: str, data: bytes) -> None:
    """Write a new file and rename it: whoever reads sees one state or the other."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    file = os.open(f".{name}", flags, 0o600, dir_fd=place)
    try:
        os.write(file, data)  # far below what a file system cuts in two
        os.rename(f".{name}", name, src_dir_fd=place, dst_dir_fd=place)
    except OSError:
        os.unlink(f".{name}", dir_fd=place)
        raise
    finally:
        os.close(file)


def _sweep(place: int) -> None:
    """Remove what sessions left that were killed before they could do it."""
    for name in os.listdir(place):
        pid, dash, ticks = name.removeprefix(".").partition("-")
        if dash and pid.isdigit() and ticks != str(start_ticks(int(pid))):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=place)


def _as_json(fields: Mapping[str, int | str]) -> bytes:
    """Write a flat object; json itself would cost every session 3 ms before its first byte."""
    values = (
        str(each) if isinstance(each, int) else f'"{_plain(each)}"' for each in fields.values()
    )
    members = (f'"{name}": {value}' for name, value in zip(fields, values, strict=True))
    return f"{{{', '.join(members)}}}\n".encode()


def _plain(text: str) -> str:
    """Return a name (of a node, of a session) with nothing in it that JSON would have escaped."""
    is_plain = (each.isascii() and each.isprintable() and each not in '"\\' for each in text)
    return "".join(each if good else "?" for each, good in zip(text, is_plain, strict=True))


def open_private(path: str, uid: int) -> int:
    """Open a directory that only *uid* can use, and return its descriptor.

    Raises OSError where there is none, it is a link, somebody else's, or open to others.
    """
    place = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not _is_ours(os.fstat(place), uid):
        os.close(place)
        raise PermissionError(f"{path}: is not a directory of uid {uid} alone")
    return place


def _is_private(path: str, uid: int) -> bool:
    try:
        return _is_ours(os.lstat(path), uid)
    except OSError:
        return False


def _is_ours(status: os.stat_result, uid: int) -> bool:
    is_private = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
    return is_private and status.st_uid == uid
