"""Judge the shipped RUL graph on the test set of NASA's C-MAPSS FD001, once, as it is.

Steps the .onnx in onnxruntime, a cycle a step, from the first cycle of each engine to its last;
the answer there is compared with the true life, capped and as it is. A ridge regression of the
last row, fitted to the training set, stands beside it, and so do published figures.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import msgspec
import numpy as np

from ground.prognostics.cmapss import WHERE, Engine, Fleet, Float64, read_test, read_training
from ground.prognostics.rul import CAP, INPUTS, OUTPUTS, cycles, nasa_score, rmse, true_rul
from shared.bundle import Bundle, parse_bundle
from shared.errors import Rejected, TailTwinError

SHIPPED = Path("firmware_profiles/models/rul_fd001_v1.json")
RIDGE = 10.0
PUBLISHED = {
    "ridge, as quoted": (22.7, 1924.0),
    "Deep LSTM (Zheng 2017)": (16.14, 338.0), "DCNN (Li 2018)": (12.61, 274.0),
    "FFVE": (12.31, 280.0), "MTSTAN": (10.97, 175.0),
}  # fmt: skip
"""RMSE and score on FD001's test set with lives capped at 125, as published."""


class Judged(msgspec.Struct, frozen=True):
    """On the test set. capped: lives over CAP count as CAP, as in the published figures."""

    engines: int
    rmse_capped: float
    score_capped: float
    rmse_uncapped: float
    score_uncapped: float
    over_cap: int
    """Engines whose true life is beyond the cap."""
    band_coverage: float
    """Share of capped true lives within the band; the card says what was wanted."""
    band_width: float
    """Cycles, the mean."""
    outside_valid: int
    """Cycles that the edge would have given no prediction for."""
    step_us_median: float
    """onnxruntime's `run`, on this machine."""
    ridge_rmse_capped: float
    ridge_score_capped: float


def evaluate(data: Path, declaration: Path = SHIPPED) -> Judged:
    """Rejected when the model or the data are not there."""
    bundle, graph = load(declaration)
    test = read_test(data)
    answers, took = step_engines(bundle, graph, test.fleet.engines)
    last = np.array([x[-1] for x in answers])
    capped = np.minimum(test.rul, CAP)
    ridge = _ridge(read_training(data), test.fleet) - capped
    low, high = last[:, 1], last[:, 2]
    slack = bundle.outputs[0].lsb / 2  # at 0 and at the cap the band's ends are the clipped ones
    inside = (capped >= low - slack) & (capped <= high + slack)
    return Judged(
        engines=len(last), rmse_capped=rmse(last[:, 0] - capped),
        score_capped=nasa_score(last[:, 0] - capped), rmse_uncapped=rmse(last[:, 0] - test.rul),
        score_uncapped=nasa_score(last[:, 0] - test.rul), over_cap=int((test.rul > CAP).sum()),
        band_coverage=float(inside.mean()), band_width=float((high - low).mean()),
        outside_valid=outside_valid(bundle, test.fleet.engines), step_us_median=took,
        ridge_rmse_capped=rmse(ridge), ridge_score_capped=nasa_score(ridge),
    )  # fmt: skip


def load(declaration: Path) -> tuple[Bundle, bytes]:
    """The declaration and the graph beside it."""
    try:
        bundle = parse_bundle(declaration.read_bytes(), str(declaration))
        graph = declaration.with_suffix(".onnx").read_bytes()
    except OSError as error:
        raise Rejected(
            f"cannot read: {error.strerror}",
            str(declaration),
            "run it in the checkout, name it with --model, or train it first",
        ) from None
    if tuple(x.name for x in bundle.outputs) != OUTPUTS:
        raise Rejected("is not a RUL model", str(declaration))
    return bundle, graph


def step_engines(
    bundle: Bundle, graph: bytes, engines: tuple[Engine, ...]
) -> tuple[list[Float64], float]:
    """(answers [cycles, OUTPUTS] of each engine, median time of a step in us)."""
    import onnxruntime  # here: nothing else of the ground needs it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = ["outputs", *(f"{s.name}.next" for s in bundle.states)]
    answers, times = [], []
    for engine in engines:
        states = {s.name: np.array(s.initial, np.float32) for s in bundle.states}
        mine = []
        for row in cycles([engine]):
            inputs = np.array([[row[name][0, 0] for name in INPUTS]], np.float32)
            started = time.perf_counter_ns()
            found, *moved = session.run(names, {"inputs": inputs, **states})
            times.append(time.perf_counter_ns() - started)
            states = dict(zip(states, moved, strict=True))
            mine.append(found[0].astype(np.float64))
        answers.append(np.stack(mine))
    return answers, float(np.median(times)) / 1000


def outside_valid(bundle: Bundle, engines: tuple[Engine, ...]) -> int:
    """Cycles with an input outside its valid range."""
    low = np.array([x.valid[0] for x in bundle.inputs])
    high = np.array([x.valid[1] for x in bundle.inputs])
    total = 0
    for engine in engines:
        rows = np.column_stack([engine.rows, np.arange(1, len(engine) + 1)])
        total += int(((rows < low) | (rows > high)).any(axis=1).sum())
    return total


def _ridge(train: Fleet, test: Fleet) -> Float64:
    """The named baseline: a linear answer from the last row alone."""
    rows = np.concatenate([x.rows for x in train.engines])
    truth = np.concatenate([true_rul(x) for x in train.engines])
    centre, spread = rows.mean(axis=0), rows.std(axis=0)
    scaled = (rows - centre) / spread
    factors = np.linalg.solve(
        scaled.T @ scaled + RIDGE * np.eye(scaled.shape[1]), scaled.T @ (truth - truth.mean())
    )
    last = np.array([x.rows[-1] for x in test.engines])
    answers: Float64 = np.clip((last - centre) / spread @ factors + truth.mean(), 0, CAP)
    return answers


def told(judged: Judged) -> str:
    """The table, as docs/prognostics.md has it."""
    lines = ["| on FD001's 100 test engines, lives capped at 125 | RMSE | NASA score |",
             "| --- | --- | --- |"]  # fmt: skip
    rows = {
        "**this model**, 125-capped": (judged.rmse_capped, judged.score_capped),
        f"**this model**, lives as they are ({judged.over_cap} over 125)":
            (judged.rmse_uncapped, judged.score_uncapped),
        "ridge of the last row, same run": (judged.ridge_rmse_capped, judged.ridge_score_capped),
        **PUBLISHED,
    }  # fmt: skip
    lines += [f"| {name} | {error:.2f} | {score:.0f} |" for name, (error, score) in rows.items()]
    lines += [
        "", f"band: {100 * judged.band_coverage:.0f} % covered, {judged.band_width:.0f} cycles wide; "
        f"{judged.outside_valid} cycles outside the valid ranges; {judged.step_us_median:.0f} us a step",
    ]  # fmt: skip
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Exit code 0, or that of the error that was printed."""
    parser = argparse.ArgumentParser(
        prog="python -m ground.prognostics.evaluate_rul", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--data", type=Path, help="folder with FD001's train, test and RUL files")
    parser.add_argument("--model", type=Path, default=SHIPPED, help="the declaration, .json")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    options = parser.parse_args(arguments)
    try:
        if options.data is None:
            raise Rejected("no data is shipped", "--data", f"name the folder; {WHERE}")
        judged = evaluate(options.data, options.model)
    except TailTwinError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(msgspec.json.encode(judged).decode() if options.json else told(judged))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
