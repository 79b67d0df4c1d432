"""Ticks: round values of an axis.

In: the ends of an axis and how many values there is room for. Out: round values between them.
"""

from __future__ import annotations

import math

TIME_STEPS_S = (10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


def nice_ticks(low: float, high: float, count_max: int) -> tuple[float, list[float]]:
    """Step (1, 2 or 5 times a power of ten) and its multiples in [low, high]."""
    raw = max(high - low, 1e-12) / count_max
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1.0, 2.0, 5.0, 10.0) if s * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return step, [k * step for k in range(first, last + 1)]


def time_ticks(start_s: float, end_s: float, count_max: int) -> list[float]:
    """Seconds since 1970 at whole minutes or hours, in [start_s, end_s]."""
    span = end_s - start_s
    step = next((s for s in TIME_STEPS_S if span / s <= count_max), TIME_STEPS_S[-1])
    first, last = math.ceil(start_s / step), math.floor(end_s / step)
    return [float(k * step) for k in range(first, min(last, first + 10 * count_max) + 1)]


def number(value: float, step: float) -> str:
    """With as many decimals as the step has."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    text = f"{value:,.{decimals}f}"
    return text.replace("-", "\u2212") if float(value) < 0 else text
