"""Lattice regression: the table whose interpolation fits scattered points best, and bends least.

In: points [n, axes], values [n], axes. Out: table values [product of the axes' lengths].
Always holds: linear least squares with a unique solution; where no point was seen the penalty
continues the table straight, or in the shape of the table before.

Method: E. Garcia, M. Gupta, "Lattice Regression", NIPS 2009, with second differences as penalty.
Effects (bleed, anti-ice) scale the table, so the fit is a product: solved by Gauss-Newton.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import spsolve

from shared.behaviour.kinds import Axis, hat_weights

Float64 = npt.NDArray[np.float64]
ROUNDS = 3  # Gauss-Newton steps; the effects stand to 1e-8 after 2
TINY = 1e-6  # share of a first-difference penalty, so that the solution is unique
LEVEL = 1.0
"""The same share of a table that keeps the shape of another: where nothing was seen, the quotient
stays as it is at the nearest point that was, and does not run on."""


def weights(points: Float64, axes: Sequence[Axis]) -> sparse.csr_matrix:
    """Interpolation weights [n, table], last axis fastest."""
    rows = [
        sparse.csr_matrix(hat_weights(points[:, i : i + 1], axis.points))
        for i, axis in enumerate(axes)
    ]
    return reduce(_row_products, rows)


def fit(
    points: Float64,
    values: Float64,
    quantities: Float64,
    axes: Sequence[Axis],
    smoothness: float,
    before: Float64 | None = None,
) -> tuple[Float64, Float64]:
    """(table values, effect coefficients) for values = table(points) (1 + quantities . c).

    quantities: [n, effects]. before: table values whose shape is kept: what bends least is then not
    the table, but its quotient by them.
    """
    level = float(np.mean(values))
    target = values / level
    w = weights(points, axes)
    if before is not None:
        w = w @ sparse.diags(before / level)
    penalty = smoothness * _penalty(tuple(axes), TINY if before is None else LEVEL)
    size, count = w.shape[1], quantities.shape[1]
    # 1e-9: a quantity that never moved has no effect, rather than any
    full = sparse.block_diag([penalty, 1e-9 * sparse.identity(count)]).tocsc()
    table, effects = np.ones(size), np.zeros(count)
    for _ in range(ROUNDS):
        base = w @ table
        # values = table (1 + q c), linear around the last table and c: both move at once
        slope = sparse.hstack(
            [
                sparse.diags(1 + quantities @ effects) @ w,
                sparse.csr_matrix(quantities * base[:, None]),
            ]
        ).tocsr()
        aim = target + base * (quantities @ effects)
        both = spsolve((slope.T @ slope / len(values) + full).tocsc(), slope.T @ aim / len(values))
        table, effects = both[:size], both[size:]
    return table * (level if before is None else before), effects


def curvature(axes: Sequence[Axis], first: float = TINY) -> sparse.csr_matrix:
    """Differences that the penalty squares: second ones, and a share of first ones."""
    parts = []
    sizes = [len(axis.points) for axis in axes]
    for i, axis in enumerate(axes):
        share = np.asarray(axis.points) - axis.points[0]
        share /= share[-1]
        slope = sparse.diags(1 / np.diff(share)) @ _difference(sizes[i])
        for operator, weight in ((_difference(sizes[i] - 1) @ slope, 1.0), (slope, first**0.5)):
            if operator.shape[0] == 0:
                continue
            before = sparse.identity(int(np.prod(sizes[:i])))
            after = sparse.identity(int(np.prod(sizes[i + 1 :])))
            scale = weight / np.sqrt(np.prod(sizes))
            parts.append(scale * sparse.kron(sparse.kron(before, operator), after))
    return sparse.vstack(parts).tocsr()


@lru_cache(maxsize=4)
def _penalty(axes: tuple[Axis, ...], first: float) -> sparse.csr_matrix:
    """Kept, since every column of a grid asks for the same."""
    bend = curvature(axes, first)
    return (bend.T @ bend).tocsr()


def _difference(size: int) -> sparse.csr_matrix:
    return sparse.diags(
        [-np.ones(size - 1), np.ones(size - 1)], [0, 1], shape=(size - 1, size)
    ).tocsr()


def _row_products(a: sparse.csr_matrix, b: sparse.csr_matrix) -> sparse.csr_matrix:
    """Row by row Kronecker product (Khatri-Rao)."""
    n, width = a.shape[0], b.shape[1]
    left, right = a.tocoo(), b.tocsr()
    count = np.diff(right.indptr)[left.row]
    starts = np.repeat(right.indptr[left.row], count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    rows = np.repeat(left.row, count)
    columns = np.repeat(left.col, count) * width + right.indices[starts + within]
    data = np.repeat(left.data, count) * right.data[starts + within]
    return sparse.csr_matrix((data, (rows, columns)), shape=(n, a.shape[1] * width))
