"""SVG of laid-out shapes: text stays text, nothing is loaded from anywhere.

In: a `Chart` and a size in mm. Out: one `<svg>` element.
"""

from __future__ import annotations

import html

from ground.paper.chart import Chart, Polygon, Polyline, Shape, lay_out

MM_PER_PT = 25.4 / 72


def svg(chart: Chart, width: float = 180.0, height: float = 55.0) -> str:
    """The element; it scales with the width it is given."""
    body = "".join(_element(shape) for shape in lay_out(chart, width, height))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{html.escape(chart.title)}" font-family="Helvetica, Arial, sans-serif" '
        f'width="100%">{body}</svg>'
    )


def _element(shape: Shape) -> str:
    if isinstance(shape, Polyline):
        dash = f' stroke-dasharray="{" ".join(f"{d:g}" for d in shape.dash)}"' if shape.dash else ""
        return (
            f'<polyline points="{_points(shape.points)}" fill="none" stroke="{shape.colour}" '
            f'stroke-width="{shape.width:g}" stroke-linejoin="round" stroke-linecap="round"{dash}/>'
        )
    if isinstance(shape, Polygon):
        return (
            f'<polygon points="{_points(shape.points)}" fill="{shape.colour}" '
            f'fill-opacity="{shape.opacity:g}"/>'
        )
    weight = ' font-weight="bold"' if shape.bold else ""
    return (
        f'<text x="{shape.x:.2f}" y="{shape.y:.2f}" font-size="{shape.size_pt * MM_PER_PT:.2f}" '
        f'text-anchor="{shape.anchor}" fill="{shape.colour}"{weight}>{html.escape(shape.text)}</text>'
    )


def _points(points: tuple[tuple[float, float], ...]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
