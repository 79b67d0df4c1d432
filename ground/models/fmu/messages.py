"""What passes between the ground and the process that runs an FMU.

In: a request file. Out: a description, or columns in a file beside an answer.
Always holds: both sides read only these shapes; the ground trusts nothing the child wrote beyond them.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

VARIABLES_MAX = 20_000
Text = Annotated[str, Meta(max_length=1_000)]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one run may use. Assumptions: ten times what a lumped model needs."""

    wall_s: Annotated[float, Meta(gt=0, le=3600)] = 60.0
    cpu_s: Annotated[int, Meta(gt=0, le=3600)] = 60
    memory_mb: Annotated[int, Meta(ge=256, le=16_384)] = 2_048
    """Of addresses; Python with numpy alone has about 500."""
    file_mb: Annotated[int, Meta(ge=1, le=4_096)] = 64
    """Of any file, of its log, and of all it leaves in its folder beyond what was unpacked."""


class Request(msgspec.Struct, frozen=True):
    """Names of variables; rows are in `inputs.npy` [n, inputs] of the same folder."""

    task: Literal["describe", "run"]
    limits: Limits
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    parameters: dict[str, float] = {}
    step_s: float = 0.0


class BaseUnit(msgspec.Struct, frozen=True):
    """Exponents of kg, m, s, A, K, mol, cd, rad; base value = factor x value + offset."""

    exponents: tuple[int, int, int, int, int, int, int, int]
    factor: float
    offset: float


class Variable(msgspec.Struct, frozen=True):
    name: Text
    causality: Text
    kind: Text
    """`Real` in FMI 2.0, `Float64` in 3.0, or another."""
    is_scalar: bool
    unit: Text | None = None
    base: BaseUnit | None = None


class Description(msgspec.Struct, frozen=True):
    """Of the FMU: what its modelDescription.xml says."""

    model: Text
    fmi: Text
    token: Text
    co_simulation: bool
    platforms: Annotated[tuple[Text, ...], Meta(max_length=64)]
    variables: Annotated[tuple[Variable, ...], Meta(max_length=VARIABLES_MAX)]


class Answer(msgspec.Struct, frozen=True):
    """refused and failed: why not, in the words of the FMU or of FMPy."""

    description: Description | None = None
    refused: Annotated[str, Meta(max_length=4_000)] = ""
    failed: Annotated[str, Meta(max_length=4_000)] = ""
    offline: bool = False
    """Whether the process had no network."""
