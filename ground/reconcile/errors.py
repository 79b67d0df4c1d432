"""Two differences kept apart: model error (edge minus full fidelity) and deviation (sensor minus
baseline).

In: rows with full-fidelity predictions, KPI records. Out: figures a phase, with uncertainty.
Always holds: model error compares what was predicted from the same inputs and no sensor takes
part in it; an uncertainty of a mean counts how many values were independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ground.models.baseline import UNITS
from ground.reconcile.result import Delta, Deviation, ModelError
from shared.behaviour.formulas import delta, flow_to_corrected, temperature_to_corrected, theta
from shared.errors import TailTwinError
from shared.messages import Kpi, KpiSeries
from shared.units import parse_unit

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Names = npt.NDArray[np.str_]
NORMAL_95 = 1.959964
STEP_ROWS_SHARE = 0.5  # of a KPI step that full fidelity must speak in, to be compared
LAGS_SHARE = 4  # autocorrelation is looked at up to a quarter of the values
CORRECTED_UNITS = {"egt": "K", "ff": "kg/h", "n2": "%"}


def mean_95(values: Float64, at_least: float = 0.0) -> float | None:
    """± of the mean of an evenly sampled series, 95 %; None below 3 values.

    n / (1 + 2 sum of autocorrelations, as long as pairs of them are positive) values count as
    independent (C. J. Geyer, "Practical Markov Chain Monte Carlo", Statistical Science 7, 1992).
    at_least: 1 sigma that no number of values averages away.
    """
    n = len(values)
    if n < 3:
        return None
    centred = values - values.mean()
    power = float(centred @ centred) / n
    if power <= 0:
        return NORMAL_95 * at_least
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(centred, size)) ** 2
    rho = np.fft.irfft(spectrum, size)[: max(n // LAGS_SHARE, 2)] / (n * power)
    pairs = rho[1 : len(rho) - (len(rho) - 1) % 2].reshape(-1, 2).sum(axis=1)
    falls = np.flatnonzero(pairs <= 0)
    lasting = pairs[: falls[0]] if len(falls) else pairs
    times = max(1.0, 1 + 2 * float(lasting.sum()))
    return float(NORMAL_95 * np.hypot(np.sqrt(power * min(times, n) / n), at_least))


@dataclass(frozen=True, eq=False)
class EngineRows:
    """One engine's rows. columns: measured, by quantity; full: by output; both in UNITS, [n]."""

    position: int
    esn: str
    t_ns: Int64
    phase: Names
    columns: Mapping[str, Float64]
    full: Mapping[str, Float64]
    steady: Bools
    """Steady rows in which every reading and every prediction is there."""

    def deviation(self, output: str) -> Float64:
        """Sensor minus baseline, [n]."""
        return self.columns[output] - self.full[output]


def phases_of(phase: Names) -> list[str]:
    """Phases that occur, in their order of time."""
    return list(dict.fromkeys(str(x) for x in phase.tolist()))


def deviations_of(engine: EngineRows, model: Mapping[str, float]) -> list[Deviation]:
    """Over stable windows, by output and phase. model: 1 sigma of the baseline, own unit."""
    found = []
    hot = theta(engine.columns["tat"])
    dense = delta(engine.columns["altitude"], engine.columns["mach"])
    for output, unit in UNITS.items():
        measured, full = engine.columns[output], engine.full[output]
        for phase in phases_of(engine.phase[engine.steady]):
            used = engine.steady & (engine.phase == phase)
            value = (measured - full)[used]
            corrected = [
                _corrected(output, x[used], dense[used], hot[used]) for x in (measured, full)
            ]
            found.append(
                Deviation(
                    output=output, unit=unit, esn=engine.esn, position=engine.position,
                    phase=phase, n=len(value), mean=float(value.mean()), sigma=float(value.std()),
                    mean_95=mean_95(value, model.get(output, 0.0)),
                    corrected_unit=CORRECTED_UNITS[output],
                    measured_corrected=float(corrected[0].mean()),
                    baseline_corrected=float(corrected[1].mean()),
                )
            )  # fmt: skip
    return found


def _corrected(output: str, value: Float64, dense: Float64, hot: Float64) -> Float64:
    if output == "egt":
        found: Float64 = temperature_to_corrected(value, hot)
    elif output == "ff":
        found = flow_to_corrected(value, dense, hot)
    else:
        found = value / np.sqrt(hot)
    return found


def deltas_of(
    first: EngineRows, second: EngineRows, models: Sequence[Mapping[str, float]] = ()
) -> list[Delta]:
    """Deviation of the second minus that of the first, where both are steady. models: 1 sigma of
    each baseline, own unit; they err independently."""
    found = []
    both = first.steady & second.steady
    for output, unit in UNITS.items():
        apart = second.deviation(output) - first.deviation(output)
        own = float(np.hypot.reduce([0.0, *(model.get(output, 0.0) for model in models)]))
        for phase in phases_of(first.phase[both]):
            value = apart[both & (first.phase == phase)]
            found.append(
                Delta(
                    output=output, unit=unit, phase=phase, esns=(first.esn, second.esn),
                    n=len(value), mean=float(value.mean()), mean_95=mean_95(value, own),
                )
            )  # fmt: skip
    return found


