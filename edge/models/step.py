"""One step of one bundle: what went in, what was predicted, what was measured.

In: a bundle, the ESNs installed, mean values of signals. Out: the input rows for the worker, and
from its answer a `ModelStep`. Pure.
Always holds: an input that is missing or outside its valid range, or an engine the bundle was
not made for, gives NaN for that engine and a reason; other engines are not touched by it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.bundle import Bundle

RESTARTED = "the model's state was not a number and started anew"
NO_NUMBER = "the model gave no number"
"""Reasons that blame the model: its inputs were good."""
Rows = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ModelStep:
    """Rows are instances, in the order of the bundle; NaN is no value."""

    bundle: Bundle
    label: str
    """Name of the bundle's file without suffix."""
    t_ns: int
    """Event time."""
    inputs: Rows
    measured: Rows
    predicted: Rows
    reasons: tuple[str, ...]
    """Per instance why there is no prediction; empty when there is one."""
    trigger: tuple[str, int] | None = None
    """(group, bus counter) of the newest reading that took part."""

    @property
    def signals(self) -> frozenset[str]:
        """Signals that the bundle reads, of every instance."""
        return bundle_signals(self.bundle)

    @property
    def deviation(self) -> Rows:
        """measured - predicted, [instance, output]."""
        return self.measured - self.predicted


class Binding:
    """A bundle bound to an aircraft."""

    def __init__(self, bundle: Bundle, label: str, esns: Mapping[int, str]) -> None:
        self.bundle, self.label = bundle, label
        self._fit = tuple(_misfit(x.position, x.esn, esns) for x in bundle.instances)
        self.misfits = [why for why in self._fit if why]
        """Of engines that it was not made for: they get no prediction from it."""
        self._low = np.array([x.valid[0] for x in bundle.inputs])
        self._high = np.array([x.valid[1] for x in bundle.inputs])

    @property
    def signals(self) -> frozenset[str]:
        """Names of the signals it reads."""
        return bundle_signals(self.bundle)

    def gather(self, values: Mapping[str, float]) -> tuple[Rows, tuple[str, ...]]:
        """(inputs, reasons) from mean values by signal name; absent and NaN are the same."""
        bundle = self.bundle
        inputs = np.array(
            [[values.get(x.inputs[port.name], np.nan) for port in bundle.inputs]
             for x in bundle.instances]
        )  # fmt: skip
        reasons = []
        for i, misfit in enumerate(self._fit):
            # a comparison with NaN is false, so a missing input is outside as well
            outside = ~((inputs[i] >= self._low) & (inputs[i] <= self._high))
            reasons.append(misfit or (self._why(inputs[i], outside) if outside.any() else ""))
        return inputs, tuple(reasons)

    def rows(self, inputs: Rows, reasons: tuple[str, ...]) -> bytes:
        """Input rows for the worker; an engine without prediction gets the middle of the range."""
        usable = np.array([not reason for reason in reasons])[:, None]
        rows = np.where(usable, inputs, (self._low + self._high) / 2)
        return rows.astype("<f4").tobytes()

    def usable(self, reasons: tuple[str, ...]) -> bytes:
        """One byte a row, 0 where there is no prediction; empty when there is one in every row.

        The states of a row without are kept: it ran on made-up inputs.
        """
        return bytes(not reason for reason in reasons) if any(reasons) else b""

    def finish(
        self,
        t_ns: int,
        inputs: Rows,
        reasons: tuple[str, ...],
        values: Mapping[str, float],
        answer: bytes,
        trigger: tuple[str, int] | None = None,
        restarted: Collection[int] = (),
    ) -> ModelStep:
        """The step, from the worker's output rows. restarted: rows whose states started anew."""
        bundle = self.bundle
        predicted = np.frombuffer(answer, "<f4").reshape(len(reasons), -1).astype(float)
        finite = np.isfinite(predicted).all(axis=1)
        reasons = tuple(
            reason or (RESTARTED if row in restarted else "" if ok else NO_NUMBER)
            for row, (reason, ok) in enumerate(zip(reasons, finite, strict=True))
        )
        predicted[[bool(reason) for reason in reasons]] = np.nan
        measured = np.array(
            [[values.get(x.measured.get(port.name, ""), np.nan) for port in bundle.outputs]
             for x in bundle.instances]
        )  # fmt: skip
        return ModelStep(bundle, self.label, t_ns, inputs, measured, predicted, reasons, trigger)

    def _why(self, row: Rows, outside: npt.NDArray[np.bool_]) -> str:
        i = int(np.flatnonzero(outside)[0])
        port = self.bundle.inputs[i]
        if np.isnan(row[i]):
            return f"no {port.name}"
        low, high = port.valid
        return f"{port.name} {row[i]:.4g} {port.unit} is outside {low:g} to {high:g}"


def bundle_signals(bundle: Bundle) -> frozenset[str]:
    """Names of the signals that a bundle reads."""
    return frozenset(
        name for x in bundle.instances for name in (*x.inputs.values(), *x.measured.values())
    )


def _misfit(position: int, made_for: str, esns: Mapping[int, str]) -> str:
    esn = esns.get(position, "")
    if not esn:
        return f"no ESN is known at position {position}"
    return "" if esn == made_for else f"ESN {esn} at position {position}, made for {made_for}"
