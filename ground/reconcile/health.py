"""Gas-path analysis: which change of health explains what was measured, and how well it is known.

In: windows of ln(measured / baseline) of N2, EGT (K) and fuel flow at the measured N1, and their
sensitivities. Out: the causes tried one by one, and the joint estimate of all parameters.
Always holds: an uncertainty holds the noise of the sensors, the baseline's own error (which more
rows do not average away), the lag of a moving engine and the error of the sensitivities.

Method: A. J. Volponi, "Gas Turbine Engine Health Management: Past, Present, and Future Trends",
J. Eng. Gas Turbines Power 136 (2014) 051201: weighted least squares with a prior (MAP) for many
parameters from few sensors, single-fault hypotheses for isolation. Three measurements cannot
tell ten parameters apart; the joint estimate says by `learned` what it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from ground.models.baseline import OUTPUTS

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
PARAMETERS = ("fan_eff", "fan_flow", "lpc_eff", "lpc_flow", "hpc_eff", "hpc_flow", "hpt_eff",
              "hpt_flow", "lpt_eff", "lpt_flow")  # fmt: skip
"""As ground.models.turbofan names them; fractions of nominal."""
TEXTS = {"fan": "fan", "lpc": "booster", "hpc": "HPC", "hpt": "HPT", "lpt": "LPT",
         "eff": "efficiency", "flow": "flow capacity"}  # fmt: skip
SENSOR_TEXTS = {"n2": "N2 sensor", "egt": "EGT sensor", "ff": "fuel-flow sensor", "n1": "N1 sensor",
                "tat": "TAT sensor", "mach": "Mach", "altitude": "pressure altitude",
                "bleed": "bleed signal", "anti-ice": "anti-ice signal"}  # fmt: skip

# 1 sigma of a change between maintenance events, a fraction of nominal; assumptions: compressors
# take what the air brings (dirt, erosion, ingestion) and lose most, the low-pressure parts least.
PRIOR = {"fan_eff": 0.01, "fan_flow": 0.01, "lpc_eff": 0.015, "lpc_flow": 0.015, "hpc_eff": 0.03,
         "hpc_flow": 0.03, "hpt_eff": 0.0125, "hpt_flow": 0.01, "lpt_eff": 0.01,
         "lpt_flow": 0.01}  # fmt: skip
BIAS_PRIOR = {"n2": 0.003, "egt": 0.012, "ff": 0.02, "n1": 0.003, "tat": 0.007, "mach": 0.005,
              "altitude": 0.015, "bleed": 0.03, "anti-ice": 0.03}  # fmt: skip
"""1 sigma of a sensor that has gone off: 0.3 % N2 and N1, 10 K EGT, 2 % fuel flow, 2 K TAT, Mach 0.005,
150 ft, 0.6 of a bleed or anti-ice that is not as its signal says (assumptions)."""
INPUT_SCALE = {"n1": 100.0, "tat": 288.15, "mach": 1.0, "altitude": 1e4, "bleed": 20.0,
               "anti-ice": 20.0}  # fmt: skip
"""What an amount of 1 is of an input of the model, own unit. A wrong input looks like an engine that
is off in everything at once."""
SWITCHED = ("bleed", "anti-ice")
SENSOR_SHARE = 0.25
"""Of what is found, before the readings are looked at, sensors are a quarter; what deteriorates
more is at fault more often, in proportion to PRIOR. Assumptions; they decide only between causes
that the readings cannot tell apart."""
SIGN = dict.fromkeys(PARAMETERS, -1) | {"hpt_flow": 0, "lpt_flow": 0}
"""Wear lowers efficiencies and what compressors swallow; turbine nozzles erode or clog."""
AMOUNT_MAX = 0.08  # of a change, 4 sigma; a greater one is no deterioration
SENSITIVITY_SIGMA = 0.05
"""Relative error of a sensitivity, per output: ours against pyCycle's (docs/reconciliation.md). It
counts twice: as one error of all windows, and anew in each, for maps have kinks at other places than
the engine has; without the second the shape of a large change over the flight decides its size."""
MODEL_FLOOR = {"n2": 0.0005, "egt": 0.001, "ff": 0.002}
"""Least error of a baseline, relative: 0.05 % N2, 1 K EGT, 0.2 % fuel flow; assumption."""
MODEL_SHARES = (0.4, 0.3, 0.2, 0.1)
"""Of the variance of a baseline's error: the same all flight; with the flight condition; with time;
anew in each window, for maps have kinks where the engine has none: 0.03 % of EGT. Without the last a
healthy engine of the demo scored 6.1, with it below 0 on four flights. Assumptions."""
CONDITION_SPANS = (6.0, 0.15)
"""Corrected N1 (%) and Mach over which the second part forgets itself: trims are straight lines
over 20 % of N1, maps are read at steps of 5 %; assumption."""
MODEL_TAU_S = 600.0  # over which the third part forgets itself: heat soak; assumption
LAG_S = 3.0  # 1 sigma; thermocouples lag by 2 s, the core by a few (see the steady rule aboard)
STEP_ENOUGH = 1e-5  # of a Gauss-Newton step: 0.001 %
WHITE_MIN = {"n2": 2e-5, "egt": 5e-5, "ff": 2e-4}  # of a 1 s mean: a tenth of the LSBs of ARINC 429


@dataclass(frozen=True, eq=False)
class Observed:
    """k stable windows of one engine. z: ln(measured / baseline), EGT in K, [k, 3] in OUTPUTS."""

    start_ns: Int64
    stop_ns: Int64
    rows: Int64
    z: Float64
    rate: Float64
    """d ln(baseline) / dt, 1/s, [k, 3]: what a lag of a second leaves behind."""
    white: Float64
    """Noise of a 1 s mean, 1 sigma, relative, [3]."""
    model: Float64
    """Error of the baseline, 1 sigma, relative, [3]."""
    condition: Float64
    """Corrected N1 (%) and Mach, [k, 2]."""
    level: Float64
    """Baseline's outputs, EGT in K, [k, 3]."""
    taken: Float64 | float = 0.0
    """What a cause explained and was taken away from z, [k, 3]."""
    taken_sigma: float = 0.0
    """Relative error of `taken`, 1 sigma: one error of all windows."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def t_s(self) -> Float64:
        """Middle of each window, s after the first begins."""
        middle: Float64 = (self.start_ns + self.stop_ns - 2 * self.start_ns[0]) / 2e9
        return middle

    @cached_property
    def covariance(self) -> Float64:
        """Of z, per output, [3, k, k]; outputs err independently."""
        t_s, at = self.t_s, self.condition / np.array(CONDITION_SPANS)
        apart = ((at[:, None, :] - at[None, :, :]) ** 2).sum(axis=2)
        always, by_condition, by_time, anew = MODEL_SHARES
        alike = always + by_condition * np.exp(-0.5 * apart)
        alike += by_time * np.exp(-np.abs(t_s[:, None] - t_s[None, :]) / MODEL_TAU_S)
        found = np.empty((len(OUTPUTS), len(self), len(self)))
        for o in range(len(OUTPUTS)):
            lag = LAG_S * self.rate[:, o]
            found[o] = self.model[o] ** 2 * alike + np.outer(lag, lag)
            taken = np.broadcast_to(self.taken, self.z.shape)[:, o]
            found[o] += np.outer(taken, taken) * self.taken_sigma**2
            own = self.white[o] ** 2 / self.rows + anew * self.model[o] ** 2
            own = own + SENSITIVITY_SIGMA**2 * (self.z[:, o] + taken) ** 2
            found[o][np.diag_indices(len(self))] += own
        return found

    @cached_property
    def weight(self) -> Float64:
        """Inverse of the covariance, per output, [3, k, k]."""
        eye = np.eye(len(self))
        return np.stack([cho_solve(cho_factor(c), eye) for c in self.covariance])

    @property
    def chi2(self) -> float:
        """Of no change at all, over 3 k degrees of freedom."""
        return float(np.einsum("ko,okl,lo->", self.z, self.weight, self.z))


@dataclass(frozen=True)
class Cause:
    """One thing that may have changed. sign: -1 only down, +1 only up, 0 either way."""

    name: str
    prior: float
    sign: int
    sensitivity_sigma: float
    share: float
    """Prior probability among all causes."""

    @property
    def bias_of(self) -> str:
        """The output whose sensor it is; empty for a health parameter."""
        return self.name.removeprefix("bias_") if self.name.startswith("bias_") else ""

    @property
    def text(self) -> str:
        """`HPC efficiency`, `EGT sensor`."""
        if self.bias_of:
            return SENSOR_TEXTS[self.bias_of]
        component, _, what = self.name.partition("_")
        return f"{TEXTS[component]} {TEXTS[what]}"


def _causes() -> tuple[Cause, ...]:
    total = sum(PRIOR.values())
    engine = [Cause(x, PRIOR[x], SIGN[x], SENSITIVITY_SIGMA, (1 - SENSOR_SHARE) * PRIOR[x] / total)
              for x in PARAMETERS]  # fmt: skip
    sensors = [Cause(f"bias_{x}", prior, 0, SENSITIVITY_SIGMA if x in INPUT_SCALE else 0.0,
                     SENSOR_SHARE / len(BIAS_PRIOR)) for x, prior in BIAS_PRIOR.items()]  # fmt: skip
    return (*engine, *sensors)


CAUSES = _causes()


def directions(sensitivities: Float64, level: Float64, inputs: Float64) -> Float64:
    """How z moves with each of CAUSES, [k, 3, causes].

    sensitivities: [k, 3, PARAMETERS]; level: [k, 3]; inputs: of `misread`, [k, 3, INPUT_SCALE]. A
    bias of N2 and EGT is an amount added, as a share of the median level; that of fuel flow a
    factor, as of a flow meter.
    """
    k = len(sensitivities)
    biases = np.zeros((k, len(OUTPUTS), len(OUTPUTS)))
    for i, name in enumerate(OUTPUTS):
        biases[:, i, i] = 1.0 if name == "ff" else np.median(level[:, i]) / level[:, i]
    return np.concatenate([sensitivities, biases, inputs], axis=2)


def misread(
    predict: Callable[[Mapping[str, Float64]], Float64], points: Mapping[str, Float64]
) -> Float64:
    """How z moves when an input reads too high by its INPUT_SCALE, [k, 3, INPUT_SCALE].

    predict: points to ln of outputs (EGT in K), [k, 3]. The engine answers to what is true, its
    baseline to what was read. 0 where the model does not speak.
    """
    found = []
    for cause, scale in INPUT_SCALE.items():
        name = cause.replace("-", "_")
        if cause in SWITCHED:  # what the other position would show
            low, high = np.zeros_like(points[name]), np.ones_like(points[name])
        else:
            half = BIAS_PRIOR[cause] * scale
            low, high = points[name] - half, points[name] + half
        apart = predict({**points, name: high}) - predict({**points, name: low})
        found.append(-apart * scale / (high - low)[:, None])
    return np.nan_to_num(np.stack(found, axis=2))


def model_error(sigma: Mapping[str, float], level: Mapping[str, float]) -> Float64:
    """Relative errors of a baseline, [3], from its own figures and typical values (EGT in K)."""
    return np.array([max(sigma.get(x, 0.0) / max(level[x], 1e-9), MODEL_FLOOR[x]) for x in OUTPUTS])


def white_noise(z_rows: Float64, label: Int64) -> Float64:
    """Noise of a 1 s mean from differences of neighbouring rows of one window, [3].

    Differences do not see a slow change; the median does not see a few spikes.
    """
    same = (label[1:] == label[:-1]) & (label[1:] >= 0)
    floor = np.array([WHITE_MIN[x] for x in OUTPUTS])
    if same.sum() < 3:
        return floor
    steps = np.abs(np.diff(z_rows, axis=0)[same])
    found: Float64 = np.maximum(1.4826 * np.median(steps, axis=0) / np.sqrt(2), floor)
    return found


@dataclass(frozen=True, eq=False)
class Joint:
    """MAP estimate of all PARAMETERS, fractions; learned: share of the prior's variance gone."""

    estimate: Float64
    covariance: Float64
    learned: Float64
    chi2: float
    converged: bool


