"""What stands between this machine and a run of cleanup: mail, store, schedule, earlier runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from vscadmin.cleanup.lock import OFTEN, turned_away
from vscadmin.cleanup.records import Run
from vscadmin.cli.checks import Check, Grade
from vscadmin.cli.past import stored
from vscadmin.deadline import within
from vscadmin.errors import (
    ConfigError,
    Exit,
    NotPermittedError,
    StoreError,
    StoreFailedError,
)
from vscadmin.policy.settings import Mode, Notify, Policy
from vscadmin.procs.machine import Mount, mounts
from vscadmin.trust import doubts
from vscadmin.units import HOUR, counted, format_duration, format_moment, format_size

CRON = "/etc/cron.d/vscadmin-cleanup"
TIMER = "vscadmin-cleanup.timer"
UNITS = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system")
_PATIENCE = 3.0  # seconds for a mail server, a file system, systemctl
_OLD = HOUR  # of the last completed run: five more were due since
_VOLATILE = frozenset({"tmpfs", "ramfs"})
_NETWORK = frozenset(
    {
        "nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "afs", "9p",
        "glusterfs", "pvfs2", "wekafs", "panfs", "gfs2", "ocfs2", "virtiofs",
        "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.juicefs",
    }
)  # fmt: skip


class _Past(NamedTuple):
    """What the store tells of earlier runs; *size* in bytes."""

    size: int
    last: Run | None


def checks(policy: Policy) -> Iterator[Check]:
    """Yield the checks in the order of a run."""
    if policy.mode is Mode.OBSERVE:
        yield Check("mail", Grade.OK, "not used in mode observe")
    else:
        yield _mail(policy.notify) or _transport(policy.notify)
        yield from _templates(policy)
    yield _disk(policy.store.path)
    yield from _store(policy)
    yield _schedule(policy.mode)


def _mail(notify: Notify) -> Check | None:
    """Say what is wrong with the headers and with sendmail's rights."""
    from vscadmin.cleanup.mail import Mailer  # noqa: PLC0415 - not in mode observe

    try:
        within(_PATIENCE, lambda: Mailer(notify, os.uname().nodename))
    except ConfigError as error:
        return Check("mail", Grade.FAIL, "; ".join(error.problems), error.exit_code)
    except TimeoutError as error:
        return Check("mail", Grade.WARN, f"{notify.sendmail}: {error}")
    return None


def _transport(notify: Notify) -> Check:
    """Say whether a letter would find its way out; nothing is sent."""
    if notify.sendmail is not None:
        if os.access(notify.sendmail, os.X_OK):
            return Check("mail", Grade.OK, f"{notify.sendmail} can be run")
        return Check("mail", Grade.WARN, f"{notify.sendmail}: cannot be run: nobody would be told")
    server = notify.smtp or ""
    try:
        within(_PATIENCE, lambda: _greet(server))
    except OSError as error:  # those of smtplib and time-outs among them
        words = f"{server}: {_said(error)}: nobody would be told, and so nobody's servers ended"
        return Check("mail", Grade.WARN, words)
    return Check("mail", Grade.OK, f"{server} answers")


def _said(error: OSError) -> str:
    """Return what a mail server answered, or why it did not."""
    code, reply = getattr(error, "smtp_code", None), getattr(error, "smtp_error", b"")
    if code is None:
        return error.strerror or str(error)
    text = reply.decode("utf-8", "backslashreplace") if isinstance(reply, bytes) else reply
    return f"{code} {text}"


def _greet(server: str) -> None:
    import smtplib  # noqa: PLC0415 - not in mode observe

    from vscadmin.cleanup.letters import mail_host  # noqa: PLC0415

    name, _, port = server.rpartition(":")
    host = mail_host(os.uname().nodename)
    smtp = smtplib.SMTP(local_hostname=host, timeout=_PATIENCE)
    try:
        code, reply = smtp.connect(name.strip("[]"), int(port))
        if code == 220:
            code, reply = smtp.ehlo()
        if code != 250:
            raise smtplib.SMTPConnectError(code, reply)
        smtp.quit()
    finally:
        smtp.close()


def _templates(policy: Policy) -> list[Check]:
    from vscadmin.cleanup.samples import load_templates  # noqa: PLC0415 - jinja

    where = policy.notify.templates or "those of vscadmin"
    try:
        within(_PATIENCE, lambda: load_templates(policy))
    except ConfigError as error:
        code = error.exit_code
        return [Check("templates", Grade.FAIL, problem, code) for problem in error.problems]
    except TimeoutError as error:
        return [Check("templates", Grade.WARN, f"{where}: {error}")]
    return [Check("templates", Grade.OK, f"{where} can be filled in")]


