from __future__ import annotations

from datetime import datetime

import pytest

from vscadmin import units


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("90s", 90), ("10m", 600), ("3h", 10800), ("5d", 432000)]
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "5w", "1.5d", "-5d", "+5d", " 5d", "5 d", "5D", "d", "foo", "5d3h", "٣h"]
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        units.parse_duration(text)


def test_a_number_of_many_digits_is_no_duration() -> None:
    with pytest.raises(ValueError, match="is no duration"):
        units.parse_duration("9" * 5000 + "d")


@pytest.mark.parametrize(
    ("text", "size"), [("0B", 0), ("512MiB", 512 << 20), ("8GiB", 8 << 30), ("1TiB", 1 << 40)]
)
def test_a_size_is_a_number_and_a_binary_unit(text: str, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "8", "8GB", "8G", "1.5GiB", "-1GiB", "GiB"])
def test_anything_else_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        units.parse_size(text)


def test_a_percentage_may_be_of_several_cores() -> None:
    assert units.parse_percent("250%") == 250
    with pytest.raises(ValueError, match="no percentage"):
        units.parse_percent("80")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (60, "1m"), (3600, "1h"), (47 * 3600, "47h"), (2 * 86400, "2d")]
    + [(-90, "-1m")],
)
def test_people_read_the_largest_unit(seconds: float, text: str) -> None:
    assert units.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0K"), (4096, "4K"), (312 << 20, "312M"), (3 << 29, "1.5G")]
)
def test_people_read_sizes_in_short(size: int, text: str) -> None:
    assert units.format_size(size) == text


def test_people_read_a_moment_to_the_minute_in_local_time() -> None:
    at = datetime(2026, 3, 4, 5, 6, 59).timestamp()
    assert units.format_moment(at) == "2026-03-04 05:06"


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(0, "server", "0 servers"), (1, "server", "1 server"), (2, "server", "2 servers")]
    + [(1, "process", "1 process"), (3, "process", "3 processes")],
)
def test_people_read_how_many_of_what(number: int, noun: str, text: str) -> None:
    assert units.counted(number, noun) == text
