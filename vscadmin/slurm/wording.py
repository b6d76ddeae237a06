"""What a user is told about a job: times, states and ends in words, one line each."""

from __future__ import annotations

from datetime import datetime

MINUTE, HOUR, DAY = 60, 3600, 86400
_A_WEEK = 6 * DAY  # within it the name of the day says which

_STATES = {
    "CONFIGURING": "has got {node}, being made ready",
    "SUSPENDED": "is suspended by Slurm: nothing moves in it until it goes on",
    "STOPPED": "is stopped by Slurm: nothing moves in it until it goes on",
}
_ENDS = {
    "BOOT_FAIL": "failed: its node could not be booted",
    "CANCELLED": "was cancelled",
    "COMPLETED": "has ended",
    "DEADLINE": "was ended by Slurm: its deadline came",
    "FAILED": "failed",
    "NODE_FAIL": "was ended by Slurm: its node failed",
    "OUT_OF_MEMORY": "was ended by Slurm: it used more memory than it had asked for",
    "PREEMPTED": "was ended by Slurm: it had to make room for a job that goes first",
    "REVOKED": "was taken over by another cluster of the federation",
    "TIMEOUT": "was ended by Slurm: its time was over",
}
_EVIDENCE = {"TimeLimit": "TIMEOUT", "NodeDown": "NODE_FAIL", "OutOfMemory": "OUT_OF_MEMORY"}
_TAKEN_BACK = "was taken back by Slurm: it was cancelled, or had to make room for another job"


def span(seconds: float) -> str:
    """Return a time as people say it, to the minute: "12 min", "2 h", "1 h 30 min", "3 days"."""
    minutes = max(1, round(seconds / MINUTE))
    if minutes < 2 * DAY // MINUTE:
        hours, minutes = divmod(minutes, 60)
        parts = [f"{hours} h"] if hours else []
        return " ".join(parts + ([f"{minutes} min"] if minutes else []))
    return f"{round(seconds / DAY)} days"


def clock(at: float, now: float) -> str:
    """Return when something is, in local time: "14:20", "Thu 14:20" or "2026-11-30 14:20"."""
    when, today = datetime.fromtimestamp(at), datetime.fromtimestamp(now)
    if when.date() == today.date():
        return when.strftime("%H:%M")
    return when.strftime("%a %H:%M" if 0 <= at - now < _A_WEEK else "%Y-%m-%d %H:%M")


def running(node: str, end: float | None, now: float) -> str:
    """Say where a job runs, if *node* is not "", and until when."""
    where = f"runs on {node}" if node else "runs"
    if end is None:
        return f"{where}, with no time limit"
    return f"{where} until {clock(end, now)} ({span(end - now)})"


def limit_changed(end: float | None, now: float) -> str:
    """Say that somebody has changed the time limit of a job that runs."""
    if end is None:
        return "has no time limit any more"
    return f"now ends at {clock(end, now)}, in {span(end - now)}: its time limit was changed"


def time_left(end: float, now: float) -> str:
    """Warn that a job ends soon."""
    return f"has {span(end - now)} left: it ends at {clock(end, now)}, with all that runs in it"


def estimate(start: float, now: float) -> str:
    """Say when a job is expected to start."""
    if start - now < MINUTE:
        return "about to start"
    return f"starts about {clock(start, now)}, in {span(start - now)}"


def state(name: str, node: str) -> str:
    """Say what a state means that is neither waiting, running nor over."""
    words = _STATES.get(name, f"is {name.lower().replace('_', ' ')}")
    return words.format(node=node or "its nodes")


def is_over(name: str) -> bool:
    """Tell whether a job in this state ends or has ended."""
    return name in _ENDS or name == "COMPLETING"


def end(name: str, reason: str, limit: int | None, *, revoked: bool) -> str:
    """Say how a job ended; "" where its state does not tell, or not yet.

    While its processes are being ended the state is COMPLETING, and only a reason tells why.
    *revoked*: its launcher said that Slurm took the allocation back.
    """
    words = _ENDS.get(_EVIDENCE.get(reason, name) if name == "COMPLETING" else name, "")
    if words == _ENDS["TIMEOUT"] and limit:
        return f"{words} (limit {span(limit)})"
    if name == "COMPLETING" and revoked:
        return words or _TAKEN_BACK
    return words