def joint_estimate(
    observed: Observed, used: npt.NDArray[np.bool_], slope: Float64,
    response: Callable[[Float64], Float64], steps_max: int = 12,
) -> Joint:  # fmt: skip
    """Gauss-Newton on ln(measured / baseline) over the windows `used`, with the prior.

    slope: sensitivities at no change, [k, 3, 10], kept (over a few percent they hold within
    SENSITIVITY_SIGMA); response: change [10] to ln ratio [k, 3], not linearised.
    """
    prior = np.diag([1 / PRIOR[name] ** 2 for name in PARAMETERS])
    index = np.flatnonzero(used)
    weight = [np.linalg.inv(c[np.ix_(index, index)]) for c in observed.covariance]
    slope = slope[index]
    information = prior + sum(slope[:, o].T @ w @ slope[:, o] for o, w in enumerate(weight))
    x, converged, left = np.zeros(len(PARAMETERS)), False, observed.z[index]
    for _ in range(steps_max):
        push = -prior @ x
        for o, w in enumerate(weight):
            push = push + slope[:, o].T @ w @ left[:, o]
        step = np.linalg.solve(information, push)
        x = x + step
        left = (observed.z - response(x))[index]
        if not np.isfinite(left).all():
            break
        if np.abs(step).max() < STEP_ENOUGH:
            converged = True
            break
    posterior = np.linalg.inv(information)
    learned = 1 - np.diag(posterior) / np.diag(np.linalg.inv(prior))
    covariance = posterior + np.diag((SENSITIVITY_SIGMA * x) ** 2)
    chi2 = float(sum(left[:, o] @ w @ left[:, o] for o, w in enumerate(weight)))
    return Joint(x, np.asarray(covariance, np.float64), learned, chi2, converged)
