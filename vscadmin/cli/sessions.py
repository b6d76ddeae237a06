"""`vscadmin sessions`: who works in a job through vscode-shell-proxy, where and how long still."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Sequence
from typing import Any

import click

from vscadmin.cli import as_json as js
from vscadmin.cli import options
from vscadmin.cli.session_list import Session, sessions
from vscadmin.errors import Exit, UsageError
from vscadmin.escape import printable
from vscadmin.proxy.statuses import statuses
from vscadmin.slurm.installed import scheduler
from vscadmin.slurm.job import Job
from vscadmin.slurm.scheduler import SchedulerError
from vscadmin.slurm.wording import span
from vscadmin.units import counted, format_duration, format_size


@click.command("sessions")
@click.option("--all", "everybody", is_flag=True, help="Everybody's; for root that is the default.")
@click.option("--user", metavar="NAME", help="Only this user's.")
@options.as_json
@options.wide
def command(everybody: bool, user: str | None, as_json: bool, wide: bool) -> int:
    """Show the running sessions of vscode-shell-proxy.

    On which node, in which job, how long it may run still, how much went through it and how
    long ago. Slurm is asked for the jobs, so sessions of all login nodes are there; bytes and
    idle time are known of this one's.
    """
    if everybody and user is not None:
        raise UsageError("--all: does not go with --user")
    uid = _whose(everybody=everybody, user=user)
    problem, jobs = _jobs(uid)
    found = sessions(jobs, statuses(uid), os.uname().nodename)
    if as_json:
        js.emit("sessions", {"complete": not problem, "sessions": [_facts(each) for each in found]})
    else:
        _show(found, wide=wide)
    if problem:
        click.echo(f"vscadmin: {problem}: only sessions of this node are shown", err=True)
    return Exit.INCOMPLETE if problem else Exit.DONE


def _whose(*, everybody: bool, user: str | None) -> int | None:
    """Return the uid whose sessions are wanted, None: everybody's."""
    if user is None:
        return None if everybody or os.geteuid() == 0 else os.geteuid()
    try:
        return pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError):
        raise UsageError(f'"{printable(user)}" is no user of this machine') from None


def _jobs(uid: int | None) -> tuple[str, tuple[Job, ...]]:
    """Return what went wrong, if anything, and the jobs."""
    try:
        return "", scheduler().jobs(uid)
    except SchedulerError as error:
        return str(error), ()


def _owner(session: Session) -> str:
    """Return the owner's name as Slurm or this machine knows it, else the uid."""
    if session.job is not None:
        return session.job.user
    try:
        return pwd.getpwuid(session.uid).pw_name
    except KeyError:
        return str(session.uid)


def _facts(session: Session) -> dict[str, Any]:
    job, status, now = session.job, session.status, time.time()
    return {
        "session": session.session,
        "uid": session.uid,
        "user": printable(_owner(session)),
        "login_node": session.login_node,
        "pid": session.pid,
        "job": session.job_id,
        "state": session.state,
        "reason": printable(job.reason) if job else None,
        "partition": job.partition if job else None,
        "node": session.node,
        "started": js.moment(status.started) if status else None,
        "job_ends": js.moment(job.end) if job else None,
        "time_left_seconds": job.time_left(now) if job else None,
        "connections": status.connections if status else None,
        "bytes": status.carried if status else None,
        "idle_seconds": session.idle(now),
    }


def _show(found: Sequence[Session], *, wide: bool) -> None:
    """Print a line a session, and how many there are."""
    if not found:
        click.echo("No running session.")
        return
    from rich.table import Table  # noqa: PLC0415 - for people only
    from rich.text import Text  # noqa: PLC0415

    from vscadmin.cli.render import console  # noqa: PLC0415

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for name in ("USER", "SESSION", "LOGIN", "JOB", "STATE", "NODE", "LEFT", "BYTES", "IDLE"):
        is_number = name in ("JOB", "LEFT", "BYTES", "IDLE")
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for each in found:
        table.add_row(*(Text(printable(cell)) for cell in _cells(each, time.time())))
    console(wide=wide).print(table)
    click.echo(counted(len(found), "session"))


def _cells(session: Session, now: float) -> list[str]:
    left = session.job.time_left(now) if session.job else None
    idle, status = session.idle(now), session.status
    return [
        _owner(session),
        session.session or "-",
        session.login_node or "-",
        str(session.job_id or "-"),
        session.state.lower(),
        session.node or "-",
        "-" if left is None else span(left),
        "-" if status is None else format_size(status.carried),
        "-" if idle is None else format_duration(idle),
    ]
