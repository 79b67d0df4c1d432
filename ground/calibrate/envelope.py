"""The envelope: where a model is wanted, and points drawn from it.

In: rows that were flown with margins, or a range by quantity. Out: an `Envelope`, and inputs to ask
the parent at. Always holds: the same seed draws the same points; every point lies inside the
envelope; only inputs are looked at, never what a sensor of the engine showed.

The box is in corrected N1, Mach, altitude and TAT. Half of the points lie near rows that were
flown (within the margins), half anywhere in the box, so that the table is right where the aircraft
was and straight where it may go. Switched inputs are drawn on and off alike: an effect that was
not flown is known all the same, because the parent knows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.behaviour.formulas import corrected_speed, theta
from shared.errors import Rejected

Float64 = npt.NDArray[np.float64]
Columns = dict[str, Float64]
AXES = ("n1c", "mach", "altitude", "tat")
SWITCHES = ("bleed", "anti_ice")
MARGINS = {"n1c": 5.0, "mach": 0.1, "altitude": 7000.0, "tat": 25.0}
"""Beyond what was flown, in %, 1, ft, Cel: the next flight has another day and another level: with
5,000 ft the demo's second flight, three levels higher, was 5 ft outside in all its cruise. 25 Cel
is from a cold to a hot day of the bench (assumption; a tail that flies elsewhere is calibrated
again)."""
TAT = (-30.0, 45.0)
"""Never asked beyond: what the airframe of the bench meets (assumption). Each degree more at the cold
end costs N1 at the upper one, see `Envelope.valid`."""
ROWS_KEPT = 20_000


@dataclass(frozen=True, eq=False)
class Envelope:
    """ranges: (low, high) by axis. flown: rows [k, axes] inside it, or none."""

    ranges: Mapping[str, tuple[float, float]]
    flown: Float64
    margins: Mapping[str, float]

    def range_of(self, quantity: str) -> tuple[float, float]:
        """Of an axis of a table; Rejected when the envelope is not drawn in it."""
        if quantity in SWITCHES:
            return 0.0, 1.0
        if quantity not in self.ranges:
            known = ", ".join((*AXES, *SWITCHES))
            raise Rejected(f"no axis {quantity!r}", "envelope", f"a table may have {known}")
        return self.ranges[quantity]

    @property
    def valid(self) -> dict[str, tuple[float, float]]:
        """Ranges of the inputs in which every combination is inside the box.

        N1 is narrowed: corrected N1 also depends on TAT, and the box must hold at both its ends.
        """
        low, high = self.ranges["n1c"]
        cold, hot = (theta(x) ** 0.5 for x in self.ranges["tat"])
        valid = {"n1": (low * hot, high * cold)}
        valid |= {name: self.ranges[name] for name in ("mach", "altitude", "tat")}
        if not valid["n1"][0] < valid["n1"][1]:
            raise Rejected("no N1 is inside it at every TAT", "envelope", "narrow the TAT")
        return valid


def flown_envelope(
    rows: Sequence[Mapping[str, Float64]],
    bounds: Mapping[str, tuple[float, float]],
    margins: Mapping[str, float] = MARGINS,
) -> Envelope:
    """Of rows of inputs, one mapping an engine and flight; Rejected when none is usable.

    bounds: where the parent speaks, by axis (all but those it does not bound).
    """
    parts = []
    for columns in rows:
        n1c = corrected_speed(columns["n1"], theta(columns["tat"]))
        part = np.column_stack([n1c, *(columns[name] for name in AXES[1:])])
        usable = np.isfinite(part).all(axis=1)
        for i, name in enumerate(AXES):
            low, high = bounds.get(name, (-np.inf, np.inf))
            usable &= (part[:, i] >= low) & (part[:, i] <= high)
        parts.append(part[usable])
    flown = np.concatenate(parts) if parts else np.zeros((0, len(AXES)))
    if len(flown) == 0:
        raise Rejected("no row is inside the range of the full-fidelity model", "flights",
                       "choose flights with good N1, Mach, altitude and TAT")  # fmt: skip
    ranges = {}
    for i, name in enumerate(AXES):
        low, high = bounds.get(name, (-np.inf, np.inf))
        ranges[name] = (
            max(float(flown[:, i].min()) - margins[name], low),
            min(float(flown[:, i].max()) + margins[name], high),
        )
    return Envelope(ranges, flown[:: max(1, len(flown) // ROWS_KEPT)], margins)


def box_envelope(ranges: Mapping[str, tuple[float, float]]) -> Envelope:
    """A whole range, as of a type."""
    return Envelope(ranges, np.zeros((0, len(AXES))), {})


def draw(envelope: Envelope, count: int, seed: int) -> Columns:
    """Inputs [count] of the engine models, seeded."""
    rng = np.random.default_rng(seed)
    low = np.array([envelope.ranges[name][0] for name in AXES])
    high = np.array([envelope.ranges[name][1] for name in AXES])
    points = low + rng.uniform(size=(count, len(AXES))) * (high - low)
    if len(envelope.flown):
        near = rng.integers(0, len(envelope.flown), count)
        margin = np.array([envelope.margins[name] for name in AXES])
        # cubed: most draws stay near what was flown, some reach the margin
        moved = envelope.flown[near] + rng.uniform(-1, 1, (count, len(AXES))) ** 3 * margin
        points = np.where(rng.uniform(size=(count, 1)) < 0.5, points, np.clip(moved, low, high))
    columns = dict(zip(AXES, points.T.copy(), strict=True))
    columns["n1"] = columns.pop("n1c") * np.sqrt(theta(columns["tat"]))
    for name in SWITCHES:
        columns[name] = rng.integers(0, 2, count).astype(np.float64)
    return columns