@dataclass(frozen=True, eq=False)
class EdgeSteps:
    """Predictions of one model output for one ESN, in the unit of UNITS; [m] KPI steps."""

    model: str
    output: str
    esn: str
    start_ns: Int64
    step_ns: int
    predicted: Float64

    def on_rows(self, t_ns: Int64) -> Float64:
        """The step that each row is in, NaN where there is none."""
        found = np.full(len(t_ns), np.nan)
        if not len(self.start_ns):
            return found
        at = np.searchsorted(self.start_ns, t_ns, "right") - 1
        inside = (at >= 0) & (t_ns - self.start_ns[np.maximum(at, 0)] < self.step_ns)
        found[inside] = self.predicted[at[inside]]
        return found


def edge_steps(kpis: Sequence[Kpi]) -> tuple[list[EdgeSteps], list[str]]:
    """What the edge models predicted, by model, output and ESN; and what cannot be compared."""
    collected: dict[tuple[str, str, str, int], list[tuple[int, float]]] = {}
    problems: dict[str, None] = {}
    for kpi in kpis:
        step_ns = round(kpi.step_s * 1e9)
        for series in kpi.series:
            if series.name not in UNITS:
                continue  # a score or another model's output: nothing here stands for it
            problem, values = _values(series)
            if problem:
                problems[f"{kpi.bundle}: {problem}"] = None
                continue
            key = (kpi.bundle, series.name, series.esn, step_ns)
            collected.setdefault(key, []).extend(
                (kpi.t0_ns + i * step_ns, value)
                for i, value in enumerate(values)
                if not np.isnan(value)
            )
    steps = []
    for (model, output, esn, step_ns), pairs in sorted(collected.items()):
        start, index = np.unique(np.array([t for t, _ in pairs], np.int64), return_index=True)
        predicted = np.array([value for _, value in pairs])[index]
        steps.append(EdgeSteps(model, output, esn, start, step_ns, predicted))
    return steps, list(problems)


def _values(series: KpiSeries) -> tuple[str, list[float]]:
    """(problem, values in the unit of UNITS)."""
    try:
        given = parse_unit(series.unit, series.name)
    except TailTwinError as error:
        return error.what, []
    wanted = parse_unit(UNITS[series.name], series.name)
    if given.dimension != wanted.dimension:
        return f"{series.name} is in {series.unit!r}, which is no {wanted.text!r}", []
    factor, zero = given.factor / wanted.factor, (given.zero - wanted.zero) / wanted.factor
    return "", [
        float("nan") if x is None else x * series.lsb * factor + zero for x in series.predicted
    ]


def model_errors(edge: EdgeSteps, engine: EngineRows) -> tuple[list[ModelError], int]:
    """Edge minus full fidelity over the steps of one output; and how many steps the edge model
    spoke in where full fidelity does not. Steps of an ESN that is not this engine's are none."""
    full, steady = engine.full[edge.output], engine.steady
    low = np.searchsorted(engine.t_ns, edge.start_ns)
    high = np.searchsorted(engine.t_ns, edge.start_ns + edge.step_ns)
    speaks = np.concatenate(([0.0], np.cumsum(np.isfinite(full))))
    total = np.concatenate(([0.0], np.cumsum(np.nan_to_num(full))))
    calm = np.concatenate(([0], np.cumsum(steady)))
    n = speaks[high] - speaks[low]
    spoken = n >= np.maximum(STEP_ROWS_SHARE * edge.step_ns / 1e9, 1)
    mean = (total[high] - total[low]) / np.maximum(n, 1)
    error = (edge.predicted - mean)[spoken]
    if not len(error):
        return [], len(spoken)
    middle = np.minimum((low + high) // 2, len(engine.phase) - 1)
    phase = engine.phase[middle][spoken]
    is_steady = ((calm[high] - calm[low]) == (high - low))[spoken]
    found = []
    for name in ("all", *phases_of(phase)):
        here = np.ones(len(error), np.bool_) if name == "all" else phase == name
        for only_steady in (False, True):
            value = error[here & is_steady] if only_steady else error[here]
            if len(value):
                found.append(
                    ModelError(
                        model=edge.model, output=edge.output, unit=UNITS[edge.output],
                        esn=edge.esn, position=engine.position, phase=name, steady=only_steady,
                        n=len(value), mean=float(value.mean()),
                        rms=float(np.sqrt((value**2).mean())),
                        max_abs=float(np.abs(value).max()), sigma=float(value.std()),
                        mean_95=mean_95(value),
                    )
                )  # fmt: skip
    return found, int((~spoken).sum())
