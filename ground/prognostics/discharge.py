"""Discharge voltage and end of discharge of NASA's 18650 cells B0005, B0006 and B0007.

`fit` fits the cell type to all discharges of B0005 and the first five of B0006, and nothing else;
`evaluate` predicts all of B0007 (a cell never seen) and the later ones of B0006, each from the
discharge before it and the first 0, 25, 50 and 75 % of its own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from ground.models.battery.cell import Cell
from ground.prognostics.cell_fit import SHARED, Health, fit_cell
from ground.prognostics.discharges import (
    RATED_AH,
    WHERE,
    Discharge,
    Discharges,
    Float64,
    read_discharges,
)
from ground.prognostics.endurance import (
    SHARES,
    WHOLE,
    DischargeModel,
    Endurance,
    Prediction,
    Prior,
    band_s,
    cell_numbers,
)
from shared.errors import Rejected, TailTwinError

SHIPPED = Path(__file__).parent / "nasa_18650.json"
FIT_CELL, SHARED_CELL, SHARED_FIRST, UNSEEN_CELL = "B0005", "B0006", 5, "B0007"
COVERAGE = 0.9
ROWS_WORTH = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0)  # tried on the fitting set, cells crossed
FIRST_SD_MIN = (0.05, 0.1)  # of a new cell, an assumption: two cells do not show a spread
MODEL_BYTES_MAX = 1 << 20
SOURCE = "NASA Battery Data Set, Saha and Goebel 2007"
Say = Callable[[str], None]


class Group(msgspec.Struct, frozen=True):
    """One group of discharges at one share seen. rest_mv: voltage yet to come, RMSE; end: error
    of the end of discharge; last_cycle_s, rated_s: mean errors of the baselines on the same ones."""

    group: str
    share: float
    n: int
    rest_mv: float
    end_mae_s: float
    end_mae_percent: float
    end_worst_s: float
    end_bias_s: float
    covered: float
    band_s: float
    """Half of its width, the mean."""
    last_cycle_s: float
    last_cycle_mv: float
    rated_s: float


class Judged(msgspec.Struct, frozen=True):
    """hindsight_mv: voltage RMSE of each group by the cell type alone, health fitted to the whole
    discharge: what the shared shape is worth."""

    groups: tuple[Group, ...]
    hindsight_mv: dict[str, float]
    first_of_cell_s: dict[str, float]
    """Error of the end by share seen, of B0007's first discharge: nothing was before it."""


def fitting_set(data: Discharges) -> list[Discharge]:
    """What a fit may see."""
    return [*data.of(FIT_CELL), *data.of(SHARED_CELL)[:SHARED_FIRST]]


def held_out(data: Discharges) -> dict[str, list[Discharge]]:
    """What it may not."""
    return {"B0007, unseen cell": data.of(UNSEEN_CELL),
            "B0006, later cycles": data.of(SHARED_CELL)[SHARED_FIRST:]}  # fmt: skip


def fit(data: Discharges, say: Say = lambda _: None) -> DischargeModel:
    """The cell type, how far health moves, and a band from cells that were fitted without each other."""
    used = fitting_set(data)
    by_cell = {name: [x for x in used if x.cell == name] for name in (FIT_CELL, SHARED_CELL)}
    crossed = {}
    for name, others in ((FIT_CELL, SHARED_CELL), (SHARED_CELL, FIT_CELL)):
        found = fit_cell(by_cell[others], "crossed", SOURCE)
        crossed[name] = found.cell, prior_of(by_cell[others], found.healths)
        say(f"{others} alone: {found.voltage_rmse_mv:.1f} mV; judged on {name}")
    whole = fit_cell(used, "nasa_18650", SOURCE)
    say(f"all {len(used)}: {whole.voltage_rmse_mv:.1f} mV, {whole.temperature_rmse_k:.2f} K")
    worth, errors = chosen_worth(by_cell, crossed)
    missed = float(100 * np.abs(errors[:, 1:]).mean())
    say(f"rows worth {worth:g} independent ones: {missed:.2f} % of the end, cells crossed")
    return DischargeModel(
        v=1, source=SOURCE, data_sha256=data.sha256,
        fitted_on=tuple(f"{x.cell}/{x.test}" for x in used),
        cell=cell_numbers(whole.cell, tuple(SHARED)), prior=prior_of(used, whole.healths),
        rows_worth=worth, coverage=COVERAGE,
        band={f"{share:g}": quantile_up(np.abs(errors[:, i])) for i, share in enumerate(SHARES)},
        figures={"fit_voltage_rmse_mv": whole.voltage_rmse_mv, "fit_temperature_rmse_k": whole.temperature_rmse_k,
                 "crossed_end_error_percent": missed, "discharges": float(len(used))},
    )  # fmt: skip


