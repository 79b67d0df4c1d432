"""Charts: ticks are round, gaps stay gaps, nothing leaves the paper."""

import math

import pytest

from ground.paper.chart import Band, Chart, Level, Line, Mark, Polygon, Polyline, Span, lay_out
from ground.paper.svg import svg
from ground.paper.ticks import nice_ticks, number, time_ticks


@pytest.mark.parametrize(
    ("low", "high", "step"), [(0, 1, 0.2), (0, 9, 2), (-3, 740, 200), (880, 881, 0.2)]
)
def test_ticks_are_one_two_or_five(low: float, high: float, step: float) -> None:
    found, values = nice_ticks(low, high, 5)
    assert found == pytest.approx(step)
    assert 2 <= len(values) <= 7 and low - 1e-9 <= values[0] and values[-1] <= high + 1e-9


def test_time_ticks_are_whole_minutes() -> None:
    assert time_ticks(1000.0, 1000.0 + 3600, 9) == [1200.0 + 600 * k for k in range(6)]


def test_numbers_have_the_decimals_of_their_step() -> None:
    assert [number(v, 0.2) for v in (-0.4, 0.0)] == ["\u22120.4", "0.0"]
    assert number(35000.0, 5000.0) == "35,000"


def test_a_gap_breaks_a_curve() -> None:
    line = Line("a", [0, 1, 2, 3, 4], [1.0, 2.0, None, math.nan, 3.0], "#123456")
    shapes = lay_out(Chart(title="t", unit="u", lines=(line,), is_time=False), 180, 50)
    curves = [s for s in shapes if isinstance(s, Polyline) and s.colour == "#123456"]
    assert [len(c.points) for c in curves] == [2, 2, 2]  # legend, the two points, the lonely one


@pytest.mark.parametrize("value", [None, math.nan, 5.0, -1e30, 1e30])
def test_nothing_leaves_the_paper(value: float | None) -> None:
    chart = Chart(
        title="t", unit="u", lines=(Line("", [0.0, 10.0], [value, value], "#000000"),),
        bands=(Band("", [0.0, 5.0], [0.0, value], [1.0, value], "#000000"),),
        spans=(Span(-5.0, 50.0, "#000000"), Span(60.0, 70.0, "#000000")),
        marks=(Mark(3.0, "m", "#000000"), Mark(99.0, "m", "#000000")),
        levels=(Level(2.0, "l", "#000000"),),
    )  # fmt: skip
    for shape in lay_out(chart, 180, 50):
        if isinstance(shape, (Polyline, Polygon)):
            assert all(0 <= x <= 180 and 0 <= y <= 50 for x, y in shape.points)


def test_svg_escapes_what_it_is_told() -> None:
    assert "<b>" not in svg(Chart(title="<b>", unit='"', is_time=False))
