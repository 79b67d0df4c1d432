"""The one encoding of a bundle's members: a tar file in a zstd frame.

In: contents in the order of the members, or bytes from anywhere. Out: the bytes, or the contents.
Always holds: the same contents give the same bytes; only what `write_members` puts into the frame
is read back, so no link, path, owner, duplicate or hidden byte survives; nothing is decompressed
beyond its bound.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence

import zstandard

from shared.errors import Rejected

MEMBERS = ("bundle.json", "model.onnx", "selftest.msgpack")
ATTESTATION = "attestation.dsse.json"
"""The fourth, optional: who built the three before it, whose hashes it names."""
ATTESTATION_BYTES_MAX = 64 << 10
"""Ours have 3 to 12 kB; a composite signature has 5 kB in base64."""
_BLOCK = 512  # of a tar file


def write_members(contents: Sequence[bytes]) -> bytes:
    """Of three or four contents (with one zstandard version)."""
    compressor = zstandard.ZstdCompressor(level=19, write_checksum=True, write_content_size=True)
    return compressor.compress(_tar(contents))


def read_members(data: bytes, bytes_max: int, where: str) -> list[bytes]:
    """Three contents, or four; Rejected unless `write_members` could have made `data`."""
    raw = _decompress(data, bytes_max, where)
    contents = _contents(raw, where)
    _need(_tar(contents) == raw, "not the one encoding of these files", where)
    return contents


def _decompress(data: bytes, bytes_max: int, where: str) -> bytes:
    try:
        frame = zstandard.get_frame_parameters(data)
        # The declared size is what gets allocated, so it is looked at first; -1 is unknown.
        _need(0 < frame.content_size <= bytes_max, "unpacked size is unknown or too large", where)
        return zstandard.ZstdDecompressor(max_window_size=1 << 27).decompress(
            data, max_output_size=bytes_max, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise Rejected(f"not one zstd frame: {error}", where) from None


def _contents(raw: bytes, where: str) -> list[bytes]:
    """Loose: `read_members` compares the encoding."""
    contents: list[bytes] = []
    at = 0
    for name in (*MEMBERS, ATTESTATION):
        header = raw[at : at + _BLOCK]
        found = header[:100].rstrip(b"\0")
        if name == ATTESTATION and not found:
            break
        _need(found == name.encode(), f"member {found[:40]!r} where {name} belongs", where)
        digits = header[124:135]
        _need(digits.isdigit(), f"{name}: size is not a number", where)
        try:
            size = int(digits, 8)
        except ValueError:
            raise Rejected(f"{name}: size is not octal", where) from None
        at += _BLOCK
        _need(at + size <= len(raw), f"{name} is cut short", where)
        _need(name != ATTESTATION or 0 < size <= ATTESTATION_BYTES_MAX,
              f"{name}: {size} bytes, 1 to {ATTESTATION_BYTES_MAX}", where)  # fmt: skip
        contents.append(raw[at : at + size])
        at += -(-size // _BLOCK) * _BLOCK
    return contents


def _tar(contents: Sequence[bytes]) -> bytes:
    out = io.BytesIO()
    for name, content in zip((*MEMBERS, ATTESTATION), contents, strict=False):
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(content), 0o644
        out.write(member.tobuf(tarfile.USTAR_FORMAT))
        out.write(content + b"\0" * (-len(content) % _BLOCK))
    return out.getvalue() + b"\0" * (2 * _BLOCK)


def _need(ok: bool, what: str, where: str) -> None:
    if not ok:
        raise Rejected(what, where)
