"""Chart: curves over a time or another quantity, laid out as plain shapes.

In: a `Chart` (what is to be seen) and a size. Out: shapes in mm from the top left corner, which
svg.py and the PDF draw alike.
Always holds: no shape lies outside the size; a null or NaN breaks a curve, it is never bridged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ground.paper.ticks import nice_ticks, number, time_ticks

INK, GREY, GRID = "#222222", "#666666", "#e3e3e3"
LEFT, RIGHT, TOP, BOTTOM = 15.0, 3.0, 9.5, 8.0  # mm around the plot
FONT_PT = 7.0
CHARACTER_MM = 1.35  # of the legend's font, wide enough for capitals
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """A curve. x: seconds since 1970 on a time axis. dash, width: mm."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    colour: str
    width: float = 0.35
    dash: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Band:
    """Between two curves; a null on either side leaves a gap."""

    name: str
    x: Sequence[float]
    low: Sequence[float | None]
    high: Sequence[float | None]
    colour: str


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the x axis, coloured from top to bottom. label: shown when there is room."""

    start: float
    end: float
    colour: str
    label: str = ""
    opacity: float = 0.35


@dataclass(frozen=True, slots=True)
class Mark:
    """One x, as an upright line with a label."""

    x: float
    label: str
    colour: str


@dataclass(frozen=True, slots=True)
class Level:
    """One y, as a flat line with a label."""

    y: float
    label: str
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What is to be seen."""

    title: str
    unit: str
    lines: tuple[Line, ...] = ()
    bands: tuple[Band, ...] = ()
    spans: tuple[Span, ...] = ()
    marks: tuple[Mark, ...] = ()
    levels: tuple[Level, ...] = ()
    x_title: str = "UTC"
    is_time: bool = True
    stretch: bool = False
    """Spread the y axis at least over 1 unit, so that noise does not fill the plot."""


@dataclass(frozen=True, slots=True)
class Polyline:
    points: tuple[Point, ...]
    colour: str
    width: float
    dash: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Polygon:
    points: tuple[Point, ...]
    colour: str
    opacity: float


@dataclass(frozen=True, slots=True)
class Text:
    """anchor: `start`, `middle` or `end` of the text is at x; y is its baseline."""

    x: float
    y: float
    text: str
    size_pt: float = FONT_PT
    anchor: str = "start"
    colour: str = GREY
    bold: bool = False


Shape = Polyline | Polygon | Text


@dataclass(frozen=True, slots=True)
class _Frame:
    """The plot's rectangle and the two scales."""

    left: float
    top: float
    width: float
    height: float
    x0: float
    x1: float
    y0: float
    y1: float

    def x(self, value: float) -> float:
        share = (min(max(value, self.x0), self.x1) - self.x0) / (self.x1 - self.x0)
        return self.left + self.width * share

    def y(self, value: float) -> float:
        share = (min(max(value, self.y0), self.y1) - self.y0) / (self.y1 - self.y0)
        return self.top + self.height * (1.0 - share)


def lay_out(chart: Chart, width: float, height: float) -> list[Shape]:
    """Shapes of `chart` in width x height mm, in the order to draw them."""
    frame = _frame(chart, width, height)
    shapes: list[Shape] = [Text(0.0, 3.2, chart.title, 8.0, "start", INK, True)]
    shapes += _spans(chart, frame)
    shapes += _axes(chart, frame)
    for band in chart.bands:
        shapes += _band(band, frame)
    for line in chart.lines:
        for run in _runs(line.x, line.y):
            points = tuple((frame.x(x), frame.y(y)) for x, y in run)
            shapes.append(Polyline(points, line.colour, line.width, line.dash))
    shapes += _marks(chart, frame)
    shapes += _legend(chart, width)
    return shapes


def _frame(chart: Chart, width: float, height: float) -> _Frame:
    xs = [x for line in chart.lines for x in line.x] + [x for b in chart.bands for x in b.x]
    ys = [y for line in chart.lines for y in line.y] + [level.y for level in chart.levels]
    ys += [y for band in chart.bands for side in (band.low, band.high) for y in side]
    known = [y for y in ys if y is not None and math.isfinite(y)]
    x0, x1 = (min(xs), max(xs)) if xs else (0.0, 1.0)
    y0, y1 = (min(known), max(known)) if known else (0.0, 1.0)
    if chart.stretch and y1 - y0 < 1.0:
        y0, y1 = (y0 + y1) / 2 - 0.5, (y0 + y1) / 2 + 0.5
    room = (y1 - y0) * 0.06 or max(1e-6, abs(y0) * 0.01) or 1.0
    return _Frame(
        LEFT, TOP, width - LEFT - RIGHT, height - TOP - BOTTOM,
        x0, x1 if x1 > x0 else x0 + 1.0, y0 - room, y1 + room,
    )  # fmt: skip


