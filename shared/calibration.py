"""Whether a bundle is a calibration: its parent with other numbers, within the parent's bounds.

In: two unpacked bundles, each verified elsewhere. Out: what stands against it, in words; nothing
when it is one.
Always holds: no reason means that the graphs are equal byte by byte but for the elements of
tensors that the parent lets a calibration change, each finite and within its bounds; that nothing
speaks over a wider range, for more aircraft or with wider limits than the parent; and that no
other text or number aboard differs but version, release, card and provenance. That the parent is
fit to run is not judged here, nor who signed.

Imports `onnx`, for its encoding only: for a child aboard, a signer or the ground, never the
recorder. Nothing is compiled, inferred or run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec
import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # no stubs are shipped
from onnx import ModelProto, TensorProto

from shared.behaviour.kinds import LookupTable
from shared.bundle import Bundle, BundleFiles, Calibratable, Input, Monitor, Output

REASONS_MAX = 16
FREE = ("version", "release", "model_card", "calibration", "calibratable")
JUDGED = ("instances", "inputs", "outputs", "monitors", "applicability", "behaviour")
_Range = tuple[float, float]
Port = Input | Output


def against(child: BundleFiles, parent: BundleFiles) -> list[str]:
    """Why `child` is no calibration of `parent`, at most 16 reasons."""
    bounds = parent.bundle.calibratable
    if isinstance(bounds, msgspec.UnsetType):
        return [f"{_named(parent.bundle)} lets a calibration change nothing"]
    found = _first(_declared(child.bundle, parent.bundle))
    return found or _first(_graphs(child.model, parent.model, bounds))


def _first(reasons: Iterator[str]) -> list[str]:
    return list(islice(reasons, REASONS_MAX))


def _named(bundle: Bundle) -> str:
    return f"{bundle.name} {bundle.version}"


# -- bundle.json


def _declared(child: Bundle, parent: Bundle) -> Iterator[str]:
    for field in Bundle.__struct_fields__:
        if field not in (*FREE, *JUDGED) and getattr(child, field) != getattr(parent, field):
            yield f"{field} is not the parent's"
    if child.release <= parent.release:
        yield f"release {child.release} does not grow; the parent's is {parent.release}"
    if not isinstance(child.calibratable, msgspec.UnsetType):
        yield "it says itself what a calibration may change: only its parent does"
    yield from _instances(child, parent)
    yield from _ranges(child, parent)
    yield from _monitors(child.monitors, parent.monitors)
    yield from _applicability(child, parent)
    if not isinstance(child.behaviour, LookupTable) or not isinstance(
        parent.behaviour, LookupTable
    ):
        if child.behaviour != parent.behaviour:
            yield "behaviour is not the parent's"
    elif _shape(child.behaviour) != _shape(parent.behaviour):
        yield "behaviour: corrections, axes, columns or effects are not the parent's"


def _applicability(child: Bundle, parent: Bundle) -> Iterator[str]:
    """An empty list does not restrict, so it is wider than any other."""
    for field in parent.applicability.__struct_fields__:
        mine, theirs = getattr(child.applicability, field), getattr(parent.applicability, field)
        if theirs and not (mine and set(mine) <= set(theirs)):
            yield f"applicability: {field} reach beyond the parent's"


def _shape(table: LookupTable) -> tuple[object, ...]:
    return (table.corrections, table.axes, table.columns, [x.quantity for x in table.effects],
            [[len(column) for column in engine] for engine in table.values])  # fmt: skip


def _instances(child: Bundle, parent: Bundle) -> Iterator[str]:
    bound = [(x.position, x.inputs, x.measured) for x in child.instances]
    if bound != [(x.position, x.inputs, x.measured) for x in parent.instances]:
        yield "instances: positions or signals are not the parent's"
    allowed = parent.applicability.esns
    for instance in child.instances:
        if allowed and instance.esn not in allowed:
            yield f"instances: ESN {instance.esn} is not one that the parent was made for"


def _ranges(child: Bundle, parent: Bundle) -> Iterator[str]:
    """Of inputs and outputs; everything else of a port is the parent's."""
    yield from _narrower("input", child.inputs, parent.inputs)
    yield from _narrower("output", child.outputs, parent.outputs)


def _narrower(word: str, mine: Sequence[Port], theirs: Sequence[Port]) -> Iterator[str]:
    if [_plain(x) for x in mine] != [_plain(x) for x in theirs]:
        yield f"{word}s: names, units or steps are not the parent's"
        return
    for one, other in zip(mine, theirs, strict=True):
        if not _within(one.valid, other.valid):
            yield f"{word} {one.name}: its valid range is wider than the parent's"


