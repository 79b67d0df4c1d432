"""Hostile bundle files, made by code: archives, compression, `bundle.json` and vectors.

`FILES` maps a case's name to a maker of the file's bytes. None may come as far as a session.
`RUN` are those whose fault only a run of the self-test can show: they need a session, in the
filtered child of admission, and are refused by it.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import zstandard
from onnx import TensorProto, helper

from shared.bundle import SelfTest, State, pack
from shared.bundletar import MEMBERS
from tests.fakes.bundles import bundle, model_of, packed, selftest_of

BUNDLE = bundle()
MODEL, SELFTEST = model_of(BUNDLE), selftest_of(BUNDLE)
GOOD = packed()[1]
TEXT, VECTORS = msgspec.json.encode(BUNDLE, order="deterministic"), msgspec.msgpack.encode(SELFTEST)
RAW = zstandard.ZstdDecompressor().decompress(GOOD)

Maker = Callable[[], bytes]


def compressed(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(raw)


def archive(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info, data in members:
            info.size = len(data) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(data))
    return compressed(out.getvalue())


def member(name: str, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def _three(**replaced: tuple[tarfile.TarInfo, bytes]) -> list[tuple[tarfile.TarInfo, bytes]]:
    """The three good members; `replaced` by the first part of their name."""
    contents = (TEXT, MODEL, VECTORS)
    return [
        replaced.get(name.partition(".")[0], (member(name), data))
        for name, data in zip(MEMBERS, contents, strict=True)
    ]


def link(kind: bytes, target: str) -> Maker:
    return lambda: archive(*_three(model=(member("model.onnx", type=kind, linkname=target), b"")))


def special(kind: bytes) -> Maker:
    return lambda: archive(*_three(model=(member("model.onnx", type=kind), b"")))


def named(name: str) -> Maker:
    return lambda: archive(*_three(model=(member(name), MODEL)))


def _header(at: int, data: bytes) -> Maker:
    """Bytes of the first member's header replaced, its checksum made right again."""

    def make() -> bytes:
        raw = bytearray(RAW)
        raw[at : at + len(data)] = data
        raw[148:156] = b" " * 8
        raw[148:156] = b"%06o\0 " % sum(raw[:512])
        return compressed(bytes(raw))

    return make


def text(change: Callable[[dict[str, Any]], object]) -> Maker:
    """The good file with another `bundle.json`, in the encoding that pack would give it."""

    def make() -> bytes:
        document = msgspec.json.decode(TEXT)
        change(document)
        return _packed_raw(msgspec.json.encode(document), MODEL, VECTORS)

    return make


def _packed_raw(*contents: bytes) -> bytes:
    """As `pack` writes, unchecked."""
    out = io.BytesIO()
    for name, content in zip(MEMBERS, contents, strict=True):
        info = member(name, size=len(content), mode=0o644)
        out.write(info.tobuf(tarfile.USTAR_FORMAT) + content + b"\0" * (-len(content) % 512))
    return compressed(out.getvalue() + b"\0" * 1024)


def raw_text(data: bytes) -> Maker:
    return lambda: _packed_raw(data, MODEL, VECTORS)


def vectors(**changes: Any) -> Maker:
    def make() -> bytes:
        fields = msgspec.structs.asdict(SELFTEST) | changes
        return _packed_raw(TEXT, MODEL, msgspec.msgpack.encode(fields))

    return make


def _bomb() -> bytes:
    """256 MB of zeros in some kB, its size told."""
    out = io.BytesIO()
    writer = zstandard.ZstdCompressor(level=1).stream_writer(out, size=256 << 20, closefd=False)
    with writer:
        for _ in range(256):
            writer.write(bytes(1 << 20))
    return out.getvalue()


def _bomb_of_no_size() -> bytes:
    out = io.BytesIO()
    with zstandard.ZstdCompressor(write_content_size=False).stream_writer(out, closefd=False) as w:
        for _ in range(128):
            w.write(bytes(1 << 20))
    return out.getvalue()


def _lying_bomb() -> bytes:
    """64 MB behind a header that says 1000 bytes."""
    data = bytearray(zstandard.ZstdCompressor().compress(bytes(64 << 20)))
    assert data[4] & 0xC0 == 0x80  # four bytes of content size at 5 (single segment) or 6
    at = 5 if data[4] & 0x20 else 6
    data[at : at + 4] = (1000).to_bytes(4, "little")
    return bytes(data)


def _many_members() -> bytes:
    return archive(*((member(f"m{i}"), b"") for i in range(10_000)))


