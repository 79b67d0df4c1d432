"""Vertical speed from two sources, either of which may be missing or frozen."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edge.flight.vertical import Rate, Vertical

S = 1_000_000_000


def last(
    seconds: int, altitude: Callable[[int], float | None], rate: Callable[[int], float | None]
) -> Rate:
    vertical, seen = Vertical(), Rate()
    for i in range(seconds * 5):
        seen = vertical.step(i * S // 5, altitude(i // 5), rate(i // 5))
    return seen


def climb(i: int) -> float:
    return 1000.0 + 20.0 * i  # 1200 ft/min


def test_a_rate_is_derived_where_none_is_given() -> None:
    assert last(5, climb, lambda i: None).fpm is None  # not before it spans enough
    seen = last(20, climb, lambda i: None)
    assert seen.fpm == pytest.approx(1200, rel=0.1) and seen.climbs and not seen.is_level


def test_steps_of_a_transponder_are_level_flight() -> None:
    dither = last(60, lambda i: 36_000.0 + 25 * (i % 7 == 0), lambda i: None)
    assert dither.is_level and not dither.climbs and not dither.sinks


def test_a_given_rate_alone_is_enough() -> None:
    assert last(5, lambda i: None, lambda i: -800.0).sinks


def test_a_frozen_rate_neither_climbs_nor_sinks_and_is_named() -> None:
    level = lambda i: 36_000.0 + 25 * (i // 5 % 2)  # noqa: E731
    for fpm in (1500.0, -1500.0):
        early = last(15, level, lambda i, fpm=fpm: fpm)  # type: ignore[misc]
        assert not early.climbs and not early.sinks
        late = last(40, level, lambda i, fpm=fpm: fpm)  # type: ignore[misc]
        assert late.odd == "vertical_speed_frozen" and late.is_level


def test_a_frozen_altitude_is_named_and_the_given_rate_goes_on() -> None:
    seen = last(40, lambda i: 8000.0, lambda i: -1500.0 - i % 3)
    assert seen.odd == "altitude_frozen" and seen.sinks


def test_where_both_stand_still_and_disagree_there_is_no_rate() -> None:
    seen = last(40, lambda i: 8000.0, lambda i: -1500.0)
    assert seen.odd == "vertical_disagrees" and seen.fpm is None


def test_a_jump_of_altitude_is_no_rate() -> None:
    jump = last(13, lambda i: 8000.0 + (10_000.0 if i >= 9 else 0.0), lambda i: None)
    assert jump.fpm is None


def test_a_clock_that_goes_back_starts_over() -> None:
    vertical = Vertical()
    for i in range(100):
        vertical.step(i * S // 5, climb(i // 5), None)
    assert vertical.step(0, 500.0, None).fpm is None
