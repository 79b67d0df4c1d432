"""A small autoencoder, trained with Adam in plain numpy.

In: rows of features. Out: a frozen `Network` with its scaling and the whitening of what it does
not restore. Always holds: the same rows and seed give the same numbers on one machine; a
feature that never moved is scaled by 1.

Source: D. P. Kingma, J. Ba, "Adam", ICLR 2015 (betas 0.9 and 0.999); weights drawn as X. Glorot,
Y. Bengio, AISTATS 2010.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from hil.fit.samples import Float64

RIDGE = 0.05  # of the residuals' covariance, relative to each variance: an assumption
SCALE_MIN = 1e-6


@dataclass(frozen=True, eq=False)
class Network:
    """Layers [in, out]; is_bent: tanh follows. whitening: of the residuals, [width, judged]; the
    rows of features that are not judged are 0."""

    centre: Float64
    scale: Float64
    weights: tuple[Float64, ...]
    biases: tuple[Float64, ...]
    is_bent: tuple[bool, ...]
    whitening: Float64

    def restore(self, scaled: Float64) -> Float64:
        x = scaled
        for weights, bias, bent in zip(self.weights, self.biases, self.is_bent, strict=True):
            x = x @ weights + bias
            x = np.tanh(x) if bent else x
        return x


def train(
    rows: Float64,
    judged: Sequence[int],
    *,
    hidden: int,
    bottleneck: int,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
) -> Network:
    """width → hidden (tanh) → bottleneck → hidden (tanh) → width. judged: columns of the score."""
    rng = np.random.default_rng(seed)
    centre, spread = rows.mean(axis=0), rows.std(axis=0)
    scale = 1 / np.where(spread > SCALE_MIN, spread, 1.0)
    scaled = (rows - centre) * scale
    width = rows.shape[1]
    sizes = (width, hidden, bottleneck, hidden, width)
    bent = (True, False, True, False)
    values = [rng.normal(0, np.sqrt(2 / (a + b)), (a, b)) for a, b in pairwise(sizes)]
    values += [np.zeros(b) for b in sizes[1:]]
    first, second = [np.zeros_like(v) for v in values], [np.zeros_like(v) for v in values]
    for step in range(steps):
        part = scaled[rng.integers(0, len(scaled), batch)]
        now = rate * 0.5 * (1 + np.cos(np.pi * step / steps))
        for i, slope in enumerate(_slopes(values, bent, part)):
            first[i] += 0.1 * (slope - first[i])
            second[i] += 0.001 * (slope * slope - second[i])
            mean, square = first[i] / (1 - 0.9 ** (step + 1)), second[i] / (1 - 0.999 ** (step + 1))
            values[i] -= now * mean / (np.sqrt(square) + 1e-8)
    layers = len(bent)
    draft = Network(
        centre, scale, tuple(values[:layers]), tuple(values[layers:]), bent, np.eye(width)
    )
    return replace(draft, whitening=_whitening(draft.restore(scaled) - scaled, judged))


def _whitening(missed: Float64, judged: Sequence[int]) -> Float64:
    """[width, judged]: residuals times it have a covariance near the unit matrix."""
    judged = list(judged)
    part = missed[:, judged]
    covariance = part.T @ part / len(part)
    covariance += RIDGE * np.diag(np.diag(covariance))
    strength, axes = np.linalg.eigh(covariance)
    out = np.zeros((missed.shape[1], len(judged)))
    out[judged] = axes / np.sqrt(strength) @ axes.T
    return out


def _slopes(values: list[Float64], bent: tuple[bool, ...], part: Float64) -> list[Float64]:
    """Gradients of the mean squared error, in the order of `values`."""
    layers = len(bent)
    seen = [part]
    for i in range(layers):
        x = seen[-1] @ values[i] + values[layers + i]
        seen.append(np.tanh(x) if bent[i] else x)
    back = 2 * (seen[-1] - part) / part.size
    slopes: list[Float64] = [np.empty(0)] * (2 * layers)
    for i in reversed(range(layers)):
        if bent[i]:
            back = back * (1 - seen[i + 1] ** 2)
        slopes[i], slopes[layers + i] = seen[i].T @ back, back.sum(axis=0)
        back = back @ values[i].T
    return slopes