def _sparse() -> bytes:
    """A GNU sparse member that says it is 1 TB."""
    raw = bytearray(RAW)
    raw[156:157] = b"S"
    raw[483:495] = b"\x80\0\0\0\0\0\0\x01\0\0\0\0"
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    return compressed(bytes(raw))


def _set(*path: Any, to: object) -> Maker:
    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = to

    return text(change)


FILES: dict[str, Maker] = {
    # compression
    "empty file": lambda: b"",
    "not zstd": lambda: b"PK\x03\x04" + bytes(100),
    "a bare model": lambda: MODEL,
    **{
        f"file cut short to {percent} %": (lambda percent=percent: GOOD[: len(GOOD) * percent // 100])
        for percent in (1, 5, 25, 50, 75, 95, 99)
    },
    "file without its last byte": lambda: GOOD[:-1],
    "byte after the frame": lambda: GOOD + b"\0",
    "two frames": lambda: GOOD + GOOD,
    "skippable frame before": lambda: b"\x50\x2a\x4d\x18\x04\0\0\0evil" + GOOD,
    "flipped bit": lambda: GOOD[:2000] + bytes([GOOD[2000] ^ 1]) + GOOD[2001:],
    "zstd bomb of 256 MB": _bomb,
    "zstd bomb of unknown size": _bomb_of_no_size,
    "zstd bomb behind a small size": _lying_bomb,
    "size told as 2**63": lambda: b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 8 + bytes(16),
    "window of 2 TB": lambda: b"\x28\xb5\x2f\xfd\x00\xf8" + bytes(16),
    "larger than a bundle may be": lambda: bytes(5 << 20),
    # archive
    "path traversal": named("../../../etc/cron.d/x"),
    "absolute path": named("/etc/passwd"),
    "name with a backslash": named("..\\model.onnx"),
    "name of 300 characters": lambda: archive(
        *_three(model=(member("x" * 300), MODEL)), form=tarfile.GNU_FORMAT),
    "name in an extended header": lambda: archive(
        *_three(model=(member("model.onnx", pax_headers={"path": "/etc/passwd"}), MODEL)),
        form=tarfile.PAX_FORMAT),
    "extended header of 1 MB": lambda: archive(
        *_three(model=(member("model.onnx", pax_headers={"comment": "x" * (1 << 20)}), MODEL)),
        form=tarfile.PAX_FORMAT),
    "symbolic link": link(tarfile.SYMTYPE, "/etc/passwd"),
    "symbolic link to itself": link(tarfile.SYMTYPE, "model.onnx"),
    "hard link": link(tarfile.LNKTYPE, "bundle.json"),
    "hard link outside": link(tarfile.LNKTYPE, "../../identity/device.key"),
    "character device": special(tarfile.CHRTYPE),
    "block device": special(tarfile.BLKTYPE),
    "named pipe": special(tarfile.FIFOTYPE),
    "folder": special(tarfile.DIRTYPE),
    "sparse member of 1 TB": _sparse,
    "ten thousand members": _many_members,
    "no member": lambda: compressed(bytes(1024)),
    "one member too few": lambda: archive(*_three()[:2]),
    "one member too many": lambda: archive(*_three(), (member("weights.bin"), b"x")),
    "external weights beside": lambda: archive(*_three(), (member("model.onnx.data"), bytes(64))),
    "member twice": lambda: archive(*_three(), (member("model.onnx"), MODEL)),
    "other order": lambda: archive(*reversed(_three())),
    "set-user-id": lambda: archive(*_three(model=(member("model.onnx", mode=0o4755), MODEL))),
    "an owner": lambda: archive(*_three(model=(member("model.onnx", uid=1, uname="u"), MODEL))),
    "a time": lambda: archive(*_three(model=(member("model.onnx", mtime=1), MODEL))),
    "size below 0": _header(124, b"-0000000001\0"),
    "size in base 256": _header(124, b"\xff" * 12),
    "size beyond the end": _header(124, b"77777777777\0"),
    "wrong checksum": lambda: compressed(RAW[:148] + b"000000\0 " + RAW[156:]),
    "hidden bytes in the padding": lambda: compressed(RAW[:-1] + b"x"),
    "hidden bytes after a member": lambda: compressed(
        RAW[: 512 + len(TEXT)] + b"x" + RAW[513 + len(TEXT) :]),
    # bundle.json
    "not JSON": raw_text(b"\xff\xfe"),
    "JSON 100,000 deep": raw_text(b"[" * 100_000),
    "a list": raw_text(b"[]"),
    "unknown key": _set("evil", to=1),
    "key missing": text(lambda d: d.pop("outputs")),
    "name that is a path": _set("name", to="../../slots/a"),
    "version that is a path": _set("version", to="1/../../x"),
    "release of 0": _set("release", to=0),
    "rate of 10,000 Hz": _set("rate_hz", to=1e4),
    "no instances": _set("instances", to=[]),
    "thousand instances": text(lambda d: d["instances"].__imul__(500)),
    "two instances in one place": text(lambda d: d["instances"][1].update(position=1)),
    "input that is named twice": text(lambda d: d["inputs"].append(d["inputs"][0])),
    "valid range that is empty": _set("inputs", 0, "valid", to=[5.0, 5.0]),
    "output of no step": _set("outputs", 0, "lsb", to=0.0),
    "monitor of no output": _set("monitors", 0, "output", to="evil"),
    "monitor without hysteresis": _set("monitors", 0, "clear", to=99.0),
    "state that the graph lacks": _set(
        "states", to=[{"name": "lag", "initial": [[0.0], [0.0]]}]),
    "state of other rows": _set("states", to=[{"name": "lag", "initial": [[0.0]]}]),
    "state of a million elements": _set(
        "states", to=[{"name": "lag", "initial": [[0.0] * 500_000] * 2}]),
    "infinite state": text(lambda d: d.update(states=[{"name": "lag", "initial": [[1e400]]}])),
    "column that the graph lacks": text(lambda d: d["inputs"][0].update(name="n9")),
    "fewer nodes declared than there are": _set("requirements", "nodes", to=1),
    "smaller tensors declared than there are": _set("requirements", "tensor_elements", to=1),
    # self-test
    "vectors that are no MessagePack": lambda: _packed_raw(TEXT, MODEL, b"\xc1"),
    "vectors of a billion steps": vectors(steps=10**9),
    "vectors of no step": vectors(steps=0, inputs=b"", outputs=b""),
    "vectors cut short": vectors(inputs=SELFTEST.inputs[:-4]),
    "vectors with an unknown key": vectors(evil=1),
    "tolerance for one output only": vectors(tolerance=(0.1,)),
    "vectors that promise 4 GB": lambda: _packed_raw(
        TEXT, MODEL, b"\x84\xa5steps\x01\xa6inputs\xc6\xff\xff\xff\xff"),
}  # fmt: skip


def _wrong(**changes: Any) -> Maker:
    return lambda: pack(BUNDLE, MODEL, msgspec.structs.replace(SELFTEST, **changes))


def _one_off() -> bytes:
    wanted = np.frombuffer(SELFTEST.outputs, "<f4").copy()
    wanted[5] += 1.0
    return _wrong(outputs=wanted.tobytes())()


def _wants_nan() -> bytes:
    nan = np.full((1, 2, 5), np.nan, "<f4").tobytes()
    return pack(BUNDLE, MODEL, SelfTest(1, nan, nan[:16], (0.1, 0.1)))


def _growing_state() -> bytes:
    """A state that doubles its exponent each step and is infinite after eight."""
    declared = msgspec.structs.replace(
        BUNDLE, states=(State(name="lag", initial=((2.0,), (2.0,))),)
    )
    graph = helper.make_graph(
        [helper.make_node("Mul", ["lag", "lag"], ["lag.next"]),
         helper.make_node("Slice", ["inputs", "zero", "two", "one"], ["outputs"])],
        "growing",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, [2, 5]),
         helper.make_tensor_value_info("lag", TensorProto.FLOAT, [2, 1])],
        [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, [2, 2]),
         helper.make_tensor_value_info("lag.next", TensorProto.FLOAT, [2, 1])],
        [helper.make_tensor(name, TensorProto.INT64, [1], [value])
         for name, value in (("zero", 0), ("two", 2), ("one", 1))],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    names = ",".join(x.name for x in declared.inputs)
    helper.set_model_props(model, {"inputs": names, "outputs": "egt,ff"})
    inputs = np.ones((16, 2, 5), "<f4")
    vectors = SelfTest(16, inputs.tobytes(), inputs[:, :, :2].tobytes(), (0.1, 0.1))
    return pack(declared, model.SerializeToString(), vectors)


FILES |= {
    f"tolerance of {value}": _wrong(tolerance=(value, 1.0))
    for value in (1e9, float("inf"), float("nan"), 0.0, -1.0)
}
FILES["self-test of NaN"] = _wants_nan

RUN: dict[str, tuple[Maker, str]] = {
    "self-test that is one off": (_one_off, "self-test: ff of ESN ESN1 at step 1"),
    "state that overflows": (_growing_state, "a state of ESN ESN1 is not finite"),
}
