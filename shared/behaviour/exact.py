"""The exact step of a linear system whose inputs are held: matrix exponentials, once, ahead.

In: dx/dt = A x + B u + c, one set an instance, and a step. Out: `Exact`, the increment of x.
Always holds: what is kept is e^(A h) - I itself, never a difference from I, so slow states keep
their digits in float32.

Source: C. F. Van Loan, "Computing Integrals Involving the Matrix Exponential", IEEE Trans. AC
23(3), 1978 (the augmented matrix); scaling and squaring on e^M - 1, as expm1 does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from shared.behaviour.dynamics import Float64
from shared.errors import Rejected

_NORM_MAX = 0.5
_TERMS = 16  # 0.5^17 / 17! is under 1e-19
_SQUARINGS_MAX = 60


@dataclass(frozen=True, eq=False)
class Exact:
    """Transposed, so that rows of states multiply from the left: [n, n] or [E, n, n]."""

    by_state: Float64
    by_input: Float64
    constant: Float64

    @property
    def transition(self) -> Float64:
        """Matrices e^(A h) [1 or E, n, n]."""
        stack = self.by_state[None] if self.by_state.ndim == 2 else self.by_state
        return stack.transpose(0, 2, 1) + np.eye(stack.shape[1])

    def move(self, x: Any, u: Any) -> Any:
        """Increment [E, n] of states x [E, n] with inputs u [E, m]."""
        moved = times(x, self.by_state) + times(u, self.by_input)
        return moved + self.constant if np.any(self.constant) else moved


def times(rows: Any, matrix: Float64) -> Any:
    """rows [E, k] by one matrix [k, n], or by one an instance [E, k, n]."""
    if matrix.ndim == 2:
        return np.matmul(rows, matrix)
    count, k, n = matrix.shape
    return np.matmul(rows.reshape(count, 1, k), matrix).reshape(count, n)


def exact_step(a: Float64, b: Float64, constant: Float64, step_s: float) -> Exact:
    """From a [E, n, n], b [E, n, m], constant [E, n]."""
    count, n, m = b.shape
    moved = np.zeros((count, n, n + m + 1))
    for i in range(count):
        augmented = np.zeros((n + m + 1, n + m + 1))
        augmented[:n] = np.hstack([a[i], b[i], constant[i][:, None]]) * step_s
        moved[i] = exponential_minus_one(augmented)[:n]
    by_state, by_input = moved[:, :, :n], moved[:, :, n:-1]
    return Exact(shared(by_state), shared(by_input), moved[:, :, -1])


def shared(stack: Float64) -> Float64:
    """Transposed matrices; one for all instances where they are the same."""
    turned = stack.transpose(0, 2, 1)
    return turned[0] if bool(np.all(turned == turned[0])) else turned


def exponential_minus_one(matrix: Float64) -> Float64:
    """e^M - I of one square matrix; Rejected where a float cannot hold it."""
    norm = float(np.abs(matrix).sum(axis=1).max())
    if not norm < _NORM_MAX * 2.0**_SQUARINGS_MAX:
        what = f"a linear system whose matrices reach {norm:.3g} in one step"
        raise Rejected(what, "behaviour", "bring its numbers to a size that a float holds")
    squarings = max(0, int(np.ceil(np.log2(norm / _NORM_MAX)))) if norm > 0 else 0
    scaled = matrix / 2.0**squarings
    term, total = scaled, scaled.copy()
    for k in range(2, _TERMS + 1):
        term = term @ scaled / k
        total = total + term
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(squarings):
            total = 2.0 * total + total @ total
    if not np.isfinite(total).all():
        what = "a linear system that grows beyond any number in one step"
        raise Rejected(what, "behaviour", "correct the signs of its poles")
    return total