def _disk(path: str) -> Check:
    """Say whether the store lies where it stays, and where locks are locks."""
    try:
        real = within(_PATIENCE, lambda: os.path.realpath(path))
    except TimeoutError as error:
        return Check("store disk", Grade.WARN, f"{path}: {error}")
    kind = kind_of(real, mounts())
    if kind in _VOLATILE:
        return Check("store disk", Grade.WARN, f"{path}: is on {kind}: a reboot forgets all of it")
    if kind in _NETWORK:
        words = f"{path}: is on {kind}, a network file system: each node needs one of its own"
        return Check("store disk", Grade.WARN, words)
    return Check("store disk", Grade.OK, f"on {kind}")


def kind_of(path: str, seen: Iterable[Mount]) -> str:
    """Return the kind of the file system that *path*, without links, is on."""
    kinds = {_unescaped(each.point): each.kind for each in seen}  # a later mount hides an earlier
    while path not in kinds and path != "/":
        path = os.path.dirname(path)
    return kinds.get(path, "a file system that is not known")


def _unescaped(point: str) -> str:
    """Return a mount point as it is: the kernel writes blanks and the like as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point)


def _store(policy: Policy) -> Iterator[Check]:
    path = policy.store.path
    try:
        past = within(_PATIENCE, lambda: _past(path))
    except (NotPermittedError, StoreFailedError, TimeoutError) as error:
        yield Check("store", Grade.WARN, str(error))
        return
    except StoreError as error:
        yield Check("store", Grade.FAIL, str(error), Exit.BAD_CONFIGURATION)
        return
    if past is None:
        yield Check("store", Grade.OK, f"{path}: none yet, the first run of cleanup makes it")
    else:
        yield Check("store", Grade.OK, f"{path}: {format_size(past.size)}")
    yield _last_run(past.last if past else None, policy.mode)
    yield _turned_away(path)


def _past(path: str) -> _Past | None:
    with stored(path) as store:
        if store is None:
            return None
        return _Past(os.path.getsize(path), store.last_completed_run())


def _last_run(last: Run | None, mode: Mode) -> Check:
    if last is None:
        grade = Grade.OK if mode is Mode.OBSERVE else Grade.WARN
        return Check("last run", grade, "no run of cleanup has come to its end yet")
    ended = last.started_at if last.finished_at is None else last.finished_at
    age = time.time() - ended
    words = f"{format_moment(ended)}, {format_duration(age)} ago: {last.outcome}"
    is_late = age > _OLD and mode is not Mode.OBSERVE
    return Check("last run", Grade.WARN if is_late else Grade.OK, words)


def _turned_away(path: str) -> Check:
    count = turned_away(path)
    words = f"{counted(count, 'run')} found another one running since the last success"
    return Check("lock", Grade.WARN if count >= OFTEN else Grade.OK, words)


def _schedule(mode: Mode) -> Check:
    """Say who starts cleanup: cron or systemd, and not both."""
    has_cron, has_timer = os.path.lexists(CRON), _has_timer()
    if has_cron and has_timer:
        words = f"both {CRON} and {TIMER}: one of them is enough"
        return Check("schedule", Grade.WARN, words)
    if has_cron:
        if found := _lax(CRON):
            return Check("schedule", Grade.WARN, f"{found}: cron passes over such a file")
        return Check("schedule", Grade.OK, CRON)
    if has_timer:
        return Check("schedule", Grade.OK, f"{TIMER} is enabled")
    grade = Grade.OK if mode is Mode.OBSERVE else Grade.WARN
    return Check("schedule", grade, f"neither {CRON} nor {TIMER}: nothing starts cleanup here")


def _lax(path: str) -> str:
    try:
        return "; ".join(doubts(path))
    except ConfigError as error:
        return str(error)


def _has_timer() -> bool:
    """Whether systemd starts the timer: by its link, or else as systemctl says."""
    wants = (os.path.join(folder, "timers.target.wants", TIMER) for folder in UNITS)
    if any(map(os.path.lexists, wants)):
        return True
    systemctl = shutil.which("systemctl", path="/usr/bin:/bin")
    if systemctl is None:
        return False
    return _succeeds([systemctl, "is-enabled", "--quiet", TIMER])


def _succeeds(argv: list[str]) -> bool:
    try:
        done = subprocess.run(argv, capture_output=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
