"""How squeue is asked and how its fields are read: what every question to it has in common."""

from __future__ import annotations

# A user's own defaults would change what is asked for (squeue(1), INPUT ENVIRONMENT VARIABLES).
_DEFAULTS = (
    "ACCOUNT", "ALL", "ARRAY", "FEDERATION", "FORMAT", "FORMAT2", "LICENSES", "LOCAL", "NAMES",
    "PARTITION", "PRIORITY", "QOS", "RESERVATION", "SIBLING", "SORT", "STATES", "USERS",
)  # fmt: skip

SQUEUE = (
    "env",
    *(word for name in _DEFAULTS for word in ("-u", f"SQUEUE_{name}")),
    "SLURM_TIME_FORMAT=%s",  # seconds since the epoch: no time zone, no hour that comes twice
    "squeue",
    "--noheader",
    "--all",  # jobs in hidden partitions too
)

_DAY_PARTS = 3  # hours, minutes, seconds


def moment(text: str) -> int | None:
    """Return a time in seconds since the epoch; None for "N/A" and whatever is no time."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None


def duration(text: str) -> int | None:
    """Return the seconds of [days-][hours:]minutes:seconds; None for "UNLIMITED" and the like."""
    days, dash, clock = text.rpartition("-")
    parts = clock.split(":")
    if not 2 <= len(parts) <= _DAY_PARTS or any(moment(each) is None for each in parts):
        return None
    if dash and moment(days) is None:
        return None
    seconds = 0
    for part in parts:
        seconds = seconds * 60 + int(part)
    return seconds + int(days or 0) * 86400


def job_number(text: str) -> int:
    """Return the number in "12", "12+0" (component of a job) and "12_[1-9]" (tasks of an array)."""
    return int(text.partition("+")[0].partition("_")[0])
