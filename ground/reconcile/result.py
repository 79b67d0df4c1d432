"""The reconciliation of one closed flight: what is stored, served, printed and plotted.

In: numbers of the other modules here. Out: one frozen `Reconciliation`, as JSON and back.
Always holds: units are named beside every number; ± is a half-width of 95 %; a number nobody
could make is null, never a guess; `inputs` names by hash everything the figures were made from,
so that the same inputs give the same bytes.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from shared.errors import Rejected

VERSION = 1
SERIES_POINTS_MAX = 600
"""Of one plotted series: more than a page has room for."""
RESULT_BYTES_MAX = 4 << 20
SHARED_INPUTS = ("tat", "mach", "altitude")
"""Of the aircraft, not of an engine: every engine shows what is wrong with them."""
Code = Literal[
    "holes", "no_signal", "wrong_unit", "esn_changed", "esn_unknown", "no_baseline",
    "baseline_not_of_type", "out_of_range", "not_converged", "too_few_windows", "no_predictions",
    "edge_outside_full", "ambiguous", "no_single_cause", "engine_failed", "not_a_flight",
]  # fmt: skip
Kind = Literal[
    "healthy", "degrading", "sensor_fault", "unexplained", "model_out_of_range", "not_enough_data"
]


class Input(msgspec.Struct, frozen=True):
    """Something the figures were made from. kind: `flight_file`, `kpis`, `states`, `manifest`,
    `closure`, `signal_set`, `engine_type`, `baseline`, `code`; name: which one; sha256: hex."""

    kind: str
    name: str
    sha256: str


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that kept figures from being made, or that who reads them must know."""

    code: Code
    text: str
    esn: str = ""
    """Empty: of the whole flight."""


class ModelError(msgspec.Struct, frozen=True, kw_only=True):
    """Edge model minus full fidelity with this ESN's baseline, same inputs.

    n: KPI steps compared; mean_95: ± of the mean, autocorrelation counted. steady: only steps in
    stable windows (else all of the phase).
    """

    model: str
    """Name of the bundle's file without suffix."""
    output: str
    unit: str
    esn: str
    position: int
    phase: str
    """`all` is over all phases."""
    steady: bool
    n: int
    mean: float
    rms: float
    max_abs: float
    sigma: float
    mean_95: float | None


class Deviation(msgspec.Struct, frozen=True, kw_only=True):
    """Sensor minus baseline over stable windows of one phase.

    n: steady 1 Hz rows. measured_corrected, baseline_corrected: means corrected by theta and
    delta, in `corrected_unit` (temperatures in K).
    """

    output: str
    unit: str
    esn: str
    position: int
    phase: str
    n: int
    mean: float
    sigma: float
    mean_95: float | None
    """± of the mean: noise with autocorrelation, and the baseline's own uncertainty."""
    corrected_unit: str
    measured_corrected: float
    baseline_corrected: float


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """Engine-to-engine: deviation of the second minus that of the first, same times.

    mean_95: as of a deviation, with the uncertainty of both baselines.
    """

    output: str
    unit: str
    phase: str
    esns: tuple[str, str]
    n: int
    mean: float
    mean_95: float | None


class Onset(msgspec.Struct, frozen=True, kw_only=True):
    """When a change began, and how it went. t_95_ns: [earliest, latest] of 95 %.

    shape `standing`: it was there in the first stable window, so it began before; t_ns is null.
    """

    shape: Literal["standing", "step", "ramp"]
    t_ns: int | None
    t_95_ns: tuple[int, int] | None
    ramp_s: float
    """From onset to its full size; 0 of a step."""
    still_growing: bool = False