def chosen_worth(
    by_cell: Mapping[str, Sequence[Discharge]], crossed: Mapping[str, tuple[Cell, Prior]]
) -> tuple[float, Float64]:
    """(the best of ROWS_WORTH, relative errors of the end with it [discharge, share]).

    Each cell is predicted with the type and the prior of the other; its first discharge, with
    nothing before it, does not count.
    """
    errors = {
        worth: np.concatenate([
            _relative(by_cell[name], Endurance(cell, prior, worth).in_order(by_cell[name]))[1:]
            for name, (cell, prior) in crossed.items()
        ])
        for worth in ROWS_WORTH
    }  # fmt: skip
    worth = min(errors, key=lambda k: float(np.abs(errors[k][:, 1:]).mean()))
    return worth, errors[worth]


def prior_of(discharges: Sequence[Discharge], healths: Sequence[Health]) -> Prior:
    """First: of the first discharge of each cell; drift and change: a random walk over tests."""
    rows = np.array([(x.capacity, x.resistance) for x in healths])
    same = np.array([a.cell == b.cell for a, b in pairwise(discharges)])
    change = np.diff(rows, axis=0)[same]
    passed = np.diff([x.test for x in discharges])[same].astype(float)
    drift = change.sum(axis=0) / passed.sum()
    off = (change - passed[:, None] * drift) / np.sqrt(passed)[:, None]
    moments = off.T @ off / len(off)
    firsts = rows[[0, *(1 + np.flatnonzero(~same))]]
    sd = np.maximum(firsts.std(axis=0), FIRST_SD_MIN)
    return Prior(
        first=_pair(firsts.mean(axis=0)), first_sd=_pair(sd), drift=_pair(drift),
        change=(float(moments[0, 0]), float(moments[0, 1]), float(moments[1, 1])),
    )  # fmt: skip


def quantile_up(missed: Float64) -> float:
    """The COVERAGE quantile as split conformal prediction takes it: rank (n + 1) x coverage."""
    rank = min(len(missed), int(np.ceil((len(missed) + 1) * COVERAGE)))
    return float(np.sort(missed)[rank - 1])


def evaluate(data: Discharges, model: DischargeModel) -> Judged:
    """On what the fit has not seen; a cell's first discharge is told apart."""
    if f"{UNSEEN_CELL}/1" in model.fitted_on:
        raise Rejected("it was fitted to the test set", "discharge model", "fit it again")
    groups, hindsight = [], {}
    runner = Endurance(model.cell_type(), model.prior, model.rows_worth)
    first: dict[str, float] = {}
    for name, discharges in held_out(data).items():
        # those before are known by their health only; B0006's from its early cycles
        known = data.of(discharges[0].cell)
        skipped = len(known) - len(discharges)
        found = runner.in_order(known)[skipped:]
        if skipped == 0:
            first = {f"{s:g}": abs(p.end_s - discharges[0].end_s)
                     for s, p in zip(SHARES, found[0], strict=False)}  # fmt: skip
        hindsight[name] = _rms_mv(
            [(runner.predict(x, [WHOLE], None)[0], x, 0.0) for x in discharges]
        )
        pairs = [
            (discharge, before, predictions)
            for discharge, before, predictions in zip(
                discharges, [None, *known][skipped:], found, strict=False
            )
            if before is not None
        ]
        groups += [_group(name, i, pairs, model) for i in range(len(SHARES))]
    return Judged(tuple(groups), hindsight, first)


