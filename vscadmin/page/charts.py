"""Charts as numbers: where each bar and line of an inline SVG lies; the template draws them. Pure.

All lengths are units of the SVG's viewBox, in which a chart is WIDTH wide.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from vscadmin.page.facts import Sample, Trend
from vscadmin.page.totals import STATES, Total
from vscadmin.units import format_size

MOST_BARS = 20  # of one chart; the table below it has them all
WIDTH = 720
_LABEL, _VALUE, _ROW = 170, 70, 22  # of a bar chart: columns of name and value, height of a row
_LEFT, _BOTTOM, _TOP, _HEIGHT = 56, 22, 8, 150  # of a chart over time
_TICKS = 4
_LONGEST_LABEL = 24  # characters


@dataclass(frozen=True, slots=True)
class Segment:
    """One state's share of a bar."""

    state: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One name with its memory by state; *label* is *name*, cut to its column."""

    name: str
    label: str
    value: str
    y: float
    segments: tuple[Segment, ...]
    end: float


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar chart; *left_out* counts the names there was no room for."""

    height: float
    bars: tuple[Bar, ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    words: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line over time: *points* as SVG's polyline takes them."""

    kind: str
    points: str


@dataclass(frozen=True, slots=True)
class Column:
    """A day's column; one of two when *kind* is stacked on another."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    words: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """A chart over time, with *words* that say the same to whoever cannot see it."""

    title: str
    words: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...] = ()
    columns: tuple[Column, ...] = ()

    left: int = _LEFT
    bottom: int = _TOP + _HEIGHT
    height: int = _TOP + _HEIGHT + _BOTTOM


def bars(totals: Sequence[Total]) -> Bars:
    """Return the chart of the names with the most memory; *totals* are sorted by it."""
    shown = totals[:MOST_BARS]
    most = max((total.rss for total in shown), default=0) or 1
    room = WIDTH - _LABEL - _VALUE
    found = tuple(_bar(total, row * _ROW, room / most) for row, total in enumerate(shown))
    return Bars(len(shown) * _ROW, found, len(totals) - len(shown))


def _bar(total: Total, y: float, scale: float) -> Bar:
    segments, x = [], float(_LABEL)
    for state in STATES:
        if width := total.memory[state] * scale:
            segments.append(Segment(state, round(x, 1), round(width, 1)))
            x += width
    name = total.name
    label = name if len(name) <= _LONGEST_LABEL else name[: _LONGEST_LABEL - 1] + "…"
    return Bar(name, label, format_size(total.rss), y, tuple(segments), round(x, 1))


def timelines(trend: Trend) -> tuple[Timeline, ...]:
    """Return the charts of a trend: servers, memory and, where any was ended, ends by day."""
    found = []
    if len(trend.samples) > 1:
        found += [_servers(trend), _memory(trend)]
    if trend.ends:
        found.append(_ends(trend))
    return tuple(found)


def _servers(trend: Trend) -> Timeline:
    first, last = trend.samples[0], trend.samples[-1]
    top = _round_up(max(each.trees for each in trend.samples))
    return Timeline(
        title="Servers",
        words=f"{first.trees} at first, {last.trees} at last, {last.abandoned} of them abandoned",
        x_ticks=_x_ticks(trend),
        y_ticks=_y_ticks(top, lambda value: f"{value:g}"),
        lines=(
            _line(trend, "all", top, lambda each: each.trees),
            _line(trend, "abandoned", top, lambda each: each.abandoned),
        ),
    )


def _memory(trend: Trend) -> Timeline:
    first, last = trend.samples[0], trend.samples[-1]
    unit = 1 << 30 if max(each.rss for each in trend.samples) >= 1 << 30 else 1 << 20
    top = _round_up(max(each.rss for each in trend.samples) / unit) * unit
    return Timeline(
        title="Memory",
        words=f"{format_size(first.rss)} at first, {format_size(last.rss)} at last",
        x_ticks=_x_ticks(trend),
        y_ticks=_y_ticks(top, format_size),
        lines=(_line(trend, "all", top, lambda each: each.rss),),
    )


def _ends(trend: Trend) -> Timeline:
    days: dict[int, list[bool]] = defaultdict(list)
    for each in trend.ends:
        days[_day(each.at)].append(each.regretted)
    top = _round_up(max(map(len, days.values())))
    regretted = sum(each.regretted for each in trend.ends)
    rss = format_size(sum(each.rss for each in trend.ends))
    return Timeline(
        title="Servers ended by day",
        words=f"{len(trend.ends)} in all, {rss} given back; {regretted} of them regretted",
        x_ticks=_x_ticks(trend),
        y_ticks=_y_ticks(top, lambda value: f"{value:g}"),
        columns=tuple(
            column
            for day, ends in sorted(days.items())
            for column in _columns(trend, day, ends, top)
        ),
    )


def _columns(trend: Trend, day: int, ends: Sequence[bool], top: float) -> Iterable[Column]:
    """Yield a day's two columns: kept ended below, regretted on it."""
    begin = max(datetime.fromordinal(day).timestamp(), trend.begin)
    end = min(datetime.fromordinal(day + 1).timestamp(), trend.end)
    x, right = _x(trend, begin), _x(trend, end)
    words = f"{datetime.fromordinal(day):%Y-%m-%d}: {len(ends)} ended, {sum(ends)} regretted"
    base = float(_TOP + _HEIGHT)
    for kind, count in (("ended", len(ends) - sum(ends)), ("regretted", sum(ends))):
        height = count / top * _HEIGHT
        base -= height
        if count:
            width = max(right - x - 1, 1)
            yield Column(kind, x, round(base, 1), round(width, 1), round(height, 1), words)


def _day(at: float) -> int:
    return datetime.fromtimestamp(at).toordinal()


def _line(trend: Trend, kind: str, top: float, value: Callable[[Sample], float]) -> Line:
    points = (f"{_x(trend, each.at)},{_y(value(each), top)}" for each in trend.samples)
    return Line(kind, " ".join(points))


def _x(trend: Trend, at: float) -> float:
    span = max(trend.end - trend.begin, 1.0)
    share = min(max((at - trend.begin) / span, 0.0), 1.0)
    return round(_LEFT + share * (WIDTH - _LEFT - 8), 1)


def _y(value: float, top: float) -> float:
    return round(_TOP + _HEIGHT * (1 - value / top), 1)


def _x_ticks(trend: Trend) -> tuple[Tick, ...]:
    """Mark five moments; only days where the span is longer than two of them."""
    span = trend.end - trend.begin
    form = "%m-%d" if span > 2 * 86400 else "%H:%M"
    moments = [trend.begin + span * number / _TICKS for number in range(_TICKS + 1)]
    return tuple(Tick(_x(trend, at), datetime.fromtimestamp(at).strftime(form)) for at in moments)


def _y_ticks(top: float, words: Callable[[float], str]) -> tuple[Tick, ...]:
    values = (top * number / 2 for number in range(3))
    return tuple(Tick(_y(value, top), words(value)) for value in values)


def _round_up(most: float) -> float:
    """Return the end of an axis: 2, 4, 6, 8 or 10 times a power of ten; the half is whole too."""
    if most <= 2:
        return 2.0
    power = 10.0 ** math.floor(math.log10(most))
    return next((step * power for step in (1, 2, 4, 6, 8, 10) if most <= step * power), most)
