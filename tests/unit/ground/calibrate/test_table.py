"""A table stands for its parent where the parent was asked, within its budget, and says how well."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ground.calibrate.envelope import (
    AXES,
    Columns,
    Envelope,
    box_envelope,
    draw,
    flown_envelope,
)
from ground.calibrate.table import (
    Asked,
    Draws,
    Shape,
    ask,
    errors,
    evaluate_rows,
    reduce_to_table,
    shape_of,
)
from shared.behaviour.formulas import corrected_speed, delta, theta
from shared.behaviour.kinds import Axis, Column, Correction
from shared.errors import Rejected

SHAPE = Shape(
    corrections=(
        Correction("theta", "theta", ("tat",)),
        Correction("delta", "delta", ("altitude", "mach")),
        Correction("n1c", "corrected_speed", ("n1", "theta")),
    ),
    columns=(
        Column("egt", "K", "temperature_from_corrected", ("theta",)),
        Column("ff", "kg/h", "flow_from_corrected", ("delta", "theta")),
    ),
    axes=(
        Axis("n1c", (50.0, 62.5, 75.0, 87.5, 100.0)), Axis("mach", (0.0, 0.8)),
        Axis("altitude", (0.0, 36000.0)), Axis("bleed", (0.0, 1.0)),
    ),
    effects=("tat", "anti_ice"),
)  # fmt: skip
BOX = {"n1c": (50.0, 100.0), "mach": (0.0, 0.8), "altitude": (0.0, 36000.0), "tat": (-30.0, 40.0)}
DRAWS = Draws(fit=800, judge=500, seed=3)
ELEMENTS = 2000


def parent(shift: float = 0.0, curve: float = 40.0) -> object:
    def answer(inputs: Columns) -> Columns:
        hot = theta(inputs["tat"])
        x = (corrected_speed(inputs["n1"], hot) - 75) / 25
        egt = (850 + 150 * x + curve * x**2 - 10 * inputs["mach"]) * hot
        egt = egt * (1 + 0.01 * inputs["bleed"] + 0.005 * inputs["anti_ice"]) - 273.15 + shift
        pressed = delta(inputs["altitude"], inputs["mach"]) * np.sqrt(hot)
        return {"egt": egt, "ff": (1500 + 900 * x) * pressed}

    return answer


def silent(inputs: Columns) -> Columns:
    found = parent()(inputs)  # type: ignore[operator]
    quiet = inputs["mach"] > 0.3
    return {name: np.where(quiet, np.nan, x) for name, x in found.items()}


def test_table_follows_two_parents_and_judges_on_points_of_its_own() -> None:
    envelope = box_envelope(BOX)
    both: Any = [parent(), parent(12.0)]
    table, figures = reduce_to_table(both, envelope, SHAPE, DRAWS, 1e-6, ELEMENTS)
    assert figures["egt_held_out_rms"] < 2.0 and figures["held_out_points"] == 500
    at = {"n1": 80.0, "mach": 0.6, "altitude": 20000.0, "tat": 0.0, "bleed": 1.0, "anti_ice": 0.0}
    rows = {name: np.array([value]) for name, value in at.items()}
    first, second = (evaluate_rows(table, i, rows)["egt"][0] for i in (0, 1))
    assert second - first == pytest.approx(12.0, abs=1.0)
    fresh = ask([parent(), parent(12.0)], draw(envelope, 400, 99))  # type: ignore[list-item]
    again = float(np.sqrt(np.mean(errors(table, fresh)["egt"] ** 2)))
    assert again == pytest.approx(figures["egt_held_out_rms"], rel=0.3)


def test_table_over_its_bound_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(Rejected, match="80 elements"):
        reduce_to_table([silent], box_envelope(BOX), SHAPE, DRAWS, 1e-6, 79)


def test_table_that_starts_from_another_keeps_its_shape_where_nothing_was_flown() -> None:
    """The parent has a bend in N1; what is flown lies below it, and is 2 % hotter."""
    bend: Any = parent(curve=200.0)
    box = box_envelope(BOX)
    bent, _ = reduce_to_table([bend], box, SHAPE, DRAWS, 1e-6, ELEMENTS)

    def hotter(inputs: Columns) -> Columns:
        found = bend(inputs)
        return {"egt": 1.02 * (found["egt"] + 273.15) - 273.15, "ff": 1.02 * found["ff"]}

    low = box_envelope({**BOX, "n1c": (50.0, 74.0)})
    kept, straight = (
        np.array(reduce_to_table([hotter], low, shape_of(bent), DRAWS, 1e-2, ELEMENTS, x)[0].values)
        / np.array(bent.values)
        for x in (bent, None)
    )
    # continued straight, a table knows nothing of the bend
    assert np.abs(kept - 1.02).max() < 0.1 * np.abs(straight - 1.02).max()


def test_same_seed_gives_the_same_table_and_another_another() -> None:
    envelope, axes = box_envelope(BOX), (Axis("bleed", (0.0, 1.0)),)
    shape = Shape(corrections=SHAPE.corrections, columns=SHAPE.columns, axes=axes)
    made = [
        reduce_to_table([parent()], envelope, shape, Draws(fit=200, judge=50, seed=s),  # type: ignore[list-item]
                        1e-6, ELEMENTS)[0]
        for s in (1, 1, 2)
    ]  # fmt: skip
    assert made[0] == made[1] != made[2]


def test_parent_that_is_mostly_silent_is_refused() -> None:
    with pytest.raises(Rejected, match="speaks at 3"):
        reduce_to_table([silent], box_envelope(BOX), SHAPE, DRAWS, 1e-6, ELEMENTS)


def test_axis_that_the_envelope_does_not_have_is_refused_by_name() -> None:
    axes = (SHAPE.axes[0], Axis("delta", (0.2, 1.0)))
    shape = Shape(corrections=SHAPE.corrections, columns=SHAPE.columns, axes=axes)
    with pytest.raises(Rejected, match="no axis 'delta'"):
        reduce_to_table([parent()], box_envelope(BOX), shape, DRAWS, 1e-6, ELEMENTS)  # type: ignore[list-item]


def test_asked_keeps_only_points_where_every_parent_speaks() -> None:
    mostly = {**BOX, "mach": (0.0, 0.5)}
    found: Asked = ask([parent(), silent], draw(box_envelope(mostly), 500, 1))  # type: ignore[list-item]
    assert found.spoken == pytest.approx(0.6, abs=0.1)
    assert found.inputs["mach"].max() <= 0.3
    assert all(np.isfinite(x).all() for answer in found.outputs for x in answer.values())


# -- envelopes


def rows(seed: int, n: int = 300) -> Columns:
    rng = np.random.default_rng(seed)
    return {
        "n1": rng.uniform(30, 95, n), "mach": rng.uniform(0.2, 0.75, n),
        "altitude": rng.uniform(2000, 30000, n), "tat": rng.uniform(-20, 25, n),
        "bleed": np.ones(n), "anti_ice": np.zeros(n),
    }  # fmt: skip


def flown(seed: int) -> Envelope:
    return flown_envelope([rows(seed)], {"n1c": (45.0, 105.0), "mach": (0.0, 0.9)})


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_every_input_inside_the_valid_ranges_is_inside_the_box(
    seed: int, share_n1: float, share_tat: float
) -> None:
    envelope = flown(seed)
    (n1_low, n1_high), (cold, hot) = envelope.valid["n1"], envelope.valid["tat"]
    n1 = n1_low + share_n1 * (n1_high - n1_low)
    n1c = corrected_speed(n1, theta(cold + share_tat * (hot - cold)))
    low, high = envelope.ranges["n1c"]
    assert low - 1e-9 <= n1c <= high + 1e-9


def test_points_drawn_lie_inside_and_switch_both_ways() -> None:
    envelope = flown(1)
    points = draw(envelope, 4000, 7)
    quantities = {"n1c": corrected_speed(points["n1"], theta(points["tat"])), **points}
    for name in AXES:
        low, high = envelope.ranges[name]
        assert low - 1e-9 <= quantities[name].min() and quantities[name].max() <= high + 1e-9
    assert set(points["bleed"]) == {0.0, 1.0} == set(points["anti_ice"])
    assert envelope.ranges["n1c"][0] == 45.0  # idle was flown; the parent does not speak there


def test_flights_without_a_usable_row_are_refused() -> None:
    with pytest.raises(Rejected, match="no row"):
        flown_envelope([{name: np.full(5, np.nan) for name in rows(1)}], {})
    with pytest.raises(Rejected, match="no row"):
        flown_envelope([], {})


def test_range_of_tat_that_leaves_no_n1_is_refused() -> None:
    narrow = box_envelope({**BOX, "n1c": (90.0, 92.0), "tat": (-60.0, 40.0)})
    with pytest.raises(Rejected, match="no N1"):
        narrow.valid  # noqa: B018  # a property that refuses
