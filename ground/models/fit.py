"""Fits the free numbers of a declared ROM to runs of its parent.

In: a declaration, the names of the parameters that are free, and runs: starts, inputs, what the
parent gave. Out: the numbers; the declaration's text with them in place.
Always holds: the ROM that is fitted is stepped by the very equations that are compiled; only runs
given here are used for that; the result is judged on runs of another seed.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from ground.models.model import Float64
from ground.models.rom import Difference, Rom, compare, instanced
from shared.behaviour.declaration import Declaration, load_declaration
from shared.behaviour.equations import DifferentialEquation
from shared.behaviour.model import run
from shared.errors import Rejected, TailTwinError
from shared.files import write_durably

CALLS_MAX = 25
FIT_SEED, JUDGE_SEED = 1, 2


@dataclass(frozen=True, eq=False)
class Runs:
    """k runs side by side. start: state to [k]; inputs and wanted: port to [n, k], NaN not compared."""

    start: Mapping[str, Float64]
    inputs: Mapping[str, Float64]
    wanted: Mapping[str, Float64]
    step_s: float


def fit(
    declared: Declaration, free: Sequence[str], runs: Runs, scale: Mapping[str, float]
) -> dict[str, float]:
    """The free parameters, kept positive, that bring the ROM nearest to the parent.

    scale: by output, the error that counts as one.
    """
    from scipy.optimize import least_squares

    behaviour = declared.behaviour
    if not isinstance(behaviour, DifferentialEquation):
        raise Rejected("has no named parameters to fit", declared.name)
    first = np.array([_number(behaviour, x) for x in free])

    def off(logs: Float64) -> Float64:
        numbers = dict(zip(free, first * np.exp(logs), strict=True))
        error = residuals(with_numbers(declared, numbers), runs, scale)
        return np.asarray(np.nan_to_num(error, nan=1e3, posinf=1e3, neginf=-1e3))

    found = least_squares(
        off, np.zeros(len(free)), diff_step=0.02, max_nfev=CALLS_MAX, loss="soft_l1"
    )
    return {k: float(v) for k, v in zip(free, first * np.exp(found.x), strict=True)}


def residuals(declared: Declaration, runs: Runs, scale: Mapping[str, float]) -> Float64:
    """ROM minus parent over `scale`, flat, where the parent speaks."""
    count = len(next(iter(runs.start.values())))
    model = instanced(declared, count, runs.start, 1.0 / runs.step_s)
    rows = np.stack([runs.inputs[x.name] for x in declared.inputs], axis=2)
    with np.errstate(all="ignore"):
        played = run(model, rows)
    parts = []
    for i, port in enumerate(declared.outputs):
        if port.name in scale:
            error = (played[:, :, i] - runs.wanted[port.name]) / scale[port.name]
            parts.append(error[np.isfinite(runs.wanted[port.name])])
    return np.concatenate(parts)


def with_numbers(declared: Declaration, numbers: Mapping[str, float]) -> Declaration:
    behaviour = declared.behaviour
    assert isinstance(behaviour, DifferentialEquation)
    known = dict(behaviour.parameters)
    for name, value in numbers.items():
        known[name] = msgspec.structs.replace(known[name], value=float(value))
    changed = msgspec.structs.replace(behaviour, parameters=known)
    return msgspec.structs.replace(declared, behaviour=changed)


def rewritten(text: str, numbers: Mapping[str, float]) -> str:
    """The declaration's text with these values of its parameters; everything else as it was."""
    for name, value in numbers.items():
        text, count = re.subn(
            rf"(?m)^({re.escape(name)} = {{ value = )[^,]+,", rf"\g<1>{value:.6g},", text
        )
        assert count == 1, name
    return text


def _number(behaviour: DifferentialEquation, name: str) -> float:
    parameter = behaviour.parameters.get(name)
    if parameter is None or not isinstance(parameter.value, float) or parameter.value <= 0:
        raise Rejected(f"no parameter {name!r} above 0 to fit", "rom", "name one of its parameters")
    return parameter.value


def held(
    rng: np.random.Generator,
    rows: int,
    step_s: float,
    valid: tuple[float, float],
    hold_s: tuple[float, float] = (1200.0, 3600.0),
) -> Float64:
    """Levels drawn from `valid`, each held for a time drawn from `hold_s`."""
    found, at = np.empty(rows), 0
    while at < rows:
        more = max(1, int(rng.uniform(*hold_s) / step_s))
        found[at : at + more] = rng.uniform(*valid)
        at += more
    return found


def judge(declared: Declaration, runs: Runs) -> dict[str, Difference]:
    """The compiled ROM at its own rate beside the parent, at the parent's rows."""
    each = round(runs.step_s * declared.rate_hz)
    count = len(next(iter(runs.start.values())))
    rows = {k: np.repeat(v, each, axis=0) for k, v in runs.inputs.items()}
    played = Rom(declared, count).play(rows, runs.start)
    return {
        x.name: compare(played[x.name][::each], runs.wanted[x.name], x.unit)
        for x in declared.outputs
    }


def fit_and_judge(
    model: str,
    free: Sequence[str],
    scale: Mapping[str, float],
    arguments: list[str],
    drawn: Callable[[Declaration, int], Runs],
) -> int:
    """The command of one model: `python -m ground.models.MODEL.fit FILE.toml [--write]`."""
    parser = argparse.ArgumentParser(
        prog=f"python -m ground.models.{model}.fit",
        description="Fit the free numbers of a ROM to its parent, and judge it on other runs.",
    )
    parser.add_argument("file", type=Path, help="the declaration, .toml")
    parser.add_argument("--write", action="store_true", help="put the numbers into the file")
    options = parser.parse_args(arguments)
    try:
        declared = load_declaration(options.file)
        numbers = fit(declared, free, drawn(declared, FIT_SEED), scale)
        for name, value in numbers.items():
            print(f"{name} = {value:.6g}")
        found = judge(with_numbers(declared, numbers), drawn(declared, JUDGE_SEED))
        for name, x in found.items():
            print(f"{name}: rms {x.rms:.3g}, worst {x.worst:.3g} {x.unit}, {x.count} rows")
        if options.write:
            text = rewritten(options.file.read_text(), numbers)
            write_durably(options.file, text.encode())
    except TailTwinError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0
