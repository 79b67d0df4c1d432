"""The bundle: a model as shipped. One deterministic `.tar.zst` of three files, or of four with its
attestation.

In: the files, or bytes from anywhere. Out: the file's bytes, or checked `BundleFiles`.
Always holds: the same files give the same bytes; only the one encoding that `pack` writes is
read back, so no link, path, duplicate or hidden byte survives `unpack`; nothing is
decompressed beyond its bound. That a bundle unpacks says nothing about its graph: admission does;
nor about who built it: `signing.verify.attested` does.
"""

from __future__ import annotations

import hashlib
import math
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.behaviour.dynamics import Port
from shared.behaviour.faults import refuse
from shared.behaviour.kinds import LookupTable
from shared.behaviour.model import Behaviour, Model, dynamics, faults
from shared.bundletar import ATTESTATION, ATTESTATION_BYTES_MAX, read_members, write_members
from shared.errors import Rejected
from shared.profile import ModelBounds
from shared.topics import check_identifier

SUFFIX = ".tar.zst"
CALIBRATABLE_MAX, TENSOR_NAME_CHARS_MAX = 64, 256
MONITORS_MAX, PORTS_MAX, STATES_MAX, STATE_ELEMENTS_MAX = 64, 64, 16, 4096
SELFTEST_STEPS_MAX = 256
JSON_BYTES_MAX = 1 << 20
"""Of `bundle.json`, which the recorder keeps decoded at about 15 times its size; ours have up to 46 kB."""
_ANY = (-3e38, 3e38)  # an output's range is its monitor's business

NonNegative = Annotated[float, Meta(ge=0)]


class Instance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One row of the batch: a place on the aircraft and the serial number it was made for."""

    position: Annotated[int, Meta(ge=0, le=64)]
    esn: str
    inputs: dict[str, str]
    """Input name to signal name."""
    measured: dict[str, str]
    """Output name to the signal that measures it."""


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A column of the graph's input. Outside `valid` there is no prediction."""

    name: str
    unit: str
    valid: tuple[float, float]


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A column of the graph's output; `lsb` is the step it is reported in."""

    name: str
    unit: str
    lsb: Annotated[float, Meta(gt=0)]
    valid: tuple[float, float] | msgspec.UnsetType = msgspec.UNSET
    """What a plausible prediction is; one outside it fails the probation. Unset, any number is, and
    like `Monitor.on` it is then not written."""


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Memory of the graph between steps: its input `name`, its output `name.next`.

    initial: [instance][element].
    """

    name: str
    initial: tuple[tuple[float, ...], ...]


class Steady(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Steady is: over the last `hold_s`, the input moved at most `rate_max_per_s` x `hold_s`."""

    input: str
    rate_max_per_s: NonNegative
    hold_s: Annotated[float, Meta(gt=0, le=600)]


class Monitor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An alert on a deviation (measured - predicted) or on an output itself, smoothed; limits in
    the output's unit.

    persistence_s and clear_persistence_s count flight seconds with a prediction in steady flight.
    """

    name: str
    fault_code: str
    output: str
    onset: float
    clear: float
    persistence_s: NonNegative
    clear_persistence_s: NonNegative
    smoothing_s: NonNegative
    """Time constant of the first-order low pass."""
    direction: Literal["high", "low"] = "high"
    on: Literal["output"] | msgspec.UnsetType = msgspec.UNSET
    """`output`: the prediction itself is judged, as of a score that nothing measures. Unset, the
    deviation; then it is not written either, so that older bundles keep their bytes."""
    severity: Literal["advisory", "caution", "warning"] = "advisory"
    phases: tuple[str, ...] = ()
    """Phases in which it is judged; outside them it neither arises nor clears. Empty: all."""
    steady: Steady | None = None
    rate_per_hour_max: Annotated[int, Meta(ge=1)] = 6


class Calibratable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a calibration may make of every element of one tensor of the graph.

    `of` is `value`: the element lies within low and high. `parent`: so does its quotient by the
    element that the parent has in that place.
    """

    low: float
    high: float
    of: Literal["value", "parent"] = "value"