def _group(
    name: str, index: int, pairs: Sequence[tuple[Discharge, Discharge, Sequence[Prediction]]],
    model: DischargeModel,
) -> Group:  # fmt: skip
    share = SHARES[index]
    truth = np.array([x.end_s for x, _, _ in pairs])
    found = np.array([p[index].end_s for _, _, p in pairs])
    error = found - truth
    bands = [band_s(model, share, end) for end in found]
    inside = [low <= end <= high for (low, high), end in zip(bands, truth, strict=True)]
    last = [
        (np.interp(x.time_s, b.time_s, b.voltage) - x.voltage)[~x.until(share)] for x, b, _ in pairs
    ]
    return Group(
        group=name, share=share, n=len(pairs),
        rest_mv=_rms_mv([(p[index], x, share) for x, _, p in pairs]),
        end_mae_s=float(np.abs(error).mean()), end_mae_percent=float(100 * np.abs(error / truth).mean()),
        end_worst_s=float(np.abs(error).max()), end_bias_s=float(error.mean()),
        covered=float(np.mean(inside)), band_s=float(np.mean([(b - a) / 2 for a, b in bands])),
        last_cycle_s=float(np.mean([abs(b.end_s - x.end_s) for x, b, _ in pairs])),
        last_cycle_mv=1000 * float(np.sqrt(np.mean(np.concatenate(last) ** 2))),
        rated_s=float(np.mean([abs(RATED_AH * 3600 / x.current_a - x.end_s) for x, _, _ in pairs])),
    )  # fmt: skip


def _rms_mv(parts: Sequence[tuple[Prediction, Discharge, float]]) -> float:
    """Of the voltage after that share, over all rows of all discharges."""
    missed = [
        (p.voltage_at(x.time_s) - x.voltage)[~x.until(share) if share else slice(None)]
        for p, x, share in parts
    ]
    return 1000 * float(np.sqrt(np.mean(np.concatenate(missed) ** 2)))


def _relative(discharges: Sequence[Discharge], found: Sequence[Sequence[Prediction]]) -> Float64:
    """Errors of the end over the end, [discharge, share]."""
    return np.array(
        [[p.end_s / x.end_s - 1 for p in row[: len(SHARES)]]
         for x, row in zip(discharges, found, strict=True)]
    )  # fmt: skip


def _pair(values: Float64) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def load_model(path: Path = SHIPPED) -> DischargeModel:
    """Rejected when it is not one."""
    try:
        with path.open("rb") as file:
            data = file.read(MODEL_BYTES_MAX)
        return msgspec.json.decode(data, type=DischargeModel)
    except OSError as error:
        raise Rejected(f"cannot read: {error.strerror}", str(path), "fit it first") from None
    except msgspec.DecodeError as error:
        raise Rejected(f"not a discharge model: {error}", str(path), "fit it again") from None


def told(judged: Judged) -> str:
    """The table, as docs/prognostics.md has it."""
    lines = [
        "| held out | seen | n | end, mean error | worst | band, covered | voltage to come "
        "| last cycle repeated | rated capacity |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for x in judged.groups:
        lines.append(
            f"| {x.group} | {100 * x.share:.0f} % | {x.n} | {x.end_mae_s:.0f} s ({x.end_mae_percent:.2f} %) "
            f"| {x.end_worst_s:.0f} s | ±{x.band_s:.0f} s, {100 * x.covered:.0f} % | {x.rest_mv:.0f} mV "
            f"| {x.last_cycle_s:.0f} s, {x.last_cycle_mv:.0f} mV | {x.rated_s:.0f} s |"
        )
    lines.append("")
    for name, value in judged.hindsight_mv.items():
        lines.append(
            f"{name}: {value:.1f} mV by the cell type alone, health fitted to the whole discharge"
        )
    first = ", ".join(
        f"{value:.0f} s at {100 * float(k):.0f} %" for k, value in judged.first_of_cell_s.items()
    )
    return "\n".join([*lines, f"{UNSEEN_CELL}'s first discharge, nothing known before: {first}"])


def main(arguments: list[str]) -> int:
    """Exit code 0, or that of the error that was printed."""
    parser = argparse.ArgumentParser(
        prog="python -m ground.prognostics.discharge", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True)
    fitting = commands.add_parser("fit", help="fit the cell type; minutes")
    fitting.add_argument("--out", type=Path, required=True, help="the model, .json")
    judging = commands.add_parser("evaluate", help="predict what the fit has not seen")
    judging.add_argument("--model", type=Path, default=SHIPPED, help="the model, .json")
    judging.add_argument("--json", action="store_true", help="the figures as JSON")
    for command in (fitting, judging):
        command.add_argument("--data", type=Path, help="folder with selected.csv and discharges")
    options = parser.parse_args(arguments)
    try:
        if options.data is None:
            raise Rejected("no data is shipped", "--data", f"name the folder; {WHERE}")
        data = read_discharges(options.data)
        if options.command == "fit":
            model = fit(data, say=print)
            options.out.write_bytes(msgspec.json.format(msgspec.json.encode(model)) + b"\n")
        else:
            judged = evaluate(data, load_model(options.model))
            print(msgspec.json.encode(judged).decode() if options.json else told(judged))
    except TailTwinError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
