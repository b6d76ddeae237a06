"""`--html FILE`: a report as one self-contained page, and the trend that a store gives it."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from vscadmin.cli.survey import Survey
from vscadmin.errors import StoreError, UsageError
from vscadmin.escape import command_line
from vscadmin.model import ProcessKey
from vscadmin.page.facts import End, Node, Page, Sample, Server, Trend
from vscadmin.policy.decide import Decision, Plan
from vscadmin.policy.settings import Mode, Policy

_SAMPLES = 240  # points of a line: more than one in three units of the chart shows nothing new
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def page_of(
    found: Survey, plan: Plan, cpu: Mapping[ProcessKey, float], words: tuple[str, ...]
) -> Page:
    """Return the page of this node: what *plan* shows, and *words* of what is due now."""
    host, now = os.uname().nodename, found.snapshot.taken_at
    trend, problem = trend_of(found.loaded.policy, host, now)
    node = Node(
        name=host,
        seen_at=now,
        processes=len(found.snapshot.processes),
        policy=found.loaded.source,
        mode=str(found.loaded.policy.mode),
        problem="something could not be read" if found.is_partial else "",
    )
    return Page(
        title=f"Remote-editor servers of {host}",
        made_at=now,
        nodes=(node,),
        servers=tuple(_server(each, host, now, cpu) for each in plan),
        trends=(trend,) if trend else (),
        notes=(*_notes(found), *words, *((problem,) if problem else ())),
    )


def _server(decision: Decision, host: str, now: float, cpu: Mapping[ProcessKey, float]) -> Server:
    from vscadmin.cli.render import next_words  # noqa: PLC0415 - rich, for people only

    tree = decision.tree
    return Server(
        node=host,
        user=str(decision.owner),
        pid=tree.root.pid,
        product=tree.product,
        state=str(decision.verdict.state),
        since=decision.verdict.since,
        started_at=tree.started_at,
        orphan=tree.orphan,
        processes=len(tree.members),
        rss=tree.rss,
        cpu_percent=cpu.get(tree.key),
        rule=decision.rule or "",
        next=next_words(decision, now),
        command=command_line(tree.root.argv),
    )


def _notes(found: Survey) -> Iterator[str]:
    if found.loaded.policy.mode is Mode.OBSERVE:
        yield "Next is the earliest and what the rule asks for; in mode observe nothing is done."
    if found.is_partial:
        yield "Something could not be read: what depends on it is unknown."


def trend_of(policy: Policy, host: str, now: float) -> tuple[Trend | None, str]:
    """Return what the store remembers of this node, and why there is nothing.

    None without words: there is no store, or none for us.
    """
    from vscadmin.cleanup.regret import regretted  # noqa: PLC0415 - sqlite3, where there is a store
    from vscadmin.cleanup.store_trend import TrendReader  # noqa: PLC0415

    span = float(policy.store.history)
    begin, every = now - span, span / _SAMPLES
    try:
        if (store := TrendReader.open(policy.store.path)) is None:
            return None, ""
        with store:
            sizes = store.sizes(begin, every)
            ended = [each for each in store.terminations(since=begin) if each.result == "ended"]
            back = set(regretted(store, ended))
    except StoreError as error:
        return None, str(error)
    ends = (End(each.started_at, each.rss, each in back) for each in reversed(ended))
    samples = (Sample(*size) for size in sizes)
    first = min([now, *(each.at for each in sizes), *(each.started_at for each in ended)])
    return Trend(host, first, now, every, tuple(samples), tuple(ends)), ""


def write_page(page: Page, path: str) -> None:
    """Write *page* to the file *path*: whoever reads it sees the old one or the new one, whole.

    Mode 0600: it shows what other people run. An old file is replaced, whatever its mode was.
    Raises UsageError where that is not possible, a symbolic link or a device among it.
    """
    from vscadmin.page.render import render  # noqa: PLC0415 - jinja2, for pages only

    text = render(page).encode("utf-8", "backslashreplace")
    try:
        _replace(path, text)
    except OSError as error:
        raise UsageError(f"--html: {path}: {error.strerror}") from error


def _replace(path: str, text: bytes) -> None:
    """Make a new file beside *path* and rename it there; its name is a secret until then."""
    name = os.path.basename(path)
    new = f".{name[:200]}.{secrets.token_hex(8)}"
    with _directory(os.path.dirname(path) or ".") as place:
        _check_old(path, name, place)
        try:
            with open(os.open(new, _NEW, 0o600, dir_fd=place), "wb") as file:
                os.fchmod(file.fileno(), 0o600)  # whatever the umask
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.rename(new, name, src_dir_fd=place, dst_dir_fd=place)
        except BaseException:
            with suppress(OSError):
                os.unlink(new, dir_fd=place)
            raise


@contextmanager
def _directory(path: str) -> Iterator[int]:
    place = os.open(path, _DIRECTORY)
    try:
        yield place
    finally:
        os.close(place)


def _check_old(path: str, name: str, place: int) -> None:
    """Refuse to put a page in the place of anything but a file: as root it could be /dev/null."""
    try:
        status = os.stat(name, dir_fd=place, follow_symlinks=False)
    except FileNotFoundError:
        if not name:
            raise UsageError(f"--html: {path}: is a directory, no file") from None
        return
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"--html: {path}: is there and is no regular file")
