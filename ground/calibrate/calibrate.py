"""Calibration: the release of a type with numbers made for its ESNs.

In: the type's release, which is its parent, and the release that flies; the engine type, an approved
baseline of each ESN, inputs that were flown. Out: the next release as a declaration, and its model
error before and after. Always holds: calibration reduces model error (edge minus full fidelity, same
inputs) and nothing else; what the engines' own sensors showed is not among what comes in, and no
baseline is changed; it has its parent's graph, ports and monitors, and numbers within the parent's
bounds (`shared.calibration`), so that what stands aboard stays what it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from ground.calibrate.envelope import SWITCHES, TAT, Columns, Envelope, flown_envelope
from ground.calibrate.parent import code_version, turbofan_parent
from ground.calibrate.rom import inward, tightened
from ground.calibrate.table import Draws, Parent, evaluate_rows, reduce_to_table, shape_of
from ground.models.baseline import Baseline
from shared.behaviour.kinds import LookupTable
from shared.behaviour.monitoring import smoothed
from shared.bundle import Bundle, Calibration, Input, ModelCard, unpack
from shared.bundlefile import pack_declared
from shared.calibration import against
from shared.errors import Rejected
from shared.profile import ModelBounds
from shared.request import ModelError

if TYPE_CHECKING:
    from ground.models.turbofan.engine import EngineType

Float64 = npt.NDArray[np.float64]
DRAWS = Draws(fit=6000, judge=3000, seed=1)
SMOOTHNESS = 1e-3
"""Of the factors on the parent's values. From 1e-5 to 1e-3 the error on other flights is the same
within 5 %; at 1e-5 factors of a coarse grid, where nothing was flown, reach 0.89 and 1.20, here 0.94
and 1.05."""
HOLD_S, HELD_OUT_EVERY = 60, 5  # every fifth minute of a flight draws no points
ROWS_MAX = 4_000  # of one engine and flight at which errors are stated; more are thinned
LEVEL_MONITORED_S = 15.0


@dataclass(frozen=True, eq=False)
class Flown:
    """Inputs of one engine in one flight, a row a second, NaN where there is none."""

    flight: str
    revision: int
    esn: str
    inputs: Columns


@dataclass(frozen=True, eq=False)
class Calibrated:
    """The candidate, and what it changes."""

    bundle: Bundle
    errors: tuple[ModelError, ...]
    notes: tuple[str, ...] = ()
    """Where it is silent and the release before was not: a limit that is not asked is not watched."""


def calibrate(
    parent: Bundle, engine: EngineType, baselines: Mapping[str, Baseline], flown: Sequence[Flown],
    release: int, bounds: ModelBounds | None = None, draws: Draws = DRAWS,
    before: Bundle | None = None, tail: str = "",
) -> Calibrated:  # fmt: skip
    """Rejected when an ESN has no baseline, flights show too little, a limit would widen, or a
    number would leave the bounds of the parent.

    before: the release that flies, a calibration of the same parent; None when the parent does.
    """
    bounds, before, table = bounds or ModelBounds(), before or parent, parent.behaviour
    if release <= max(before.release, parent.release):
        raise Rejected(f"release {release} does not grow", before.name,
                       f"{max(before.release, parent.release) + 1} or more")  # fmt: skip
    if not isinstance(table, LookupTable):
        raise Rejected("is no lookup table", before.name, "its own script trains it again")
    _check_parent(parent, before, engine, bounds)
    models = _parents(before, engine, baselines)
    valid = engine.data.valid
    envelope = flown_envelope(
        [_chosen(x.inputs, held_out=False) for x in flown],
        {"n1c": valid.n1c, "mach": valid.mach, "altitude": valid.altitude_ft, "tat": TAT},
    )
    reduced, figures = reduce_to_table(
        models, envelope, shape_of(table), draws, SMOOTHNESS, bounds.tensor_elements_max, table
    )
    whom = msgspec.structs.replace(
        parent.applicability, esns=tuple(_esns(before)), tails=(tail,) if tail else ()
    )
    after = msgspec.structs.replace(
        parent, version=f"{release}.0.0", release=release, behaviour=reduced,
        instances=before.instances, applicability=whom, calibratable=msgspec.UNSET,
        inputs=_inputs(parent, envelope),
    )  # fmt: skip
    errors, seen = _errors(before, after, dict(zip(_esns(before), models, strict=True)), flown)
    after = msgspec.structs.replace(
        after,
        monitors=tightened(before, baselines, seen),
        model_card=_card(parent, figures, errors),
        calibration=_provenance(parent, engine, baselines, _esns(before), flown, draws),
    )
    check_numbers(after, parent)
    return Calibrated(after, errors, tuple(silenced(before, after, flown)))


def check_numbers(after: Bundle, parent: Bundle) -> None:
    """Rejected unless `after` is a calibration of `parent`, as the aircraft will ask again."""
    made, of = (unpack(pack_declared(x)[1], ModelBounds(), x.name) for x in (after, parent))
    reasons = against(made, of)
    if reasons:
        raise Rejected("; ".join(reasons[:4]), f"{after.name} {after.version}",
                       "no calibration can be that: a new release of the type, signed offline, can")  # fmt: skip


def _check_parent(parent: Bundle, before: Bundle, engine: EngineType, bounds: ModelBounds) -> None:
    fidelity = f"{engine.name} sha256:{engine.sha256}"
    if parent.full_fidelity != fidelity:
        raise Rejected(f"stands for {parent.full_fidelity[:60]}, not {fidelity[:60]}", parent.name,
                       "make the type's release again: python -m ground.calibrate.type_rom")  # fmt: skip
    if (before.name, before.outputs) != (parent.name, parent.outputs):
        raise Rejected("is no calibration of the parent", before.name, "choose another")
    if parent.requirements.nodes > bounds.nodes_max:
        raise Rejected(f"{parent.requirements.nodes} nodes", parent.name,
                       f"the profile takes {bounds.nodes_max}")  # fmt: skip


def _inputs(parent: Bundle, envelope: Envelope) -> tuple[Input, ...]:
    """Where the full-fidelity model was asked, and the parent speaks."""
    ranges, found = envelope.valid, []
    for port in parent.inputs:
        if port.name not in SWITCHES:
            low, high = ranges[port.name]
            valid = inward((max(low, port.valid[0]), min(high, port.valid[1])))
            port = msgspec.structs.replace(port, valid=valid)
        found.append(port)
    return tuple(found)


def declared_sha256(bundle: Bundle) -> str:
    """Of `bundle.json`, hex."""
    return hashlib.sha256(msgspec.json.encode(bundle, order="deterministic")).hexdigest()


def _esns(bundle: Bundle) -> list[str]:
    return [x.esn for x in bundle.instances]


def _parents(before: Bundle, engine: EngineType, baselines: Mapping[str, Baseline]) -> list[Parent]:
    missing = [esn for esn in _esns(before) if esn not in baselines]
    if missing:
        raise Rejected(f"no approved baseline of ESN {', '.join(missing)}", before.name,
                       "tailtwin-ground baseline approve")  # fmt: skip
    return [turbofan_parent(engine, baselines[esn]) for esn in _esns(before)]


def _chosen(inputs: Columns, *, held_out: bool) -> Columns:
    minute = np.arange(len(inputs["n1"])) // HOLD_S
    mask = (minute % HELD_OUT_EVERY == HELD_OUT_EVERY - 1) == held_out
    return {name: column[mask] for name, column in inputs.items()}


def _errors(
    before: Bundle, after: Bundle, parents: Mapping[str, Parent], flown: Sequence[Flown]
) -> tuple[tuple[ModelError, ...], dict[str, tuple[float, float]]]:
    """(errors by ESN, output and kind of rows; rms and worst of the new release by output, smoothed
    as the monitors do, over the rows that drew nothing)."""
    units = {x.name: x.unit for x in before.outputs}
    found: list[ModelError] = []
    seen: dict[str, tuple[float, float]] = dict.fromkeys(units, (0.0, 0.0))
    kinds: tuple[tuple[Literal["flights", "held_out"], bool], ...] = (
        ("flights", False), ("held_out", True),
    )  # fmt: skip
    for row, esn in enumerate(_esns(before)):
        for kind, held_out in kinds:
            parts = [
                _missed(before, after, row, parents[esn], _chosen(x.inputs, held_out=held_out))
                for x in flown if x.esn == esn
            ]  # fmt: skip
            for name, unit in units.items():
                old = np.concatenate([np.zeros(0), *(old[name] for old, _ in parts)])
                new = np.concatenate([np.zeros(0), *(new[name] for _, new in parts)])
                if len(new) == 0:
                    raise Rejected(f"no row at which release {after.release} speaks", f"ESN {esn}",
                                   "choose other flights")  # fmt: skip
                found.append(ModelError(
                    esn=esn, output=name, unit=unit, rows=kind, n=len(new), before_rms=_rms(old),
                    after_rms=_rms(new), before_worst=_worst(old), after_worst=_worst(new),
                ))  # fmt: skip
                if held_out:
                    low = smoothed(new, LEVEL_MONITORED_S, 1.0)
                    low = low[np.isfinite(low)]
                    low = low if len(low) else new
                    seen[name] = (max(seen[name][0], _rms(low)), max(seen[name][1], _worst(low)))
    return tuple(found), seen


def _missed(
    before: Bundle, after: Bundle, row: int, parent: Parent, inputs: Columns
) -> tuple[Columns, Columns]:
    """Model error of both releases by output, over rows at which both and the parent speak."""
    used = usable(before, inputs) & usable(after, inputs)
    step = max(1, int(used.sum()) // ROWS_MAX)
    kept = {name: column[used][::step] for name, column in inputs.items()}
    truth = parent(kept)
    ok = np.all([np.isfinite(x) for x in truth.values()], axis=0)
    both = []
    for bundle in (before, after):
        assert isinstance(bundle.behaviour, LookupTable)
        said = evaluate_rows(bundle.behaviour, row, kept)
        both.append({name: (said[name] - truth[name])[ok] for name in said})
    return both[0], both[1]


def usable(bundle: Bundle, inputs: Columns) -> npt.NDArray[np.bool_]:
    """Rows at which the bundle speaks, as the edge decides it."""
    ok = np.ones(len(inputs["n1"]), bool)
    for port in bundle.inputs:
        ok &= (inputs[port.name] >= port.valid[0]) & (inputs[port.name] <= port.valid[1])
    return ok


def silenced(before: Bundle, after: Bundle, flown: Sequence[Flown]) -> Iterator[str]:
    """What the signer must know: inputs whose range got narrower, and seconds that were flown."""
    old = {x.name: x.valid for x in before.inputs}
    for port in after.inputs:
        low, high = old[port.name]
        if port.valid[0] > low or port.valid[1] < high:
            yield (
                f"silent beyond {port.name} {port.valid[0]:g} to {port.valid[1]:g} {port.unit}; "
                f"release {before.release} spoke from {low:g} to {high:g}"
            )
    for esn in _esns(before):
        mine = [x.inputs for x in flown if x.esn == esn]
        spoke = [int(sum(usable(one, x).sum() for x in mine)) for one in (before, after)]
        if spoke[1] < spoke[0]:
            yield (
                f"ESN {esn}: speaks in {spoke[1]} s of the flights, release {before.release} "
                f"in {spoke[0]} s"
            )


def _card(parent: Bundle, figures: dict[str, float], errors: Sequence[ModelError]) -> ModelCard:
    flights = {f"{x.output}_{x.esn}_{x.rows}_rms": round(x.after_rms, 3) for x in errors}
    return msgspec.structs.replace(
        parent.model_card,
        purpose="EGT and fuel flow that this ESN shows when it is healthy, for its deviation",
        limits="The envelope flown plus margin (calibration.flights), these ESNs as their baselines "
        "have them; lags of seconds are not modelled, so deviations count only while N1 is steady",
        figures={**figures, **flights},
    )


def _provenance(
    parent: Bundle, engine: EngineType, baselines: Mapping[str, Baseline], esns: Sequence[str],
    flown: Sequence[Flown], draws: Draws,
) -> Calibration:  # fmt: skip
    return Calibration(
        source=f"{engine.name} with the baseline of each ESN over the envelope flown; numbers "
        f"of release {parent.release}",
        seeds=(draws.seed,), fitted_by=code_version("ground.calibrate"),
        signal_set_sha256=parent.calibration.signal_set_sha256,
        baselines={esn: baselines[esn].sha256 for esn in esns},
        flights=tuple(dict.fromkeys(f"{x.flight}#{x.revision}" for x in flown)),
    )  # fmt: skip


def _rms(x: Float64) -> float:
    return float(np.sqrt(np.mean(x**2))) if len(x) else 0.0


def _worst(x: Float64) -> float:
    return float(np.abs(x).max()) if len(x) else 0.0