def _axes(chart: Chart, frame: _Frame) -> list[Shape]:
    shapes: list[Shape] = []
    right, bottom = frame.left + frame.width, frame.top + frame.height
    step, values = nice_ticks(frame.y0, frame.y1, 5)
    for value in values:
        y = frame.y(value)
        shapes.append(Polyline(((frame.left, y), (right, y)), GRID, 0.15))
        shapes.append(Text(frame.left - 1.2, y + 0.9, number(value, step), FONT_PT, "end"))
    if chart.is_time:
        ticks = [(t, f"{datetime.fromtimestamp(t, UTC):%H:%M}")
                 for t in time_ticks(frame.x0, frame.x1, 9)]  # fmt: skip
    else:
        step, values = nice_ticks(frame.x0, frame.x1, 9)
        ticks = [(value, number(value, step)) for value in values]
    for value, label in ticks:
        x = frame.x(value)
        shapes.append(Polyline(((x, bottom), (x, bottom + 1.0)), GREY, 0.2))
        if frame.left + 2 < x < right - 9:
            shapes.append(Text(x, bottom + 3.8, label, FONT_PT, "middle"))
    edge = ((frame.left, frame.top), (frame.left, bottom), (right, bottom))
    shapes.append(Polyline(edge, GREY, 0.2))
    shapes.append(Text(right, bottom + 3.8, chart.x_title, FONT_PT, "end"))
    shapes.append(Text(frame.left - 1.2, frame.top - 1.6, chart.unit, FONT_PT, "end"))
    return shapes


def _spans(chart: Chart, frame: _Frame) -> list[Shape]:
    shapes: list[Shape] = []
    top, bottom = frame.top, frame.top + frame.height
    for span in chart.spans:
        if span.end < frame.x0 or span.start > frame.x1:
            continue
        a, b = frame.x(span.start), frame.x(span.end)
        shapes.append(
            Polygon(((a, top), (b, top), (b, bottom), (a, bottom)), span.colour, span.opacity)
        )
        if span.label and b - a > CHARACTER_MM * len(span.label) * 0.85:
            shapes.append(Text((a + b) / 2, bottom - 1.0, span.label, 6.0, "middle"))
    return shapes


def _band(band: Band, frame: _Frame) -> Iterator[Shape]:
    both = [None if low is None or high is None else (low, high)
            for low, high in zip(band.low, band.high, strict=True)]  # fmt: skip
    run: list[tuple[float, float, float]] = []
    for x, pair in [*zip(band.x, both, strict=True), (0.0, None)]:
        if pair is not None and all(map(math.isfinite, pair)):
            run.append((x, *pair))
        elif run:
            lows = [(frame.x(x), frame.y(low)) for x, low, _ in run]
            highs = [(frame.x(x), frame.y(high)) for x, _, high in run]
            yield Polygon((*lows, *reversed(highs)), band.colour, 0.25)
            run = []


def _runs(x: Sequence[float], y: Sequence[float | None]) -> Iterator[list[Point]]:
    """Stretches without a gap; a single point becomes a short dash."""
    run: list[Point] = []
    for one, value in [*zip(x, y, strict=True), (0.0, None)]:
        if value is not None and math.isfinite(value):
            run.append((one, value))
        elif run:
            yield run if len(run) > 1 else run * 2
            run = []


def _marks(chart: Chart, frame: _Frame) -> list[Shape]:
    shapes: list[Shape] = []
    right, bottom = frame.left + frame.width, frame.top + frame.height
    for level in chart.levels:
        y = frame.y(level.y)
        shapes.append(Polyline(((frame.left, y), (right, y)), level.colour, 0.3, (1.5, 1.0)))
        shapes.append(Text(right - 0.5, y - 0.7, level.label, 6.5, "end", level.colour))
    for k, mark in enumerate(chart.marks):
        if not frame.x0 <= mark.x <= frame.x1:
            continue
        x = frame.x(mark.x)
        shapes.append(Polyline(((x, frame.top), (x, bottom)), mark.colour, 0.35, (1.5, 1.0)))
        near_end = x > frame.left + 0.75 * frame.width
        at, anchor = (x - 0.8, "end") if near_end else (x + 0.8, "start")
        shapes.append(
            Text(at, frame.top + 2.6 + 3.0 * (k % 3), mark.label, 6.5, anchor, mark.colour)
        )
    return shapes


def _legend(chart: Chart, width: float) -> list[Shape]:
    shapes: list[Shape] = []
    x = width - RIGHT
    entries = [(line.name, line.colour, line.dash) for line in chart.lines]
    entries += [(band.name, band.colour, (0.0,)) for band in chart.bands]
    for name, colour, dash in reversed([one for one in entries if one[0]]):
        x -= CHARACTER_MM * len(name)
        shapes.append(Text(x, 3.2, name, FONT_PT))
        x -= 6.5
        if dash == (0.0,):
            box = ((x, 1.0), (x + 5, 1.0), (x + 5, 3.4), (x, 3.4))
            shapes.append(Polygon(box, colour, 0.35))
        else:
            shapes.append(Polyline(((x, 2.2), (x + 5, 2.2)), colour, 0.5, dash))
        x -= 2.5
    return shapes
