"""An FMU as a `FullFidelity` model: FMI 2.0 or 3.0, co-simulation, in a process of its own.

In: the file, and which of its variables stands for which of our ports. Out: a model.
Always holds: every port is bound to one variable of that causality, kind and unit, or the binding is
refused by name before anything runs; units are compared, never converted; a number that the FMU gives
outside its port's range, or no number, is NaN.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from ground.models.fmu.faults import FmuRefused
from ground.models.fmu.messages import BaseUnit, Description, Limits, Request, Variable
from ground.models.fmu.process import run_child
from ground.models.model import Float64, columns_of, usable_rows
from shared.behaviour.dynamics import Port
from shared.errors import Rejected
from shared.units import Unit, parse_unit

BYTES_MAX = 128 << 20
VERSIONS = ("2.0", "3.0")
OFFSET_TOLERANCE = 1e-9


class Bound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A port of ours and the FMU's variable behind it."""

    port: Port
    variable: str


class Binding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an FMU stands in for a model. parameters: by the FMU's own names, in its own units."""

    inputs: tuple[Bound, ...]
    outputs: tuple[Bound, ...]
    step_s: float
    parameters: dict[str, float] = {}
    limits: Limits = Limits()


class FmuModel:
    """Rows are `step_s` apart. Outputs of a row are those at its moment, its inputs set; an FMU that
    works its outputs out only in a step shows them one row later."""

    def __init__(self, path: Path, binding: Binding) -> None:
        self.name, self.binding = path.name, binding
        self._bytes = _read(path)
        self.sha256 = hashlib.sha256(self._bytes).hexdigest()
        self.inputs = tuple(x.port for x in binding.inputs)
        self.outputs = tuple(x.port for x in binding.outputs)
        self.step_s = binding.step_s
        if not 0.0 < binding.step_s <= 3600.0:
            raise FmuRefused(f"step_s is {binding.step_s:g}", path.name, "above 0, at most 3600 s")
        self.description = self._describe()
        check_binding(self.description, binding, self.name)

    def evaluate(self, inputs: Mapping[str, Float64]) -> dict[str, Float64]:
        """Raises FmuFailed, or one of its kinds, where the FMU fails: the caller goes on."""
        columns = columns_of(inputs, self.inputs, self.name)
        count = len(columns[self.inputs[0].name])
        usable = usable_rows(columns, self.inputs) if count else 0
        found = np.full((count, len(self.outputs)), np.nan)
        if usable:
            rows = np.column_stack([columns[x.name][:usable] for x in self.inputs])
            request = Request(
                "run",
                self.binding.limits,
                tuple(x.variable for x in self.binding.inputs),
                tuple(x.variable for x in self.binding.outputs),
                self.binding.parameters,
                self.step_s,
            )
            _, outputs = run_child(self._bytes, request, rows, self.name)
            assert outputs is not None
            found[:usable] = outputs
        for i, port in enumerate(self.outputs):
            outside = ~((found[:, i] >= port.valid[0]) & (found[:, i] <= port.valid[1]))
            found[outside, i] = np.nan
        return {x.name: found[:, i] for i, x in enumerate(self.outputs)}

    def _describe(self) -> Description:
        request = Request("describe", self.binding.limits)
        answer, _ = run_child(self._bytes, request, np.zeros((0, 0)), self.name)
        if answer.description is None:
            raise FmuRefused("says nothing of itself", self.name, "use another FMU")
        return answer.description


def check_binding(found: Description, binding: Binding, where: str) -> None:
    """FmuRefused with every reason at once."""
    faults = []
    if found.fmi not in VERSIONS:
        faults.append(f"is FMI {found.fmi[:20]}, not {' or '.join(VERSIONS)}")
    if not found.co_simulation:
        faults.append("has no co-simulation interface")
    machine = platform.machine()
    ours = {f"{machine}-linux", *(["linux64"] if machine == "x86_64" else [])}
    if not ours & set(found.platforms):
        has = ", ".join(x for x in found.platforms if x != "c-code") or "none"
        faults.append(f"has no binary for {machine} Linux (it has: {has})")
    known = {x.name: x for x in found.variables}
    if not binding.inputs or not binding.outputs:
        faults.append("nothing is bound")
    for causality, bounds in (("input", binding.inputs), ("output", binding.outputs)):
        for bound in bounds:
            faults += _bound_faults(known.get(bound.variable), bound, causality)
    for name in binding.parameters:
        variable = known.get(name)
        if variable is None or not _is_number(variable) or "arameter" not in variable.causality:
            faults.append(f"parameter {name!r} is no real parameter of it")
    if faults:
        raise FmuRefused("; ".join(faults), where, "correct the binding, or the FMU")


def _bound_faults(variable: Variable | None, bound: Bound, causality: str) -> list[str]:
    place = f"{causality} {bound.port.name!r}"
    if variable is None:
        return [f"{place}: there is no variable {bound.variable!r}"]
    if variable.causality != causality:
        return [f"{place}: variable {variable.name!r} is {variable.causality}, not {causality}"]
    if not _is_number(variable):
        return [f"{place}: variable {variable.name!r} is no single real number"]
    wanted = parse_unit(bound.port.unit, place)
    if not _same_unit(variable, wanted):
        has = variable.unit or "no unit"
        return [f"{place} is in {bound.port.unit}, variable {variable.name!r} in {has}"]
    return []


def _is_number(variable: Variable) -> bool:
    return variable.kind in ("Real", "Float64") and variable.is_scalar


def _same_unit(variable: Variable, wanted: Unit) -> bool:
    """By its definition in SI where the FMU gives one, else by its text read as UCUM."""
    if variable.base is not None:
        return _same_base(variable.base, wanted)
    if variable.unit is None:
        return wanted.is_number
    try:
        return parse_unit(variable.unit).same_as(wanted)
    except Rejected:
        return False


def _same_base(base: BaseUnit, wanted: Unit) -> bool:
    """The radian counts as 1, as in the SI."""
    same = all(x == y for x, y in zip(wanted.dimension, base.exponents[:7], strict=True))
    zero = abs(wanted.zero - base.offset) <= OFFSET_TOLERANCE
    return same and zero and wanted.matches(base.factor)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > BYTES_MAX:
            what = f"{path.stat().st_size >> 20} MiB"
            raise FmuRefused(what, path.name, f"at most {BYTES_MAX >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise FmuRefused(f"cannot read: {error.strerror}", str(path), "check the path") from None
