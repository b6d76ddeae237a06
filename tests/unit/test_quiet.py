from __future__ import annotations

from datetime import datetime

import pytest

from vscadmin.policy.quiet import first_allowed, parse_quiet_hours

FRIDAY = datetime(2026, 11, 20)


def at(hour: int, minute: int = 0, day: int = 20) -> datetime:
    return FRIDAY.replace(day=day, hour=hour, minute=minute)


@pytest.mark.parametrize(
    ("window", "moment", "end"),
    [
        ("Mon-Fri 08:00-18:00", at(8), at(18)),
        ("Mon-Fri 08:00-18:00", at(17, 59), at(18)),
        ("Mon-Fri 08:00-18:00", at(18), None),
        ("Mon-Fri 08:00-18:00", at(12, day=21), None),
        ("Sat 00:00-24:00", at(5, day=21), at(0, day=22)),
        ("Fri-Mon 08:00-18:00", at(9, day=22), at(18, day=22)),
        ("22:00-06:00", at(23), at(6, day=21)),
        ("Fri 22:00-06:00", at(5, day=21), at(6, day=21)),
        ("Fri 22:00-06:00", at(5, day=20), None),
    ],
)
def test_a_window_ends_when_it_says(window: str, moment: datetime, end: datetime | None) -> None:
    assert parse_quiet_hours(window).ends(moment) == end


@pytest.mark.parametrize(
    "text",
    ["", "08:00", "8:00-18:00", "Mo-Fr 08:00-18:00", "Mon-Xyz 08:00-18:00", "25:00-26:00"]
    + ["24:00-06:00", "08:60-09:00", "08:00-24:01", "Mon,Tue 08:00-18:00"],
)
def test_anything_else_is_no_window(text: str) -> None:
    with pytest.raises(ValueError, match="is no window of time"):
        parse_quiet_hours(text)


def test_windows_that_touch_are_waited_out_one_after_the_other() -> None:
    windows = [parse_quiet_hours("08:00-12:00"), parse_quiet_hours("12:00-13:00")]
    assert first_allowed(at(9).timestamp(), windows) == at(13).timestamp()
    assert first_allowed(at(14).timestamp(), windows) == at(14).timestamp()
