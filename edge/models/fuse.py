"""Several ONNX models as one graph: names prefixed, nodes and constants one after the other.

In: the bytes of admitted models. Out: the bytes of one model, made in memory and never stored.
Always holds: the order is that given; nothing is computed, only names change; what says nothing
about the computation (docs, metadata, told shapes) is left out. Works on the protobuf encoding
itself (onnx.proto), so that the worker needs no `onnx` (about 25 MB). Model i's tensor `x`
becomes `i/x`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.errors import Rejected

# Field numbers of onnx.proto.
_IR_VERSION, _GRAPH, _OPSETS = 1, 7, 8
_NODE, _GRAPH_NAME, _INITIALIZER, _INPUT, _OUTPUT = 1, 2, 5, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _OP_TYPE, _ATTRIBUTE, _DOMAIN = 1, 2, 4, 5, 7
_TENSOR_NAME, _TENSOR_DOC = 8, 12
_VALUE_NAME, _VALUE_TYPE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types

_Field = tuple[int, int, bytes]
"""(number, wire type, its value as encoded; of `_BYTES` without the length)."""


def operator_sets(model: bytes) -> dict[str, int]:
    """Version by domain."""
    sets = {}
    for number, _, value in _fields(model):
        if number == _OPSETS:
            parts = {n: v for n, _, v in _fields(value)}
            domain = parts.get(1, b"").decode(errors="replace")
            sets["" if domain == "ai.onnx" else domain] = _number(parts.get(2, b"\0"))
    return sets


def fuse(models: Sequence[bytes]) -> bytes:
    """One model; Rejected when they are no models or their operator sets differ."""
    sets: dict[str, int] = {}
    ir_version, graph = 0, [_field(_GRAPH_NAME, b"fused")]
    for i, model in enumerate(models):
        for domain, version in operator_sets(model).items():
            if sets.setdefault(domain, version) != version:
                raise Rejected(f"operator set {version} of {domain!r} beside {sets[domain]}")
        for number, _, value in _fields(model):
            if number == _IR_VERSION:
                ir_version = max(ir_version, _number(value))
            elif number == _GRAPH:
                graph += _prefixed(value, b"%d/" % i)
    opsets = [
        _field(_OPSETS, _field(1, domain.encode()) + _key(2, _VARINT) + _varint(version))
        for domain, version in sorted(sets.items())
    ]
    head = _key(_IR_VERSION, _VARINT) + _varint(ir_version)
    return head + _field(_GRAPH, b"".join(graph)) + b"".join(opsets)


def _prefixed(graph: bytes, prefix: bytes) -> Iterator[bytes]:
    for number, _, value in _fields(graph):
        if number == _NODE:
            yield _field(number, b"".join(_node(value, prefix)))
        elif number == _INITIALIZER:
            yield _field(number, b"".join(_renamed(value, _TENSOR_NAME, prefix, {_TENSOR_DOC})))
        elif number in (_INPUT, _OUTPUT):
            kept = [x for x in _fields(value) if x[0] in (_VALUE_NAME, _VALUE_TYPE)]
            yield _field(number, b"".join(_written(x, _VALUE_NAME, prefix) for x in kept))


def _node(node: bytes, prefix: bytes) -> Iterator[bytes]:
    for number, kind, value in _fields(node):
        if number in (_NODE_INPUT, _NODE_OUTPUT):
            # an empty name is an operand that was left out
            yield _field(number, prefix + value if value else b"")
        elif number in (_OP_TYPE, _ATTRIBUTE, _DOMAIN):
            yield _written((number, kind, value), 0, b"")


def _renamed(message: bytes, name: int, prefix: bytes, without: set[int]) -> Iterator[bytes]:
    return (_written(x, name, prefix) for x in _fields(message) if x[0] not in without)


def _written(field: _Field, name: int, prefix: bytes) -> bytes:
    number, kind, value = field
    if kind == _BYTES:
        return _field(number, prefix + value if number == name else value)
    return _key(number, kind) + value


def _fields(message: bytes) -> Iterator[_Field]:
    """The fields of a message in order; Rejected where the encoding breaks off."""
    at, end = 0, len(message)
    while at < end:
        start, at = at, _past_varint(message, at)
        key = _number(message[start:at])
        number, kind = key >> 3, key & 7
        start = at
        if kind == _VARINT:
            at = _past_varint(message, at)
        elif kind == _BYTES:
            at = _past_varint(message, at)
            size = _number(message[start:at])
            start, at = at, at + size
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise Rejected(f"not an ONNX model: wire type {kind}")
        if at > end:
            raise Rejected("not an ONNX model: cut short")
        yield number, kind, message[start:at]


def _past_varint(message: bytes, at: int) -> int:
    for end in range(at, min(at + 10, len(message))):
        if message[end] < 0x80:
            return end + 1
    raise Rejected("not an ONNX model: cut short")


def _number(varint: bytes) -> int:
    return sum((byte & 0x7F) << (7 * i) for i, byte in enumerate(varint))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def _key(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _field(number: int, value: bytes) -> bytes:
    return _key(number, _BYTES) + _varint(len(value)) + value
