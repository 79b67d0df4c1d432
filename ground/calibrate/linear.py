"""Reductions to the linear kinds: a state space from a run of any parent, a thermal network by its
numbers.

In: inputs and outputs of a parent, a row a step. Out: a behaviour as declared aboard, and its error
on the part of the run that did not fit it. Always holds: what judges did not fit; the state space is
stable, or refused by name.

Methods: subspace identification (P. Van Overschee, B. De Moor, "N4SID", Automatica 30(1), 1994):
the future is projected on past and inputs, and the strongest directions of that projection are the
states. The network: least squares on the logarithms of capacities and resistances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from shared.behaviour.dynamics import Port
from shared.behaviour.linear import StateSpace
from shared.behaviour.model import Model, run
from shared.behaviour.thermal import ThermalRc
from shared.errors import Rejected

Float64 = npt.NDArray[np.float64]
B = TypeVar("B")
FIT_SHARE = 0.7  # of a run; the rest judges
HORIZON = 12  # block rows of past and future: more than twice any order here
ORDER_MAX = 4
RADIUS_MAX = 1.0  # of the poles; at 1 a state forgets nothing
CALLS_MAX = 60


@dataclass(frozen=True, eq=False)
class Reduced(Generic[B]):
    """error: rms by output on rows that did not fit, in the output's unit."""

    behaviour: B
    error: dict[str, float]


def reduce_to_state_space(
    inputs: dict[str, Float64], outputs: dict[str, Float64], target: dict[str, float],
    order_max: int = ORDER_MAX,
) -> Reduced[StateSpace]:  # fmt: skip
    """The discrete state space of the lowest order whose error is within `target`, or of
    `order_max`. Columns [n] by port, starting at rest: the first row is the operating point."""
    u, y = np.column_stack(list(inputs.values())), np.column_stack(list(outputs.values()))
    split = int(FIT_SHARE * len(u))
    if split < 20 * HORIZON or not (np.isfinite(u).all() and np.isfinite(y).all()):
        raise Rejected(f"{len(u)} rows, or rows without a number", "state space", "a longer run")
    at_u, at_y = u[0], y[0]
    spread = np.maximum(y.std(axis=0), 1e-12)
    best: Reduced[StateSpace] | None = None
    for order in range(1, order_max + 1):
        a, b, c, d = _subspace(u[:split] - at_u, (y[:split] - at_y) / spread, order)
        if np.abs(np.linalg.eigvals(a)).max() >= RADIUS_MAX:
            continue
        found = at_y + spread * _simulate(a, b, c, d, u - at_u)
        missed = np.sqrt(np.mean((found - y)[split:] ** 2, axis=0))
        error = dict(zip(outputs, missed.tolist(), strict=True))
        kind = StateSpace(
            time="discrete", a=_matrix(a), b=_matrix(b), c=_matrix(spread[:, None] * c),
            d=_matrix(spread[:, None] * d),
            operating_point={**dict(zip(inputs, at_u.tolist(), strict=True)),
                             **dict(zip(outputs, at_y.tolist(), strict=True))},
        )  # fmt: skip
        worst = max(error[name] / target[name] for name in outputs)
        if best is None or worst < max(best.error[name] / target[name] for name in outputs):
            best = Reduced(kind, error)
        if worst <= 1:
            break
    if best is None:
        raise Rejected("no stable state space follows this run", "state space",
                       "start at rest, and move every input")  # fmt: skip
    return best


def reduce_to_thermal_rc(
    draft: ThermalRc, ports: tuple[Sequence[Port], Sequence[Port]], rate_hz: float,
    inputs: Float64, wanted: Float64,
) -> Reduced[ThermalRc]:  # fmt: skip
    """The network `draft` with the capacities and resistances that follow a run best.

    inputs [n, inputs], wanted [n, outputs], in the order of the ports; starts at the draft's
    initial temperatures, and its numbers are where the search starts.
    """
    from scipy.optimize import least_squares

    split = int(FIT_SHARE * len(inputs))
    start = np.log([_value(x.capacity) for x in draft.nodes]
                   + [_value(x.resistance) for x in draft.links])  # fmt: skip

    def network(logs: Float64) -> ThermalRc:
        values = np.exp(logs).tolist()
        replace, cut = msgspec.structs.replace, len(draft.nodes)
        return replace(
            draft,
            nodes=tuple(replace(x, capacity=replace(x.capacity, value=v))
                        for x, v in zip(draft.nodes, values[:cut], strict=True)),
            links=tuple(replace(x, resistance=replace(x.resistance, value=v))
                        for x, v in zip(draft.links, values[cut:], strict=True)),
        )  # fmt: skip

    def missed(logs: Float64, rows: slice) -> Float64:
        model = Model(network(logs), tuple(ports[0]), tuple(ports[1]), rate_hz, 1)
        found: Float64 = run(model, inputs[: rows.stop, None, :])[:, 0]
        return (found - wanted[: rows.stop])[rows]

    fitted = least_squares(
        lambda logs: missed(logs, slice(0, split)).ravel(), start, max_nfev=CALLS_MAX
    )
    rest = missed(fitted.x, slice(split, len(inputs)))
    error = np.sqrt(np.mean(rest**2, axis=0)).tolist()
    return Reduced(network(fitted.x), dict(zip((x.name for x in ports[1]), error, strict=True)))


def _subspace(u: Float64, y: Float64, order: int) -> tuple[Float64, Float64, Float64, Float64]:
    """(A, B, C, D) of that order."""
    count = len(u) - 2 * HORIZON + 1
    blocks = [
        sliding_window_view(x, count, axis=0).reshape(-1, count)[: 2 * HORIZON * x.shape[1]]
        for x in (u, y)
    ]
    (past_u, future_u), (past_y, future_y) = (np.split(x, 2) for x in blocks)
    past = np.vstack([past_u, past_y])
    known = np.vstack([future_u, past])
    slopes = np.linalg.lstsq(known.T, future_y.T, rcond=1e-10)[0].T
    due = slopes[:, len(future_u) :] @ past  # of the future, to what went before
    _, strength, directions = np.linalg.svd(due, full_matrices=False)
    states = np.sqrt(strength[:order])[:, None] * directions[:order]
    now = u[HORIZON : HORIZON + count]
    left = np.hstack([states[:, :-1].T, now[:-1]])
    right = np.hstack([states[:, 1:].T, y[HORIZON : HORIZON + count - 1]])
    found = np.linalg.lstsq(left, right, rcond=None)[0].T
    return (found[:order, :order], found[:order, order:], found[order:, :order],
            found[order:, order:])  # fmt: skip


def _simulate(a: Float64, b: Float64, c: Float64, d: Float64, u: Float64) -> Float64:
    x, found = np.zeros(len(a)), np.empty((len(u), len(c)))
    for i, row in enumerate(u):
        found[i] = c @ x + d @ row
        x = a @ x + b @ row
    return found


def _matrix(x: Float64) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(v) for v in row) for row in x)


def _value(parameter: object) -> float:
    value = parameter.value  # type: ignore[attr-defined]  # a Parameter
    return float(value[0] if isinstance(value, tuple) else value)
