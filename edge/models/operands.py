"""What onnxruntime would only notice about a node's operands while it runs.

In: a node, the shapes and types of all tensors, the constants. Out: the reasons against it.
Always holds: no reason means that the kernel finds what it expects: indices within range, no
division by 0, operands of fitting sizes. onnx's shape inference believes some of these unseen;
a fuzzer that ran what admission let through found which. Imports `onnx`: child process only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

Dims = list[int]
_INTEGERS = (TensorProto.INT64, TensorProto.INT32)


def elements(dims: Iterable[int]) -> int | None:
    """Product in Python integers, which do not overflow; None for a negative dimension."""
    product = 1
    for dim in dims:
        if dim < 0:
            return None
        product *= int(dim)
    return product


def attributes(node: NodeProto) -> dict[str, Any]:
    """Values by name."""
    return {x.name: helper.get_attribute_value(x) for x in node.attribute}


@dataclass(frozen=True)
class _Seen:
    """A node with what is known of its operands."""

    node: NodeProto
    of: dict[str, Any]
    dims: list[Dims | None]
    """Of each operand; None where it was left out."""
    output: Dims
    types: list[int]
    constants: Mapping[str, TensorProto]

    def array(self, place: int) -> np.ndarray[Any, Any] | None:
        tensor = self.constants.get(self.node.input[place]) if self.has(place) else None
        return None if tensor is None else np.asarray(numpy_helper.to_array(tensor))

    def has(self, place: int) -> bool:
        return len(self.node.input) > place and bool(self.node.input[place])

    def size(self, place: int) -> Dims:
        """Of an operand that is there; a scalar's otherwise."""
        return (self.dims[place] if self.has(place) else None) or []


def against_operands(
    node: NodeProto,
    dims: Mapping[str, Dims],
    types: Mapping[str, int],
    constants: Mapping[str, TensorProto],
) -> Iterator[str]:
    """Reasons against one node."""
    check = _CHECKS.get(node.op_type)
    if check is not None:
        seen = _Seen(
            node, attributes(node), [dims[x] if x else None for x in node.input],
            dims[node.output[0]], [types.get(x, 0) for x in node.input], constants,
        )  # fmt: skip
        yield from check(seen)


def _reshape(x: _Seen) -> Iterator[str]:
    if elements(x.size(0)) != elements(x.output):
        yield f"'Reshape' of {x.size(0)} to {x.output}"


def _picked(x: _Seen) -> Iterator[str]:
    """Gather and ArrayFeatureExtractor."""
    indices, is_gather = x.array(1), x.node.op_type == "Gather"
    size = x.size(0)[x.of.get("axis", 0) if is_gather else -1]
    low = -size if is_gather else 0
    if indices is None or (indices.size and not low <= indices.min() <= indices.max() < size):
        yield f"{x.node.op_type!r} beyond the {size} that there are"


def _slice(x: _Seen) -> Iterator[str]:
    steps = x.array(4)
    if steps is not None and not steps.all():
        yield "'Slice' with a step of 0"


def _div(x: _Seen) -> Iterator[str]:
    divisor = x.array(1)
    if x.types[0] in _INTEGERS and (divisor is None or (divisor <= 0).any()):
        yield "integer 'Div' by what is not a constant above 0"


def _gemm(x: _Seen) -> Iterator[str]:
    if x.has(2) and not _broadcasts(x.size(2), x.output):
        yield f"'Gemm' with a bias of {x.size(2)} for {x.output}"


def _conv(x: _Seen) -> Iterator[str]:
    given, weights, groups = x.size(0), x.size(1), x.of.get("group", 1)
    fits = len(given) >= 3 and len(weights) == len(given)
    fits = fits and given[1] == weights[1] * groups and weights[0] % groups == 0
    if not fits or (x.has(2) and x.size(2) != weights[:1]):
        yield f"'Conv' of {given} by {weights} in {groups} groups"


def _channels(x: _Seen) -> Iterator[str]:
    """BatchNormalization: one number a channel."""
    if any(x.size(i) != x.size(0)[1:2] for i in range(1, 5)):
        yield "'BatchNormalization' without one number a channel"


def _layer_norm(x: _Seen) -> Iterator[str]:
    axis = x.of.get("axis", -1) % max(len(x.size(0)), 1)
    for place in (1, 2):
        if x.has(place) and x.size(place) != x.size(0)[axis:]:
            yield "'LayerNormalization' with operands of another size"


def _prelu(x: _Seen) -> Iterator[str]:
    if not _broadcasts(x.size(1), x.size(0)):
        yield f"'PRelu' with a slope of {x.size(1)} for {x.size(0)}"


def _linear(x: _Seen) -> Iterator[str]:
    targets, width = x.of.get("targets", 1), x.size(0)[1]
    yield from _lengths(x, {"coefficients": (width * targets,), "intercepts": (0, targets)})


def _scaler(x: _Seen) -> Iterator[str]:
    width = x.size(0)[1]
    yield from _lengths(x, {"offset": (1, width), "scale": (1, width)})


def _lengths(x: _Seen, wanted: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    for name, sizes in wanted.items():
        count = len(x.of.get(name, ()))
        if count not in sizes:
            yield f"{name!r} of {x.node.op_type!r} holds {count} numbers"


def _broadcasts(small: Dims, large: Dims) -> bool:
    """`small` to `large`, by the rule of numpy."""
    tail = large[len(large) - len(small) :]
    return len(small) <= len(large) and all(a in (1, b) for a, b in zip(small, tail, strict=True))


_CHECKS: dict[str, Callable[[_Seen], Iterator[str]]] = {
    "ArrayFeatureExtractor": _picked, "BatchNormalization": _channels, "Conv": _conv,
    "Div": _div, "Gather": _picked, "Gemm": _gemm, "LayerNormalization": _layer_norm,
    "LinearRegressor": _linear, "PRelu": _prelu, "Reshape": _reshape, "Scaler": _scaler,
    "Slice": _slice,
}  # fmt: skip
