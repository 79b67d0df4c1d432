"""An anomaly score of every engine: an autoencoder trained on healthy flights, judged on others.

In: a recipe and flights. Out: the declaration and the graph of a bundle of kind `trained`.
Always holds: a flight is used to train, to set the threshold or to report, never two of them; the
same flights give the same bytes on one machine (seeded; float64).

Method: what the engine shows, corrected to standard day (theta, delta), and where it flies are
scaled, squeezed through as many numbers as a healthy engine has degrees of freedom, and
restored. The score is the Mahalanobis distance of what was not restored of the engine, by the
healthy residuals' covariance, over the root of its dimensions: about 1 when healthy. Switched
inputs (bleed, anti-ice) are seldom in their other position, so there is no score then.
(Autoencoders as novelty detectors: N. Japkowicz, C. Myers, M. Gluck, IJCAI 1995.)

`python -m hil.fit.anomaly RECIPE --out DECLARATION` writes the declaration and, beside it, .onnx.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from hil.fit.anomaly_recipe import AnomalyRecipe, load_anomaly_recipe
from hil.fit.network import Network, train
from hil.fit.samples import Float64, Samples, resample
from hil.plant.flight import Flight
from hil.plant.fly import fly
from shared.behaviour.compile import compile_dynamics
from shared.behaviour.formulas import (
    corrected_speed,
    delta,
    flow_to_corrected,
    temperature_to_corrected,
    theta,
)
from shared.behaviour.monitoring import smoothed
from shared.bundle import (
    Applicability,
    Bundle,
    Calibration,
    Input,
    Instance,
    ModelCard,
    Monitor,
    Output,
    Requirements,
    Trained,
)
from shared.bundlefile import pretty
from shared.errors import Rejected, TailTwinError
from shared.signals import SignalSet, load_signal_set

FEATURES = ("n1c", "mach", "n2c", "egtc", "ffc")
JUDGED = (0, 2, 3, 4)  # all but Mach, which is not the engine's
SWITCH_MARGIN = 0.01  # of a mean over one step: it did not move in it
SAMPLES_MIN = 500  # of one engine, steady; an assumption, as in baseline.py
FlightOf = Callable[[str], Flight]


class Anomaly:
    """The score as dynamics without states, which the compiler can trace.

    One network an engine; weights are [E, in, out].
    """

    kind = "anomaly"

    def __init__(self, networks: Sequence[Network]) -> None:
        self.networks, self.instances = tuple(networks), len(networks)
        self.initial: dict[str, Float64] = {}

    def step(
        self, inputs: Mapping[str, Any], _states: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        def stacked(name: str) -> Any:
            return np.stack([getattr(x, name) for x in self.networks])

        scaled = (np.concatenate(features(inputs), axis=1) - stacked("centre")) * stacked("scale")
        width = len(FEATURES)
        x = scaled.reshape(self.instances, 1, width)
        for i in range(len(self.networks[0].weights)):
            weights = np.stack([n.weights[i] for n in self.networks])
            bias = np.stack([n.biases[i] for n in self.networks])
            x = np.matmul(x, weights) + bias[:, None, :]
            if self.networks[0].is_bent[i]:
                x = np.tanh(x)
        missed = np.matmul(x - scaled.reshape(self.instances, 1, width), stacked("whitening"))
        share = np.full((1, len(JUDGED), 1), 1.0 / len(JUDGED))
        squares = np.matmul(missed * missed, share)
        return {"score": np.sqrt(squares).reshape(self.instances, 1)}, {}


def features(inputs: Mapping[str, Any]) -> list[Any]:
    """FEATURES from the inputs, by the formulas of the baselines."""
    hot = theta(inputs["tat"])
    pressed = delta(inputs["altitude"], inputs["mach"])
    return [
        corrected_speed(inputs["n1"], hot),
        inputs["mach"],
        corrected_speed(inputs["n2"], hot),
        temperature_to_corrected(inputs["egt"], hot),
        flow_to_corrected(inputs["ff"], pressed, hot),
    ]


def fit_anomaly(
    recipe: AnomalyRecipe, signals: SignalSet, flight_of: FlightOf
) -> tuple[Bundle, bytes]:
    """(declaration, graph); Rejected when a flight is used twice or there are too few rows."""
    every = [*recipe.train, *recipe.threshold, *recipe.held_out]
    if len(set(every)) != len(every):
        raise Rejected("a flight is used twice", recipe.name, "use other seeds")
    names = {n for x in recipe.instances for n in x.inputs.values()}
    flown = {x: resample(flight_of(x), signals, names, recipe.rate_hz) for x in every}
    return fit_samples(recipe, signals, flown)


def fit_samples(
    recipe: AnomalyRecipe, signals: SignalSet, flown: Mapping[str, Samples]
) -> tuple[Bundle, bytes]:
    """From rows of flights, by `mission:seed`."""
    rows = [
        steady_rows(recipe, x, [flown[f] for f in recipe.train], recipe.train_phases)
        for x in recipe.instances
    ]
    if min(map(len, rows)) < SAMPLES_MIN:
        raise Rejected(f"{min(map(len, rows))} steady rows of an engine", recipe.name, "fly more")
    settings = msgspec.structs.asdict(recipe.training)
    seed = settings.pop("seed")
    networks = [
        train(_featured(recipe, row), JUDGED, seed=seed + i, **settings)
        for i, row in enumerate(rows)
    ]
    moving = Anomaly(networks)
    scores = {
        use: np.concatenate(
            [_smoothed(recipe, moving, i, flown[name]) for name in flights
             for i in range(len(recipe.instances))]
        )
        for use, flights in (("threshold", recipe.threshold), ("held_out", recipe.held_out))
    }  # fmt: skip
    rule = recipe.monitor
    onset = max(
        rule.margin * float(np.quantile(scores["threshold"], rule.quantile)), rule.onset_min
    )
    onset = math.ceil(20 * onset) / 20
    figures = {
        "rows_trained": float(sum(map(len, rows))),
        **{f"score_{use}_median": float(np.median(x)) for use, x in scores.items()},
        **{f"score_{use}_worst": float(x.max()) for use, x in scores.items()},
        **{f"score_{use}_n": float(len(x)) for use, x in scores.items()},
    }
    model = compile_dynamics(moving, recipe.columns, ["score"])
    bundle = _declare(recipe, signals, rows, onset, figures)
    need = Requirements(nodes=model.nodes + 8, tensor_elements=2 * model.tensor_elements)
    return msgspec.structs.replace(bundle, requirements=need), model.onnx


def steady_rows(
    recipe: AnomalyRecipe,
    instance: Instance,
    flights: Sequence[Samples],
    phases: Sequence[str],
) -> Float64:
    """[n, columns]: every value there, switches as they must be, engine running and steady."""
    parts = []
    for samples in flights:
        whole = np.column_stack([samples.columns[instance.inputs[x]] for x in recipe.columns])
        lead = instance.inputs[recipe.steady.input]
        used = samples.is_steady(lead, recipe.steady, recipe.rate_hz)
        used &= np.isfinite(whole).all(axis=1) & np.isin(samples.phase, phases)
        used &= samples.columns[lead] >= recipe.running_min
        for i, switch in enumerate(recipe.switched.values(), start=len(recipe.inputs)):
            used &= np.abs(whole[:, i] - switch.only) <= SWITCH_MARGIN
        parts.append(whole[used])
    return np.concatenate(parts)


def _featured(recipe: AnomalyRecipe, rows: Float64) -> Float64:
    columns = {name: rows[:, i] for i, name in enumerate(recipe.columns)}
    return np.column_stack(features(columns))


def scores(recipe: AnomalyRecipe, moving: Anomaly, engine: int, rows: Float64) -> Float64:
    """The score of each row of one engine, float64."""
    alone = Anomaly([moving.networks[engine]])
    columns = {name: rows[:, i : i + 1] for i, name in enumerate(recipe.columns)}
    return np.array(
        [
            alone.step({k: v[i : i + 1] for k, v in columns.items()}, {})[0]["score"][0, 0]
            for i in range(len(rows))
        ]
    )


def _smoothed(recipe: AnomalyRecipe, moving: Anomaly, engine: int, samples: Samples) -> Float64:
    rows = steady_rows(recipe, recipe.instances[engine], [samples], recipe.monitor.phases)
    low = smoothed(scores(recipe, moving, engine, rows), recipe.monitor.smoothing_s, recipe.rate_hz)
    return low[np.isfinite(low)]


def _declare(
    recipe: AnomalyRecipe,
    signals: SignalSet,
    rows: Sequence[Float64],
    onset: float,
    figures: Mapping[str, float],
) -> Bundle:
    ports = []
    for i, (name, port) in enumerate(recipe.inputs.items()):
        low = min(float(x[:, i].min()) for x in rows) - port.margin
        high = max(float(x[:, i].max()) for x in rows) + port.margin
        valid = (float(f"{low:.4g}"), float(f"{high:.4g}"))
        ports.append(Input(name=name, unit=port.unit, valid=valid))
    for name, switch in recipe.switched.items():
        valid = (switch.only - SWITCH_MARGIN, switch.only + SWITCH_MARGIN)
        ports.append(Input(name=name, unit=switch.unit, valid=valid))
    rule, card = recipe.monitor, recipe.card
    return Bundle(
        name=recipe.name, version=recipe.version, release=recipe.release, rate_hz=recipe.rate_hz,
        instances=recipe.instances, inputs=tuple(ports),
        outputs=(Output(name="score", unit="1", lsb=0.01, valid=recipe.score.valid),),
        monitors=(
            Monitor(
                name=rule.name, fault_code=rule.fault_code, output="score", on="output",
                onset=onset, clear=round((1 + onset) / 2, 3), persistence_s=rule.persistence_s,
                clear_persistence_s=rule.clear_persistence_s, smoothing_s=rule.smoothing_s,
                phases=rule.phases, steady=recipe.steady,
            ),
        ),
        applicability=Applicability(types=recipe.types, esns=tuple(recipe.engines.values())),
        ata=recipe.ata, requirements=Requirements(nodes=1, tensor_elements=1),
        model_card=ModelCard(
            purpose=card.purpose, method=card.method, limits=card.limits,
            figures={k: round(v, 3) for k, v in figures.items()},
        ),
        calibration=Calibration(
            source="healthy flights of the bench: " + ", ".join(recipe.train),
            seeds=tuple(sorted({int(x.partition(":")[2]) for x in recipe.train})),
            fitted_by="hil.fit.anomaly", signal_set_sha256=signals.sha256.hex(),
        ),
        full_fidelity="none", behaviour=Trained(exporter="hil.fit.anomaly"),
    )  # fmt: skip


def main(arguments: list[str]) -> int:
    """Exit code 0, or that of the error that was printed."""
    parser = argparse.ArgumentParser(prog="python -m hil.fit.anomaly", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="the declaration, .json")
    parser.add_argument("--cache", type=Path, help="folder where flights are kept")
    options = parser.parse_args(arguments)
    try:
        recipe = load_anomaly_recipe(options.recipe)
        signals = load_signal_set(options.recipe.parent / recipe.signal_set)

        def flight_of(name: str) -> Flight:
            mission, _, seed = name.partition(":")
            if not seed.isdigit():
                raise Rejected(f"{name!r} is not mission:seed", str(options.recipe), "as full:101")
            esns = (recipe.engines["1"], recipe.engines["2"])
            return fly(mission, int(seed), signals, esns=esns, cache_dir=options.cache, say=print)

        bundle, model = fit_anomaly(recipe, signals, flight_of)
    except TailTwinError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    options.out.write_bytes(pretty(bundle))
    options.out.with_suffix(".onnx").write_bytes(model)
    for name, value in bundle.model_card.figures.items():
        print(f"{name} {value:g}")
    print(f"onset {bundle.monitors[0].onset:g}, clear {bundle.monitors[0].clear:g}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
