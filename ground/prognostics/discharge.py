"""Discharge voltage and end of discharge of NASA's 18650 cells B0005, B0006 and B0007.

`fit` fits the cell type to all discharges of B0005 and the first five of B0006, and nothing else;
`evaluate` predicts all of B0007 (a cell never seen) and the later ones of B0006, each from the
discharge before it and the first 0, 25, 50 and 75 % of its own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np

from ground.prognostics.discharge_fit import UNSEEN_CELL, fit, held_out
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
    band_s,
)
from shared.errors import Rejected, TailTwinError

SHIPPED = Path(__file__).parent / "nasa_18650.json"
FLAT = 0.9  # of a discharge; after it the voltage falls
MODEL_BYTES_MAX = 1 << 20


class Group(msgspec.Struct, frozen=True):
    """One group of discharges at one share seen. rest_mv: voltage yet to come, RMSE; flat_mv: the
    same up to FLAT of the discharge, before it falls; end: error of the end of discharge; last_cycle,
    rated: the baselines on the same discharges."""

    group: str
    share: float
    n: int
    rest_mv: float
    flat_mv: float
    end_mae_s: float
    end_mae_percent: float
    end_worst_s: float
    end_bias_s: float
    covered: float
    band_s: float
    """Half of its width, the mean."""
    last_cycle_s: float
    last_cycle_mv: float
    last_cycle_flat_mv: float
    rated_s: float


class Judged(msgspec.Struct, frozen=True):
    """hindsight_mv: voltage RMSE of each group by the cell type alone, health fitted to the whole
    discharge: what the shared shape is worth."""

    groups: tuple[Group, ...]
    hindsight_mv: dict[str, float]
    first_of_cell_s: dict[str, float]
    """Error of the end by share seen, of B0007's first discharge: nothing was before it."""


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
    before = [(_Repeated(b), x, share) for x, b, _ in pairs]
    rest = [(p[index], x, share) for x, _, p in pairs]
    return Group(
        group=name, share=share, n=len(pairs),
        rest_mv=_rms_mv(rest), flat_mv=_rms_mv(rest, FLAT),
        end_mae_s=float(np.abs(error).mean()), end_mae_percent=float(100 * np.abs(error / truth).mean()),
        end_worst_s=float(np.abs(error).max()), end_bias_s=float(error.mean()),
        covered=float(np.mean(inside)), band_s=float(np.mean([(b - a) / 2 for a, b in bands])),
        last_cycle_s=float(np.mean([abs(b.end_s - x.end_s) for x, b, _ in pairs])),
        last_cycle_mv=_rms_mv(before), last_cycle_flat_mv=_rms_mv(before, FLAT),
        rated_s=float(np.mean([abs(RATED_AH * 3600 / x.current_a - x.end_s) for x, _, _ in pairs])),
    )  # fmt: skip


class _Voltage(Protocol):
    def voltage_at(self, time_s: Float64) -> Float64: ...


class _Repeated:
    """The baseline: the discharge before, once more; its last voltage when it is over."""

    def __init__(self, before: Discharge) -> None:
        self.before = before

    def voltage_at(self, time_s: Float64) -> Float64:
        return np.interp(time_s, self.before.time_s, self.before.voltage)


def _rms_mv(parts: Sequence[tuple[_Voltage, Discharge, float]], until: float = WHOLE) -> float:
    """Of the voltage after that share and up to `until`, over all rows of all discharges."""
    missed = []
    for found, x, share in parts:
        rows = x.until(until) & ~x.until(share) if share else x.until(until)
        missed.append(found.voltage_at(x.time_s[rows]) - x.voltage[rows])
    return 1000 * float(np.sqrt(np.mean(np.concatenate(missed) ** 2)))


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
        "| held out | seen | n | end, mean error | worst | band, covered "
        "| voltage to come (to 90 %) | last cycle repeated (to 90 %) | rated capacity |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for x in judged.groups:
        end = f"{x.end_mae_s:.0f} s ({x.end_mae_percent:.2f} %) | {x.end_worst_s:.0f} s"
        last = f"{x.last_cycle_s:.0f} s, {x.last_cycle_mv:.0f} ({x.last_cycle_flat_mv:.0f}) mV"
        lines.append(
            f"| {x.group} | {100 * x.share:.0f} % | {x.n} | {end} | ±{x.band_s:.0f} s, {100 * x.covered:.0f} % "
            f"| {x.rest_mv:.0f} ({x.flat_mv:.0f}) mV | {last} | {x.rated_s:.0f} s |"
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
