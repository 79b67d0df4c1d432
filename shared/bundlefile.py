"""From a declaration to the bundle file.

In: a declaration (`bundle.json` as it rests in firmware_profiles/models/), and the graph beside
it (`.onnx`) when that was trained. Out: name and bytes.
Always holds: the same declaration gives the same bytes; the self-test's wanted outputs come from
the numpy evaluation in float64, not from the graph under test.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from shared.behaviour.examine import examine
from shared.behaviour.faults import refuse
from shared.behaviour.model import run
from shared.bundle import Bundle, SelfTest, Trained, filename, pack, parse_bundle
from shared.errors import Rejected
from shared.profile import ModelBounds
from shared.trained import pack_trained

SELFTEST_STEPS = 64
TOLERANCE_LSB = 0.25  # float32 against float64; the worst seen is under 0.01 of a step


def build_bundle(path: Path) -> tuple[str, bytes]:
    """(file name, bytes) of the bundle that the declaration at `path` describes."""
    try:
        bundle = parse_bundle(path.read_bytes(), str(path))
        if isinstance(bundle.behaviour, Trained):
            return pack_trained(bundle, path.with_suffix(".onnx").read_bytes())
    except OSError as error:
        raise Rejected(f"cannot read: {error.strerror}", str(path), "check the path") from None
    return pack_declared(bundle)


def pack_declared(bundle: Bundle) -> tuple[str, bytes]:
    """Compile, make self-test vectors, pack."""
    # As read from a file: an integer given where a float belongs must not change the bytes.
    bundle = parse_bundle(msgspec.json.encode(bundle), bundle.name)
    found = examine(bundle.model)
    refuse(found.faults, bundle.name)
    assert found.compiled is not None
    data = pack(bundle, found.compiled.onnx, make_selftest(bundle))
    limit = ModelBounds().bundle_bytes_max
    if len(data) > limit:
        raise Rejected(f"bundle of {len(data)} bytes", bundle.name, f"at most {limit}")
    return filename(bundle, hashlib.sha256(data).hexdigest()), data


def make_selftest(bundle: Bundle) -> SelfTest:
    """Vectors over the valid ranges: both corners, the middle, and a seeded draw."""
    rng = np.random.default_rng(bundle.release)
    count = len(bundle.instances)
    low = np.array([x.valid[0] for x in bundle.inputs])
    high = np.array([x.valid[1] for x in bundle.inputs])
    share = rng.uniform(size=(SELFTEST_STEPS, count, len(low)))
    share[0], share[1], share[2] = 0.0, 1.0, 0.5
    inputs = (low + share * (high - low)).astype("<f4")
    outputs = run(bundle.model, inputs).astype("<f4")
    tolerance = tuple(TOLERANCE_LSB * x.lsb for x in bundle.outputs)
    return SelfTest(SELFTEST_STEPS, inputs.tobytes(), outputs.tobytes(), tolerance)


def reference(bundle: Bundle, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Outputs [instance, output] of the first step in float64 for inputs [instance, input]."""
    outputs: npt.NDArray[np.float64] = run(bundle.model, inputs[None])[0]
    return outputs


def pretty(bundle: Bundle) -> bytes:
    """The declaration as it rests in the repository: indented, tables one row a line."""
    return _layout(msgspec.to_builtins(bundle), 0).encode() + b"\n"


def _layout(value: object, depth: int) -> str:
    flat = msgspec.json.encode(value).decode()
    if len(flat) <= 90 - 2 * depth or not isinstance(value, dict | list | tuple):
        return flat
    pad = "  " * (depth + 1)
    if isinstance(value, dict):
        parts = [f"{msgspec.json.encode(k).decode()}: {_layout(v, depth + 1)}"
                 for k, v in value.items()]  # fmt: skip
        opening, closing = "{", "}"
    elif all(isinstance(x, int | float) for x in value):
        numbers = [msgspec.json.encode(x).decode() for x in value]
        parts = [",".join(numbers[i : i + 16]) for i in range(0, len(numbers), 16)]
        opening, closing = "[", "]"
    else:
        parts = [_layout(x, depth + 1) for x in value]
        opening, closing = "[", "]"
    return f"{opening}\n{pad}" + f",\n{pad}".join(parts) + f"\n{'  ' * depth}{closing}"
