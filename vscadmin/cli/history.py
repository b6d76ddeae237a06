"""`vscadmin history`: what the runs of cleanup did, as the store remembers it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple

import click

from vscadmin.cleanup.records import Delivery, Notice, Outcome, Result, Run, Termination
from vscadmin.cli import as_json as js
from vscadmin.cli import options, past
from vscadmin.cli.survey import load_policy
from vscadmin.escape import printable
from vscadmin.units import counted, format_moment, format_size


class _Past(NamedTuple):
    """What was stored, the oldest first."""

    runs: tuple[Run, ...] = ()
    notices: tuple[Notice, ...] = ()
    terminations: tuple[Termination, ...] = ()


@click.command("history")
@options.stored_policy
@options.past_user
@options.since
@options.as_json
def command(policy_path: str | None, user: str | None, since: int | None, as_json: bool) -> int:
    """Show what cleanup did: runs, notices and terminations, the newest last.

    One line each, with what was spared, refused or failed; runs in a row that had nothing
    to do are one line. Root, or whoever may read the store.
    """
    path = load_policy(policy_path).policy.store.path
    begin = past.since_of(since)
    with past.stored(path) as store:
        known = store is not None
        found = _Past()
        if store is not None:
            runs = store.runs(begin) if user is None else ()
            told, ended = store.notices(user, begin), store.terminations(user, begin)
            found = _Past(runs, told[::-1], ended[::-1])
    if as_json:
        js.emit("history", {"store": path if known else None, **_facts(found)})
    elif known:
        for line in _lines(found):
            click.echo(line)
    else:
        past.nothing_stored(path)
    return 0


def _facts(found: _Past) -> dict[str, object]:
    return {
        "runs": [past.run_facts(each) for each in found.runs],
        "notices": [past.notice_facts(each) for each in found.notices],
        "terminations": [past.termination_facts(each) for each in found.terminations],
    }


def _lines(found: _Past) -> Iterator[str]:
    """Yield a line for each record in the order of time, then a sum."""
    dated: list[tuple[float, str]] = []
    dated += [(each.created_at, _of_tree(each, past.notice_words(each))) for each in found.notices]
    dated += [
        (each.started_at, _of_tree(each, past.termination_words(each)))
        for each in found.terminations
    ]
    moments = sorted(at for at, _ in dated)
    dated += _run_lines(found.runs, moments)
    for at, words in sorted(dated, key=itemgetter(0)):
        yield f"{format_moment(at)}  {words}"
    yield _sum(found)


def _of_tree(record: Notice | Termination, words: str) -> str:
    kind = "notice" if isinstance(record, Notice) else "end"
    whose = f"{printable(record.user)} pid {record.identity.pid} ({printable(record.product)})"
    return f"{kind:7} {whose}, {printable(record.rule)}: {words}"


def _run_lines(runs: Iterable[Run], moments: list[float]) -> Iterator[tuple[float, str]]:
    """Yield the runs; those in a row that ended alike, and between which nothing was, as one."""
    row: list[Run] = []
    for run in runs:
        if row and not (_is_quiet(row[-1], run) and not _any(moments, row[0], run)):
            yield _row_line(row)
            row = []
        row.append(run)
    if row:
        yield _row_line(row)


def _is_quiet(before: Run, run: Run) -> bool:
    is_same = (before.mode, before.outcome) == (run.mode, run.outcome)
    return is_same and run.outcome is Outcome.DONE and not (before.words or run.words)


def _any(moments: list[float], first: Run, last: Run) -> bool:
    """Whether anything was done from the first of a row to the end of its last."""
    end = last.started_at if last.finished_at is None else last.finished_at
    return any(first.started_at <= at <= end for at in moments)


def _row_line(row: list[Run]) -> tuple[float, str]:
    words = past.run_words(row[-1])
    if len(row) > 1:
        words = f"{len(row)} runs until {format_moment(row[-1].started_at)}, {words}"
    return row[0].started_at, f"{'run':7} {words}"


def _sum(found: _Past) -> str:
    """Say in one line what all of it comes to."""
    if not any(found):
        return "Nothing stored of that."
    failed = sum(each.delivery is Delivery.FAILED for each in found.notices)
    ended = [each for each in found.terminations if each.result is Result.ENDED]
    spared = sum(each.result is Result.SPARED for each in found.terminations)
    refused = sum(each.outcome is Outcome.REFUSED for each in found.runs)
    memory = format_size(sum(each.rss for each in ended))
    return (
        f"{counted(len(found.runs), 'run')} ({refused} refused), "
        f"{counted(len(found.notices), 'notice')} ({failed} failed), "
        f"{counted(len(ended), 'server')} ended ({spared} spared), {memory} given back."
    )