class Applicability(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the bundle may run on; an empty list does not restrict."""

    types: tuple[str, ...] = ()
    part_numbers: tuple[str, ...] = ()
    esns: tuple[str, ...] = ()
    tails: tuple[str, ...] = ()


class Requirements(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the graph asks of the profile."""

    nodes: int
    tensor_elements: int


class ModelCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What people should know of the model. figures: name to value, units in the names."""

    purpose: str
    method: str
    limits: str
    figures: dict[str, float] = {}


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the numbers come from."""

    source: str
    seeds: tuple[int, ...]
    fitted_by: str
    signal_set_sha256: str
    baselines: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    """ESN to the sha-256 of the baseline that the parent had. Unset where there is none; like
    `Monitor.on` it is then not written, so that older bundles keep their bytes."""
    flights: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    """`FLIGHT#REVISION` of the closures whose inputs drew the envelope."""
    data: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    """Name to the sha-256 of what it was trained on, where that is a file."""


class Trained(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="trained"
):
    """No declared behaviour: the graph was trained, or comes from elsewhere, and it alone says
    what it does. exporter: what wrote it, with its version."""

    exporter: str


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`bundle.json`."""

    name: str
    version: str
    release: Annotated[int, Meta(ge=1)]
    """Only grows over the versions of a name."""
    rate_hz: Annotated[float, Meta(gt=0, le=50)]
    instances: tuple[Instance, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    states: tuple[State, ...] = ()
    monitors: tuple[Monitor, ...] = ()
    applicability: Applicability
    ata: str
    requirements: Requirements
    model_card: ModelCard
    calibration: Calibration
    full_fidelity: str
    """The model it stands for."""
    behaviour: Behaviour | Trained
    calibratable: dict[str, Calibratable] | msgspec.UnsetType = msgspec.UNSET
    """Initializer of the graph to what a calibration may make of it; of any other nothing. Unset it
    is not written, and the bundle cannot be the parent of a calibration."""

    @property
    def model(self) -> Model:
        """The behaviour with its ports, rate and instances; not of a trained graph."""
        assert not isinstance(self.behaviour, Trained), self.name
        inputs = tuple(Port(name=x.name, unit=x.unit, valid=x.valid) for x in self.inputs)
        outputs = tuple(Port(name=x.name, unit=x.unit, valid=_ANY) for x in self.outputs)
        return Model(self.behaviour, inputs, outputs, self.rate_hz, len(self.instances))


class SelfTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Vectors that a session must reproduce: float32, little endian, C order.

    inputs: [steps, instances, inputs]; outputs: [steps, instances, outputs], from the numpy
    reference. tolerance: absolute, one an output. States start at their initial values.
    """

    steps: Annotated[int, Meta(ge=1, le=SELFTEST_STEPS_MAX)]
    inputs: bytes
    outputs: bytes
    tolerance: tuple[float, ...]


class BundleFiles(msgspec.Struct, frozen=True):
    """An unpacked bundle; sha256 is that of the packed file, hex. attestation: b"" without one."""

    bundle: Bundle
    bundle_json: bytes
    model: bytes
    selftest: bytes
    sha256: str
    attestation: bytes = b""

    @property
    def filename(self) -> str:
        return filename(self.bundle, self.sha256)


def filename(bundle: Bundle, sha256: str) -> str:
    """`{name}-{version}-{first 12 hex digits of the file's sha-256}.tar.zst`."""
    return f"{bundle.name}-{bundle.version}-{sha256[:12]}{SUFFIX}"


def states_of(model: Model) -> tuple[State, ...]:
    """What `states` of a bundle with this faultless model says."""
    return tuple(
        State(name=name, initial=tuple(tuple(row) for row in first.tolist()))
        for name, first in dynamics(model).initial.items()
    )


def parse_bundle(data: bytes, where: str) -> Bundle:
    """A checked `bundle.json`, or Rejected."""
    _need(len(data) <= JSON_BYTES_MAX, f"bundle.json: over {JSON_BYTES_MAX} bytes", where)
    try:
        bundle = msgspec.json.decode(data, type=Bundle)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(f"bundle.json: {error}", where, "see shared/bundle.py") from None
    _check(bundle, where)
    return bundle


def parse_selftest(data: bytes, bundle: Bundle, where: str) -> SelfTest:
    """Self-test vectors of the sizes that `bundle` needs, or Rejected."""
    try:
        selftest = msgspec.msgpack.decode(data, type=SelfTest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejected(f"selftest.msgpack: {error}", where) from None
    row = 4 * selftest.steps * len(bundle.instances)
    _need(len(selftest.inputs) == row * len(bundle.inputs), "self-test inputs: size", where)
    _need(len(selftest.outputs) == row * len(bundle.outputs), "self-test outputs: size", where)
    _need(len(selftest.tolerance) == len(bundle.outputs), "self-test tolerance: size", where)
    return selftest


def pack(bundle: Bundle, model: bytes, selftest: SelfTest) -> bytes:
    """The bundle file; the same arguments give the same bytes (with one zstandard version)."""
    where = f"{bundle.name} {bundle.version}"
    _check(bundle, where)
    vectors = msgspec.msgpack.encode(selftest)
    parse_selftest(vectors, bundle, where)
    text = msgspec.json.encode(bundle, order="deterministic")
    return write_members((text, model, vectors))


def attach(files: BundleFiles, attestation: bytes) -> bytes:
    """The bundle file with this attestation, whatever it had before; the other members as they
    are, byte by byte."""
    _need(0 < len(attestation) <= ATTESTATION_BYTES_MAX,
          f"attestation: {len(attestation)} bytes, 1 to {ATTESTATION_BYTES_MAX}", ATTESTATION)  # fmt: skip
    return write_members((files.bundle_json, files.model, files.selftest, attestation))


def unpack(data: bytes, bounds: ModelBounds, where: str = "bundle") -> BundleFiles:
    """Read a bundle file; Rejected unless it is one that `pack` could have written."""
    _need(len(data) <= bounds.bundle_bytes_max, f"over {bounds.bundle_bytes_max} bytes", where)
    text, model, vectors, *attestation = read_members(data, bounds.unpacked_bytes_max, where)
    bundle = parse_bundle(text, where)
    parse_selftest(vectors, bundle, where)
    sha256 = hashlib.sha256(data).hexdigest()
    return BundleFiles(bundle, text, model, vectors, sha256, *attestation)


def _check(bundle: Bundle, where: str) -> None:
    """What the types alone cannot say."""
    check_identifier(bundle.name, f"{where}: name")
    check_identifier(bundle.version.replace(".", "_"), f"{where}: version")
    for kind, items in (("instance", bundle.instances), ("input", bundle.inputs),
                        ("output", bundle.outputs)):  # fmt: skip
        _need(0 < len(items) <= PORTS_MAX, f"1 to {PORTS_MAX} {kind}s", where)
    _need(len(bundle.states) <= STATES_MAX, f"over {STATES_MAX} states", where)
    _need(len(bundle.monitors) <= MONITORS_MAX, f"over {MONITORS_MAX} monitors", where)
    inputs = {x.name: x for x in bundle.inputs}
    outputs = {x.name: x for x in bundle.outputs}
    states = {x.name for x in bundle.states}
    monitors = {x.name for x in bundle.monitors}
    for name in (*inputs, *outputs, *states, *monitors):
        check_identifier(name, f"{where}: {name[:40]!r}")
    _need(len(inputs) == len(bundle.inputs) and len(outputs) == len(bundle.outputs)
          and len(states) == len(bundle.states) and len(monitors) == len(bundle.monitors),
          "a name is used twice", where)  # fmt: skip
    _check_instances(bundle, where)
    for port in bundle.inputs:
        _need(port.valid[0] < port.valid[1], f"input {port.name}: valid range is empty", where)
    _check_bounds(bundle, where)
    for state in bundle.states:
        width = len(state.initial[0]) if state.initial else 0
        ok = len(state.initial) == len(bundle.instances) and 0 < width <= STATE_ELEMENTS_MAX
        ok = ok and all(len(row) == width for row in state.initial)
        _need(ok, f"state {state.name}: initial is not [instance][element]", where)
    for monitor in bundle.monitors:
        _need(monitor.output in outputs, f"monitor {monitor.name}: no such output", where)
        high = monitor.direction == "high"
        ordered = monitor.clear < monitor.onset if high else monitor.clear > monitor.onset
        _need(ordered, f"monitor {monitor.name}: no hysteresis", where)
        steady = monitor.steady
        _need(steady is None or steady.input in inputs, f"{monitor.name}: no such input", where)
    if not isinstance(bundle.behaviour, Trained):
        refuse(faults(bundle.model), f"{where}: behaviour")
        _check_states(bundle, where)


def _check_bounds(bundle: Bundle, where: str) -> None:
    """What a prediction may be, and what a calibration may make of a tensor."""
    for output in bundle.outputs:
        valid = output.valid
        ok = isinstance(valid, msgspec.UnsetType) or (
            valid[0] < valid[1] and all(map(math.isfinite, valid))
        )
        _need(ok, f"output {output.name}: valid range is empty", where)
    if isinstance(bundle.calibratable, msgspec.UnsetType):
        return
    _need(0 < len(bundle.calibratable) <= CALIBRATABLE_MAX,
          f"calibratable: 1 to {CALIBRATABLE_MAX} tensors", where)  # fmt: skip
    for name, bounds in bundle.calibratable.items():
        key = f"calibratable {name[:40]!r}"
        _need(0 < len(name) <= TENSOR_NAME_CHARS_MAX, f"{key}: no name of a tensor", where)
        least = 0.0 if bounds.of == "parent" else -math.inf
        ok = least < bounds.low < bounds.high < math.inf
        _need(ok, f"{key}: bounds are empty, or a share that is not above 0", where)


def _check_states(bundle: Bundle, where: str) -> None:
    """The states are those of the declared behaviour."""
    if isinstance(bundle.behaviour, LookupTable):
        return
    found = {s.name: s.initial for s in bundle.states}
    wanted = {s.name: s.initial for s in states_of(bundle.model)}
    _need(found == wanted, "states are not those of the behaviour", where)


def _check_instances(bundle: Bundle, where: str) -> None:
    seen = set()
    for instance in bundle.instances:
        key = f"{where}: instance {instance.position}"
        check_identifier(instance.esn, key)
        seen.add(instance.position)
        _need(set(instance.inputs) == {x.name for x in bundle.inputs}, "inputs not bound", key)
        names = {x.name for x in bundle.outputs}
        _need(set(instance.measured) <= names, "measured names no output", key)
    _need(len(seen) == len(bundle.instances), "a position is used twice", where)


def _need(ok: bool, what: str, where: str) -> None:
    if not ok:
        raise Rejected(what, where)
