"""Small regressors, each from another seed, trained side by side with Adam in plain numpy.

In: rows of scaled features and what they should give. Out: frozen `Networks` whose mean is the
answer. Always holds: the same rows and seed give the same numbers on one machine (float64).

Source: D. P. Kingma, J. Ba, "Adam", ICLR 2015 (betas 0.9 and 0.999); decoupled weight decay:
I. Loshchilov, F. Hutter, ICLR 2019; a mean of networks that differ by seed alone:
B. Lakshminarayanan et al., NeurIPS 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """hidden: units of the tanh layers. rate falls to 0 along half a cosine."""

    hidden: tuple[int, ...] = (32, 16)
    members: int = 8
    steps: int = 4000
    batch: int = 256
    rate: float = 5e-3
    decay: float = 0.03
    seed: int = 1


@dataclass(frozen=True, eq=False)
class Networks:
    """weights: [members, in, out] a layer, biases [members, 1, out]; all layers but the last are
    followed by tanh."""

    weights: tuple[Float64, ...]
    biases: tuple[Float64, ...]

    @property
    def members(self) -> int:
        return len(self.weights[0])

    def mean(self, rows: Any, count: int) -> Any:
        """[count, 1] of scaled features [count, width], as an array or as the compiler's tensor."""
        x = rows.reshape(count, 1, 1, self.weights[0].shape[1])
        last = len(self.weights) - 1
        for i, (weights, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = np.matmul(x, weights) + bias
            x = x if i == last else np.tanh(x)
        share = np.full((self.members, 1), 1.0 / self.members)
        return np.matmul(x.reshape(count, self.members), share)


def train(rows: Float64, wanted: Float64, settings: Training) -> Networks:
    """Least squares of `wanted` [n], whose mean and spread end up in the last layer."""
    centre, spread = float(wanted.mean()), float(wanted.std()) or 1.0
    target = ((wanted - centre) / spread)[:, None]
    members = [_member(rows, target, settings, settings.seed + i) for i in range(settings.members)]
    layers = len(settings.hidden) + 1
    stacked = [np.stack(parts) for parts in zip(*members, strict=True)]
    weights, biases = stacked[:layers], [b[:, None, :] for b in stacked[layers:]]
    weights[-1] = weights[-1] * spread
    biases[-1] = biases[-1] * spread + centre
    return Networks(tuple(weights), tuple(biases))


def _member(rows: Float64, target: Float64, settings: Training, seed: int) -> list[Float64]:
    """Weights, then biases."""
    rng = np.random.default_rng(seed)
    sizes = (rows.shape[1], *settings.hidden, 1)
    layers = len(sizes) - 1
    values = [rng.normal(0, np.sqrt(2 / (a + b)), (a, b)) for a, b in pairwise(sizes)]
    values += [np.zeros(b) for b in sizes[1:]]
    first, second = [np.zeros_like(v) for v in values], [np.zeros_like(v) for v in values]
    for step in range(settings.steps):
        picked = rng.integers(0, len(rows), settings.batch)
        now = settings.rate * 0.5 * (1 + np.cos(np.pi * step / settings.steps))
        for i, slope in enumerate(_slopes(values, rows[picked], target[picked])):
            first[i] += 0.1 * (slope - first[i])
            second[i] += 0.001 * (slope * slope - second[i])
            mean, square = first[i] / (1 - 0.9 ** (step + 1)), second[i] / (1 - 0.999 ** (step + 1))
            shrink = settings.decay * values[i] if i < layers else 0.0
            values[i] -= now * (mean / (np.sqrt(square) + 1e-8) + shrink)
    return values


def _slopes(values: list[Float64], rows: Float64, target: Float64) -> list[Float64]:
    """Gradients of the mean squared error, in the order of `values`."""
    layers = len(values) // 2
    seen = [rows]
    for i in range(layers):
        x = seen[-1] @ values[i] + values[layers + i]
        seen.append(np.tanh(x) if i < layers - 1 else x)
    back = 2 * (seen[-1] - target) / len(target)
    slopes: list[Float64] = [np.empty(0)] * (2 * layers)
    for i in reversed(range(layers)):
        if i < layers - 1:
            back = back * (1 - seen[i + 1] ** 2)
        slopes[i], slopes[layers + i] = seen[i].T @ back, back.sum(axis=0)
        back = back @ values[i].T
    return slopes
