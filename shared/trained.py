"""From a graph that was trained, or that another exporter wrote, to a bundle file.

In: the bytes of an ONNX model and a declaration of kind `trained`. Out: name and bytes.
Always holds: the self-test's wanted outputs come from onnx's own reference evaluation (numpy),
not from onnxruntime, which must reproduce them; the same model and declaration give the same
bytes. That it packs says nothing: admission judges it (docs/models.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto

from shared.bundle import Bundle, SelfTest, Trained, filename, pack, parse_bundle
from shared.errors import Rejected

STEPS = 32
TOLERANCE_LSB = 0.25  # as shared/bundlefile.py has it


def adopt(model: bytes, inputs: Sequence[str], outputs: Sequence[str], instances: int) -> bytes:
    """The graph with the ports that a bundle has: `inputs` and `outputs`, [instances, columns].

    For a stateless graph of one input and one output, however its exporter named them and
    whatever it left open of the batch.
    """
    proto = onnx.load_from_string(model)
    graph = proto.graph
    known = {x.name for x in graph.initializer}
    given = [x for x in graph.input if x.name not in known]
    if len(given) != 1 or len(graph.output) != 1:
        raise Rejected(f"{len(given)} inputs, {len(graph.output)} outputs", "model.onnx",
                       "one of each: columns side by side")  # fmt: skip
    for value, name, width in (
        (given[0], "inputs", len(inputs)), (graph.output[0], "outputs", len(outputs)),
    ):  # fmt: skip
        _rename(proto, value.name, name)
        shape = onnx.helper.make_tensor_value_info(name, value.type.tensor_type.elem_type,
                                                   [instances, width])  # fmt: skip
        value.CopyFrom(shape)
    del graph.value_info[:]  # they may tell of another batch
    del graph.input[:]
    graph.input.append(given[0])
    onnx.helper.set_model_props(proto, {"inputs": ",".join(inputs), "outputs": ",".join(outputs)})
    return bytes(proto.SerializeToString(deterministic=True))


def pack_trained(bundle: Bundle, model: bytes) -> tuple[str, bytes]:
    """(file name, bytes) of the bundle, its vectors made from the reference evaluation."""
    if not isinstance(bundle.behaviour, Trained):
        raise Rejected("its behaviour is declared", bundle.name, "use shared.bundlefile")
    bundle = parse_bundle(msgspec.json.encode(bundle), bundle.name)
    data = pack(bundle, model, selftest_of(bundle, model))
    return filename(bundle, hashlib.sha256(data).hexdigest()), data


def selftest_of(bundle: Bundle, model: bytes) -> SelfTest:
    """Vectors over the valid ranges: both corners, the middle, and a seeded draw."""
    rng = np.random.default_rng(bundle.release)
    low = np.array([x.valid[0] for x in bundle.inputs])
    high = np.array([x.valid[1] for x in bundle.inputs])
    share = rng.uniform(size=(STEPS, len(bundle.instances), len(low)))
    share[0], share[1], share[2] = 0.0, 1.0, 0.5
    inputs = (low + share * (high - low)).astype("<f4")
    wanted = run_reference(bundle, model, inputs)
    tolerance = tuple(TOLERANCE_LSB * x.lsb for x in bundle.outputs)
    return SelfTest(STEPS, inputs.tobytes(), wanted.tobytes(), tolerance)


def run_reference(
    bundle: Bundle, model: bytes, inputs: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Outputs [steps, instances, outputs] for inputs [steps, instances, inputs]."""
    from onnx.reference import ReferenceEvaluator  # a tool of the shop; not aboard

    evaluator = ReferenceEvaluator(_plain(model))
    states: dict[str, Any] = {s.name: np.array(s.initial, np.float32) for s in bundle.states}
    names = ["outputs", *(f"{name}.next" for name in states)]
    found = []
    for row in inputs:
        outputs, *moved = evaluator.run(names, {"inputs": row, **states})
        states = dict(zip(states, moved, strict=True))
        found.append(np.asarray(outputs, "<f4"))
    return np.stack(found)


def _plain(model: bytes) -> ModelProto:
    proto: ModelProto = onnx.load_from_string(model)
    return proto


def _rename(model: ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
