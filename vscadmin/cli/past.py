"""What the store remembers: how verbs open it, and its records as words and as JSON."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from vscadmin.cleanup.records import Delivery, Identity, Notice, Result, Run, Termination
from vscadmin.cli.as_json import moment
from vscadmin.errors import NotPermittedError
from vscadmin.escape import printable
from vscadmin.units import format_moment, format_size

if TYPE_CHECKING:
    from vscadmin.cleanup.store_read import Reader

_WORDS = 200  # characters of what went wrong that a line shows
_UNFINISHED = {
    Delivery.SENDING: "sending (cut short, or going on: it may have arrived)",
    Result.STARTED: "started (cut short, or going on)",
    Result.CUT_SHORT: "cut short: it is judged anew",
}


@contextmanager
def stored(path: str) -> Iterator[Reader | None]:
    """Open the store at *path*; None where nothing was stored yet.

    Raises NotPermittedError where there is one that we may not read, and StoreError.
    """
    if not _exists(path):
        yield None
        return
    from vscadmin.cleanup.store_read import Reader  # noqa: PLC0415 - sqlite3, where there is one

    if (store := Reader.open(path)) is None:
        raise _refused(path)
    with store:
        yield store


def _exists(path: str) -> bool:
    try:
        os.lstat(path)
    except PermissionError:
        raise _refused(path) from None
    except OSError:
        return False
    return True


def _refused(path: str) -> NotPermittedError:
    return NotPermittedError(f"{path}: may be read by root only")


def nothing_stored(path: str) -> None:
    """Say that there is no store yet."""
    click.echo(f"Nothing stored yet: {path} is made by the first run of vscadmin cleanup.")


def since_of(seconds: int | None) -> float:
    """Return the moment so many seconds ago; None: since ever."""
    return 0.0 if seconds is None else time.time() - seconds


def run_words(run: Run) -> str:
    """Say how a run ended."""
    said = str(run.outcome) if run.outcome != "running" else "running, or cut short"
    return _with(f"mode {run.mode}: {said}", "; ".join(run.words))


def notice_words(notice: Notice) -> str:
    """Say what became of a notice."""
    said = _UNFINISHED.get(notice.delivery, str(notice.delivery))
    if notice.not_before is not None and notice.delivery is not Delivery.FAILED:
        said += f", end not before {format_moment(notice.not_before)}"
    return _with(said, notice.error)


def termination_words(termination: Termination) -> str:
    """Say what became of a termination."""
    said = _UNFINISHED.get(termination.result, str(termination.result))
    if termination.result is Result.ENDED:
        said += f", {format_size(termination.rss)} given back"
    if termination.survivors:
        said += f" ({termination.survivors})"
    return _with(said, "; ".join(termination.words))


def _with(said: str, words: str) -> str:
    return f"{said}: {printable(words, _WORDS)}" if words else said


def run_facts(run: Run) -> dict[str, Any]:
    """Return a run for JSON."""
    return {
        "run_id": run.run_id,
        "host": run.host,
        "started": moment(run.started_at),
        "finished": moment(run.finished_at),
        "mode": run.mode,
        "policy_sha256": run.policy_digest or None,
        "outcome": str(run.outcome),
        "plan": run.plan_hash or None,
        "words": [printable(each) for each in run.words],
    }


def notice_facts(notice: Notice) -> dict[str, Any]:
    """Return a notice for JSON."""
    return tree_facts(notice.identity) | {
        "user": printable(notice.user),
        "product": notice.product,
        "rule": notice.rule,
        "action": str(notice.action),
        "address": printable(notice.address),
        "created": moment(notice.created_at),
        "delivery": str(notice.delivery),
        "delivered": moment(notice.delivered_at),
        "not_before": moment(notice.not_before),
        "error": printable(notice.error) or None,
    }


def termination_facts(termination: Termination) -> dict[str, Any]:
    """Return a termination for JSON."""
    return tree_facts(termination.identity) | {
        "user": printable(termination.user),
        "product": termination.product,
        "rule": termination.rule,
        "started": moment(termination.started_at),
        "finished": moment(termination.finished_at),
        "result": str(termination.result),
        "rss_bytes": termination.rss,
        "survivors": termination.survivors,
        "words": [printable(each) for each in termination.words],
    }


def tree_facts(identity: Identity) -> dict[str, Any]:
    """Return which server a record is about."""
    return {
        "boot_id": identity.boot_id,
        "pid": identity.pid,
        "start_ticks": identity.start_ticks,
    }