def _plain(port: Port) -> Port:
    return msgspec.structs.replace(port, valid=(0.0, 1.0))


def _within(one: _Range | msgspec.UnsetType, other: _Range | msgspec.UnsetType) -> bool:
    if isinstance(other, msgspec.UnsetType):
        return True
    return not isinstance(one, msgspec.UnsetType) and other[0] <= one[0] and one[1] <= other[1]


def _monitors(mine: Sequence[Monitor], theirs: Sequence[Monitor]) -> Iterator[str]:
    """Limits may only get tighter; the rest is the parent's."""
    if [x.name for x in mine] != [x.name for x in theirs]:
        yield "monitors: not those of the parent"
        return
    for one, other in zip(mine, theirs, strict=True):
        if msgspec.structs.replace(one, onset=other.onset, clear=other.clear) != other:
            yield f"monitor {one.name}: more than its limits is not the parent's"
        sign = 1 if other.direction == "high" else -1
        if sign * one.onset > sign * other.onset or sign * one.clear > sign * other.clear:
            yield (
                f"monitor {one.name}: onset {one.onset:g}, clear {one.clear:g} is wider than the "
                f"parent's {other.onset:g}, {other.clear:g}"
            )


# -- model.onnx


def _graphs(child: bytes, parent: bytes, bounds: dict[str, Calibratable]) -> Iterator[str]:
    mine, theirs = ModelProto(), ModelProto()
    try:
        mine.ParseFromString(child)
        theirs.ParseFromString(parent)
    except DecodeError as error:
        yield f"not an ONNX model: {str(error)[:100]}"
        return
    if _bytes(mine) != child:
        yield "graph: fields written twice, or in another order"
        return
    tensors = [{x.name: x for x in model.graph.initializer} for model in (mine, theirs)]
    if list(tensors[0]) != list(tensors[1]):
        yield "graph: its constants are not those of the parent"
        return
    for name, limit in bounds.items():
        if name not in tensors[1]:
            yield f"calibratable {name[:40]!r}: the parent's graph has no such constant"
        else:
            yield from _elements(tensors[0][name], tensors[1][name], limit)
    for name, tensor in tensors[0].items():
        other = tensors[1][name]
        if name in bounds:
            tensor.CopyFrom(other)
        elif _bytes(tensor) != _bytes(other):
            yield f"graph: constant {name[:40]!r} differs, which a calibration may not change"
            tensor.CopyFrom(other)
    if _bytes(mine) != _bytes(theirs):
        yield "graph: more than its constants differs"


def _bytes(message: ModelProto | TensorProto) -> bytes:
    """With the fields that this reader does not know."""
    return bytes(message.SerializeToString(deterministic=True))


def _elements(mine: TensorProto, theirs: TensorProto, limit: Calibratable) -> Iterator[str]:
    name = f"constant {mine.name[:40]!r}"
    if mine.data_type != theirs.data_type or list(mine.dims) != list(theirs.dims):
        yield f"{name}: type or shape {list(mine.dims)[:8]} is not the parent's {list(theirs.dims)[:8]}"
        return
    same = TensorProto()
    same.CopyFrom(theirs)
    same.raw_data = mine.raw_data
    found = [_float32(tensor) for tensor in (mine, theirs)]
    if found[0] is None or found[1] is None or _bytes(same) != _bytes(mine):
        yield f"{name}: not plain float32"
        return
    if not (np.isfinite(found[0]).all() and np.isfinite(found[1]).all()):
        yield f"{name}: holds NaN or infinity"
        return
    value, of = found[0].astype(np.float64), found[1].astype(np.float64)
    ends = np.stack([limit.low * of, limit.high * of] if limit.of == "parent"
                    else [np.full_like(value, limit.low), np.full_like(value, limit.high)])  # fmt: skip
    outside = np.flatnonzero((value < ends.min(axis=0)) | (value > ends.max(axis=0)))
    if len(outside):
        at = outside[0]
        times = " times the parent's" if limit.of == "parent" else ""
        yield (
            f"{name}: {len(outside)} of {len(value)} elements are beyond {limit.low:g} to "
            f"{limit.high:g}{times}; element {at} is {value[at]:g}, the parent's {of[at]:g}"
        )


def _float32(tensor: TensorProto) -> npt.NDArray[np.float32] | None:
    """Its elements where all of them are raw float32; None otherwise."""
    count = math.prod(tensor.dims)
    if tensor.data_type != TensorProto.FLOAT or len(tensor.raw_data) != 4 * count:
        return None
    return np.frombuffer(tensor.raw_data, "<f4")
