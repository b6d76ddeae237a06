"""Durations, sizes and percentages, parsed strictly and printed briefly.

One whole number and one unit, nothing else: "5w", "1.5d", "5" and "" are errors,
never a guess (a cleanup script that read "5w" as five seconds is why).
"""

from __future__ import annotations

from datetime import datetime

SECOND = 1
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_DURATIONS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

_LONGEST_NUMBER = 9  # digits: three million years in days; keeps hostile input short


def parse_duration(text: str) -> int:
    """Return the seconds that *text* names, such as "90s", "10m", "3h", "5d".

    Raises ValueError for anything but one whole number and one of those units.
    """
    number, unit = _split(text)
    if unit not in _DURATIONS:
        raise ValueError(f'"{text}" is no duration; write a whole number and s, m, h or d ("36h")')
    return number * _DURATIONS[unit]


def parse_size(text: str) -> int:
    """Return the bytes that *text* names, such as "512MiB" or "8GiB".

    Raises ValueError for anything but one whole number and a binary unit.
    """
    number, unit = _split(text)
    if unit not in _SIZES:
        raise ValueError(
            f'"{text}" is no size; write a whole number and B, KiB, MiB, GiB or TiB ("8GiB")'
        )
    return number * _SIZES[unit]


def parse_percent(text: str) -> int:
    """Return the percentage of one core that *text* names, such as "80%" or "250%".

    Raises ValueError for anything but one whole number and a percent sign.
    """
    number, unit = _split(text)
    if unit != "%":
        raise ValueError(f'"{text}" is no percentage of one core; write it as "80%"')
    return number


def _split(text: str) -> tuple[int, str]:
    """Split *text* into its leading ASCII digits and the rest; no digits give unit ""."""
    digits = len(text) - len(text.lstrip("0123456789"))
    if not 0 < digits <= _LONGEST_NUMBER:
        return 0, ""
    return int(text[:digits]), text[digits:]


def format_duration(seconds: float) -> str:
    """Print *seconds* in its largest whole unit, for people: "47s", "12m", "3h", "9d"."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    for unit, length in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if seconds >= (2 * DAY if unit == "d" else length):
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"


def format_moment(at: float) -> str:
    """Print a moment, seconds since the epoch, to the minute in local time."""
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M")


def counted(number: int, noun: str) -> str:
    """Print "1 server", "2 servers" or "3 processes"."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}" + ("" if number == 1 else plural)


def format_exact_duration(seconds: int) -> str:
    """Print whole *seconds* so that parse_duration reads the same number back."""
    for unit, length in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def format_exact_size(size: int) -> str:
    """Print *size* bytes so that parse_size reads the same number back."""
    for unit, length in reversed(_SIZES.items()):
        if size and size % length == 0:
            return f"{size // length}{unit}"
    return f"{size}B"


def format_size(size: float) -> str:
    """Print *size* bytes for people: "4K", "312M", "1.4G"."""
    if size < 1 << 20:
        return f"{int(size) >> 10}K"
    if size < 1 << 30:
        return f"{int(size) >> 20}M"
    return f"{size / (1 << 30):.1f}G"