class Hypothesis(msgspec.Struct, frozen=True, kw_only=True):
    """One cause, tried alone. name: a health parameter, `bias_` and a sensor's quantity, `none`.

    estimate, estimate_95: change in % (of the parameter; of the reading, of EGT in K; of what
    ground/reconcile/health.py's INPUT_SCALE says of an input).
    chi2: of what it leaves unexplained, over `dof`. probability: share of the evidence.
    """

    name: str
    text: str
    estimate: float | None
    estimate_95: float | None
    chi2: float
    dof: int
    probability: float


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One health parameter of the joint (MAP) estimate, in % against this ESN's baseline.

    learned: share of the prior's variance that the readings took away; near 0, the estimate is
    the prior's.
    """

    name: str
    estimate: float
    estimate_95: float
    learned: float


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a person acts on. `text` says it in a line, `advice` what to do next."""

    kind: Kind
    text: str
    advice: str
    cause: str = ""
    """A health parameter, or a sensor's quantity (`n2`, `egt`, `ff`, `n1`, `tat`, `mach`,
    `altitude`, `bleed`, `anti-ice`)."""
    not_separable: tuple[str, ...] = ()
    """Causes that explain the readings about as well; empty when there is one."""
    estimate: float | None = None
    estimate_95: float | None = None
    unit: str = ""
    """Of estimate: `%` of the health parameter; the sensor's unit of a bias."""
    probability: float | None = None
    """Of `cause` against every other hypothesis tried, healthy among them."""
    score: float | None = None
    """ln of the evidence for the best cause over `none`; the threshold is in `threshold`."""
    threshold: float | None = None
    onset: Onset | None = None


class EngineResult(msgspec.Struct, frozen=True, kw_only=True):
    """One engine. rows: 1 Hz rows of the flight; good: of them, rows with a good sample, by
    signal; steady: rows in the stable windows that the verdict rests on; windows: of them."""

    position: int
    esn: str
    baseline: str
    """sha-256 of the baseline used; empty when there is none."""
    baseline_event: str
    rows: int
    good: dict[str, int]
    running: int
    """Rows in which the full-fidelity model speaks."""
    steady: int
    windows: int
    verdict: Verdict
    hypotheses: tuple[Hypothesis, ...] = ()
    """Most probable first."""
    parameters: tuple[Parameter, ...] = ()


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One plot: columns over time, at most SERIES_POINTS_MAX points, null where there is none.

    name `egt`, `ff`, `n2`: columns `measured`, `full`, `deviation`, and `edge` where the edge
    model has that output. name `health`: columns `estimate`, `low`, `high` of `subject` in %.
    name `conditions`: `n1`, `mach`, `altitude`, `tat`.
    """

    name: str
    esn: str
    position: int
    unit: str
    subject: str = ""
    t_ns: tuple[int, ...]
    phase: tuple[str, ...]
    columns: dict[str, tuple[float | None, ...]]


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one flight and one revision of its closure."""

    v: int = VERSION
    tail: str
    flight: str
    closure_revision: int
    closure_state: str
    start_ns: int | None
    """First and last row."""
    end_ns: int | None
    inputs: tuple[Input, ...]
    engine_type: str
    models: tuple[ModelError, ...] = ()
    deviations: tuple[Deviation, ...] = ()
    deltas: tuple[Delta, ...] = ()
    engines: tuple[EngineResult, ...] = ()
    findings: tuple[Finding, ...] = ()
    series: tuple[Series, ...] = ()

    @property
    def inputs_sha256(self) -> str:
        """Identity of what went in: equal for results that must be equal."""
        text = "\n".join(f"{x.kind} {x.name} {x.sha256}" for x in self.inputs)
        return hashlib.sha256(text.encode()).hexdigest()


def encode_result(result: Reconciliation) -> bytes:
    """JSON; the same result gives the same bytes. NaN becomes null."""
    return msgspec.json.encode(result, order="deterministic")


def decode_result(data: bytes, where: str = "reconciliation") -> Reconciliation:
    """Rejected when it is none, too large, or of a version this code does not read."""
    if len(data) > RESULT_BYTES_MAX:
        raise Rejected(f"{len(data)} bytes, over the cap of {RESULT_BYTES_MAX}", where)
    try:
        result = msgspec.json.decode(data, type=Reconciliation)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(f"not a reconciliation: {error}", where) from None
    if result.v != VERSION:
        raise Rejected(f"version {result.v}, this code reads {VERSION}", where, "reconcile again")
    return result
