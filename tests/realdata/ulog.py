"""Just enough of PX4's ULog format (docs.px4.io, "ULog File Format") to read topics of a log."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

MAGIC = b"ULog\x01\x12\x35"
KINDS = {"int8_t": "i1", "uint8_t": "u1", "int16_t": "<i2", "uint16_t": "<u2", "int32_t": "<i4",
         "uint32_t": "<u4", "int64_t": "<i8", "uint64_t": "<u8", "float": "<f4", "double": "<f8",
         "bool": "?", "char": "S1"}  # fmt: skip


def read_topic(path: Path, topic: str) -> npt.NDArray[np.void]:
    """Messages of the first instance of a topic, one field a column."""
    data = path.read_bytes()
    assert data.startswith(MAGIC)
    at, formats, wanted, rows = 16, dict[str, str](), -1, []
    while at + 3 <= len(data):
        size, kind = struct.unpack_from("<Hc", data, at)
        body = data[at + 3 : at + 3 + size]
        at += 3 + size
        if kind == b"F":
            name, fields = body.decode().split(":", 1)
            formats[name] = fields
        elif kind == b"A" and body[3:].decode() == topic and body[0] == 0:
            wanted = int.from_bytes(body[1:3], "little")
        elif kind == b"D" and int.from_bytes(body[:2], "little") == wanted:
            rows.append(body[2:])
    dtype = np.dtype(_fields(formats[topic]))
    return np.frombuffer(b"".join(row.ljust(dtype.itemsize, b"\0") for row in rows), dtype)


def _fields(text: str) -> list[tuple[str, str]]:
    fields = []
    for one in text.rstrip(";").split(";"):
        kind, name = one.split(" ")
        array = re.fullmatch(r"(\w+)\[(\d+)\]", kind)
        fields.append((name, f"{array[2]}{KINDS[array[1]]}" if array else KINDS[kind]))
    return fields  # type: ignore[return-value]
