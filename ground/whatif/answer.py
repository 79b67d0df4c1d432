"""Answer: what a what-if says, as JSON.

Always holds: every number names its unit; a point the model refused is null and counted under its
reason; what it was made from is named by hash.
"""

from __future__ import annotations

import msgspec

VERSION = 1
UNITS = {"egt": "Cel", "ff": "kg/h", "n2": "%", "thrust": "N", "n1": "%"}


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """Points in a row for which there is no number. t: seconds since 1970, or null of a point."""

    case: str
    """`baseline` or `changed`."""
    reason: str
    points: int
    start_ns: int | None = None
    end_ns: int | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Of one output over the points that both cases answer. mean_change: changed minus baseline;
    of temperatures in K."""

    output: str
    unit: str
    phase: str
    """`all`, or one phase of the flight."""
    points: int
    baseline: float
    changed: float
    mean_change: float
    largest_change: float


class Margin(msgspec.Struct, frozen=True, kw_only=True):
    """To the EGT limit, K; of the hottest point that both cases answer. Negative: above it."""

    case: str
    limit_cel: float
    margin_k: float
    t_ns: int | None
    phase: str
    points_above: int


class EngineAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One engine. points: that were solved, one each `every_s`; every figure is over all of them.
    series: by case (`baseline`, `changed`), then by quantity, one point each `shown_every_s`."""

    position: int
    esn: str
    baseline_sha256: str
    baseline_source: str
    points: int
    every_s: int
    shown_every_s: int = 0
    t_ns: tuple[int, ...]
    phase: tuple[str, ...]
    series: dict[str, dict[str, tuple[float | None, ...]]]
    sweep: dict[str, tuple[float | None, ...]] = {}
    """Of a point: the same conditions at other N1, for the plot."""
    changes: tuple[Change, ...]
    margins: tuple[Margin, ...]
    refused: tuple[Refused, ...] = ()


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One output of a scenario over its hours, before and after."""

    name: str
    unit: str
    baseline: tuple[float | None, ...]
    changed: tuple[float | None, ...]


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """A model with memory, over hours of steady inputs."""

    model: str
    model_sha256: str
    hours: tuple[float, ...]
    inputs: dict[str, dict[str, float]]
    """By case."""
    curves: tuple[Curve, ...]
    events: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer."""

    v: int = VERSION
    request: dict[str, object]
    request_sha256: str
    tail: str = ""
    flight: str = ""
    closure_revision: int | None = None
    engine_type: str = ""
    engine_type_sha256: str = ""
    inputs: tuple[tuple[str, str, str], ...] = ()
    """(kind, name, sha-256)."""
    engines: tuple[EngineAnswer, ...] = ()
    scenario: Scenario | None = None
    notes: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    seconds: float = 0.0


def encode_answer(answer: Answer) -> bytes:
    return msgspec.json.encode(answer, order="deterministic")
