"""The linear kinds that are given as numbers: `state-space` and `transfer-function`.

In: a declaration. Out: its faults, or its dynamics at a rate.
Always holds: discretised exactly for held inputs (zero-order hold); a transfer function becomes
a state space whose entries share nothing, balanced, so that float32 keeps its digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import msgspec
import numpy as np

from shared.behaviour.dynamics import STATES_MAX, Float64, Port, advance
from shared.behaviour.exact import Exact, exact_step, shared
from shared.behaviour.faults import Fault
from shared.units import parse_unit

ORDER_MAX = 8
"""Of one transfer function; above it the coefficients alone lose the digits."""
_BALANCINGS_MAX = 32

Matrix = tuple[tuple[float, ...], ...]


class StateSpace(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind",
    tag="state-space",
):  # fmt: skip
    """x' = A x + B u, y = C x + D u; columns and rows in the order of the ports.

    operating_point: port name to the value from which it is counted; 0 where not named.
    integrating: poles on the edge of stability are meant.
    """

    time: Literal["continuous", "discrete"] = "continuous"
    a: Matrix
    b: Matrix
    c: Matrix
    d: Matrix = ()
    initial: tuple[float, ...] = ()
    operating_point: dict[str, float] = {}
    integrating: bool = False


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """num / den from `input` to `output`: polynomials in s (1/s), highest power first."""

    input: str
    output: str
    num: tuple[float, ...]
    den: tuple[float, ...]


class TransferFunction(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind",
    tag="transfer-function",
):  # fmt: skip
    """One entry a pair of ports; a pair without one has no connection. Starts at rest."""

    entries: tuple[Entry, ...]
    operating_point: dict[str, float] = {}
    integrating: bool = False


class Arrays(msgspec.Struct, frozen=True):
    """A linear system: a [E, n, n], b [E, n, m], constant [E, n], c [p, n], d [p, m]."""

    a: Any
    b: Any
    constant: Any
    c: Any
    d: Any
    initial: Any
    is_discrete: bool = False


class LinearDynamics:
    """A linear system at a rate; x moves by an increment, so slow states keep their digits."""

    def __init__(
        self,
        kind: str,
        arrays: Arrays,
        inputs: Sequence[str],
        outputs: Sequence[str],
        offsets: Mapping[str, float],
        rate_hz: float,
    ) -> None:
        self.kind, self.inputs, self.outputs = kind, tuple(inputs), tuple(outputs)
        self.instances, n, _ = arrays.a.shape
        self._from = np.array([[offsets.get(name, 0.0) for name in inputs]])
        self._to = np.array([[offsets.get(name, 0.0) for name in outputs]])
        self._c, self._d = np.asarray(arrays.c).T, np.asarray(arrays.d).T
        start = np.broadcast_to(np.asarray(arrays.initial, float), (self.instances, n)).copy()
        self.initial: dict[str, Float64] = {"state": start, "carry": np.zeros_like(start)}
        if not n:
            self.initial = {}
        self._arrays, self._step_s = arrays, 1.0 / rate_hz

    @cached_property
    def _move(self) -> Exact:
        arrays = self._arrays
        if arrays.is_discrete:
            moved = arrays.a - np.eye(arrays.a.shape[1])
            return Exact(shared(moved), shared(arrays.b), arrays.constant)
        return exact_step(arrays.a, arrays.b, arrays.constant, self._step_s)

    @property
    def transition(self) -> Float64:
        """Matrices of the discrete states [1 or E, n, n]."""
        return self._move.transition

    def step(
        self, inputs: Mapping[str, Any], states: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        u = inputs[self.inputs[0]]
        if len(self.inputs) > 1:
            u = np.concatenate([inputs[name] for name in self.inputs], axis=1)
        if np.any(self._from):
            u = u - self._from
        y = np.matmul(u, self._d) if np.any(self._d) or not self.initial else None
        moved: dict[str, Any] = {}
        if self.initial:
            x = states["state"]
            seen = np.matmul(x, self._c)
            y = seen if y is None else seen + y
            state, carry = advance(x, states["carry"], self._move.move(x, u))
            moved = {"state": state, "carry": carry}
        if np.any(self._to):
            y = y + self._to
        assert y is not None
        return {name: y[:, i : i + 1] for i, name in enumerate(self.outputs)}, moved


def state_space_faults(
    model: StateSpace, inputs: Sequence[Port], outputs: Sequence[Port]
) -> list[Fault]:
    """Sizes and numbers that do not fit the ports."""
    n, m, p = len(model.a), len(inputs), len(outputs)
    faults = _port_faults(model.operating_point, inputs, outputs)
    if not 0 < n <= STATES_MAX:
        faults.append(Fault("size", "a", f"{n} states", f"1 to {STATES_MAX}"))
    wanted = {"a": (model.a, n, n), "b": (model.b, n, m), "c": (model.c, p, n)}
    if model.d:
        wanted["d"] = (model.d, p, m)
    for name, (matrix, rows, width) in wanted.items():
        if len(matrix) != rows or any(len(row) != width for row in matrix):
            faults.append(Fault("size", name, f"is not [{rows}][{width}]"))
        elif not np.isfinite(matrix).all():
            faults.append(Fault("value", name, "holds no finite number"))
    if model.initial and len(model.initial) != n:
        faults.append(Fault("size", "initial", f"{len(model.initial)} values for {n} states"))
    return faults


def transfer_function_faults(
    model: TransferFunction, inputs: Sequence[Port], outputs: Sequence[Port]
) -> list[Fault]:
    """Entries that name no port, or are no proper fraction."""
    faults = _port_faults(model.operating_point, inputs, outputs)
    pairs = [(x.input, x.output) for x in model.entries]
    names = ({x.name for x in inputs}, {x.name for x in outputs})
    for i, entry in enumerate(model.entries, 1):
        place = f"entry {i} ({entry.input} to {entry.output})"
        if entry.input not in names[0] or entry.output not in names[1]:
            faults.append(Fault("unknown name", place, "joins ports that are not declared"))
        if not entry.num or not entry.den or not np.isfinite((*entry.num, *entry.den)).all():
            faults.append(Fault("value", place, "num and den are finite numbers, at least one"))
            continue
        num, den = np.trim_zeros(entry.num, "f"), np.trim_zeros(entry.den, "f")
        if not len(den):
            faults.append(Fault("value", place, "den is 0"))
        elif len(num) > len(den):
            remedy = "a physical system has no higher power in num; add the lag that it has"
            faults.append(Fault("value", place, "num has the higher power of s", remedy))
        elif len(den) - 1 > ORDER_MAX:
            remedy = f"at most {ORDER_MAX}; write it as a state-space"
            faults.append(Fault("size", place, f"order {len(den) - 1}", remedy))
    if len(set(pairs)) < len(pairs):
        faults.append(Fault("name", "entries", "two join the same ports", "add them up"))
    for port in outputs:
        if port.name not in {x.output for x in model.entries}:
            faults.append(Fault("no equation", f"output {port.name}", "no entry ends there"))
    if sum(max(len(x.den) - 1, 0) for x in model.entries) > STATES_MAX:
        faults.append(Fault("size", "entries", f"over {STATES_MAX} states together"))
    return faults


def _port_faults(
    offsets: Mapping[str, float], inputs: Sequence[Port], outputs: Sequence[Port]
) -> list[Fault]:
    ports = {x.name: x for x in (*inputs, *outputs)}
    faults = [
        Fault("unknown name", "operating_point", f"{name!r} is no port")
        for name in offsets
        if name not in ports
    ]
    scales = [x for x in ports.values() if parse_unit(x.unit, x.name).is_scale]
    for port in scales:
        if port.name not in offsets:
            what = f"{port.name} in {port.unit} has a zero of its own, which a gain would scale"
            remedy = f"give operating_point.{port.name}, the value it is counted from"
            faults.append(Fault("temperature", f"port {port.name}", what, remedy))
    return faults


def state_space_arrays(model: StateSpace, instances: int) -> Arrays:
    """The matrices, one set an instance."""
    a, b, c = (np.array(x, float) for x in (model.a, model.b, model.c))
    d = np.array(model.d, float) if model.d else np.zeros((len(c), b.shape[1]))
    first = np.array(model.initial) if model.initial else np.zeros(len(a))
    return _repeated(a, b, c, d, first, instances, model.time == "discrete")


def transfer_function_arrays(
    model: TransferFunction, inputs: Sequence[str], outputs: Sequence[str], instances: int
) -> Arrays:
    """Controllable canonical form of each entry, balanced, side by side."""
    blocks = [(e, *_canonical(e.num, e.den)) for e in model.entries]
    n = sum(len(a) for _, a, _, _, _ in blocks)
    a, b = np.zeros((n, n)), np.zeros((n, len(inputs)))
    c, d = np.zeros((len(outputs), n)), np.zeros((len(outputs), len(inputs)))
    at = 0
    for entry, block, into, out, through in blocks:
        here = slice(at, at + len(block))
        i, o = list(inputs).index(entry.input), list(outputs).index(entry.output)
        a[here, here], b[here, i], c[o, here] = block, into, out
        d[o, i] = through
        at += len(block)
    return _repeated(a, b, c, d, np.zeros(n), instances, False)


def _repeated(
    a: Float64, b: Float64, c: Float64, d: Float64, first: Float64, instances: int, discrete: bool
) -> Arrays:
    stack = [np.broadcast_to(x, (instances, *x.shape)) for x in (a, b)]
    return Arrays(stack[0], stack[1], np.zeros((instances, len(a))), c, d, first, discrete)


def _canonical(
    num: Sequence[float], den: Sequence[float]
) -> tuple[Float64, Float64, Float64, float]:
    """(a, b, c, d) of one proper fraction."""
    bottom = np.trim_zeros(np.asarray(den, float), "f")
    top = np.trim_zeros(np.asarray(num, float), "f")
    order = len(bottom) - 1
    top = np.concatenate([np.zeros(order + 1 - len(top)), top]) / bottom[0]
    bottom = bottom / bottom[0]
    through = float(top[0])
    a = np.zeros((order, order))
    if order:
        a[0] = -bottom[1:]
        a[1:, :-1] = np.eye(order - 1)
    b = np.eye(order)[0] if order else np.zeros(0)
    c = top[1:] - through * bottom[1:]
    scale = _balance(a)
    return a / scale[:, None] * scale, b / scale, c * scale, through


def _balance(a: Float64) -> Float64:
    """Powers of two that bring rows and columns of `a` to like size (Osborne 1960)."""
    scale = np.ones(len(a))
    for _ in range(_BALANCINGS_MAX):
        before = scale.copy()
        for i in range(len(a)):
            now = np.abs(a / scale[:, None] * scale)
            row, col = now[i].sum() - now[i, i], now[:, i].sum() - now[i, i]
            if row > 0 and col > 0:
                scale[i] *= 2.0 ** np.round(np.log2(row / col) / 2)
        if np.array_equal(before, scale):
            break
    return scale
