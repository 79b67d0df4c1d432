"""The bundle file: one encoding, and nothing else is read."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.bundle import (
    Bundle,
    Calibratable,
    Monitor,
    SelfTest,
    attach,
    pack,
    parse_bundle,
    parse_selftest,
    unpack,
)
from shared.bundletar import ATTESTATION, ATTESTATION_BYTES_MAX, MEMBERS
from shared.errors import Rejected
from shared.profile import ModelBounds
from shared.trained import pack_trained
from tests.fakes.bundles import bundle, model_of, packed, selftest_of

BOUNDS = ModelBounds()
NAME, DATA = packed()
FILES = unpack(DATA, BOUNDS)
CONTENTS = (FILES.bundle_json, FILES.model, FILES.selftest)


def compress(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1, write_content_size=True).compress(raw)


def tar_of(*members: tuple[str, bytes], **attributes: object) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in attributes.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_bundle_comes_back_as_it_was() -> None:
    assert FILES.bundle == bundle()
    assert FILES.model == model_of(bundle())
    assert parse_selftest(FILES.selftest, FILES.bundle, "x") == selftest_of(bundle())


def test_file_is_deterministic_and_named_by_its_hash() -> None:
    again, data = packed()
    digest = hashlib.sha256(data).hexdigest()
    assert (again, data) == (NAME, DATA)
    assert f"egt_rom-1.0.0-{digest[:12]}.tar.zst" == NAME == FILES.filename


def test_any_tar_reader_can_open_it() -> None:
    raw = zstandard.ZstdDecompressor().decompress(DATA)
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        assert tuple(tar.getnames()) == MEMBERS


GOOD = list(zip(MEMBERS, CONTENTS, strict=True))
HOSTILE_TARS = {
    "extra member": tar_of(*GOOD, ("run.sh", b"#!")),
    "missing member": tar_of(*GOOD[:2]),
    "duplicate member": tar_of(GOOD[0], GOOD[0], *GOOD[1:]),
    "other order": tar_of(*reversed(GOOD)),
    "traversal": tar_of(("../bundle.json", CONTENTS[0]), *GOOD[1:]),
    "absolute path": tar_of(("/bundle.json", CONTENTS[0]), *GOOD[1:]),
    "symbolic links": tar_of(*GOOD, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard links": tar_of(*GOOD, type=tarfile.LNKTYPE, linkname="bundle.json"),
    "device": tar_of(*GOOD, type=tarfile.CHRTYPE),
    "owner set": tar_of(*GOOD, uid=1000),
    "time set": tar_of(*GOOD, mtime=1_700_000_000),
    "setuid": tar_of(*GOOD, mode=0o4755),
    "trailing bytes": tar_of(*GOOD) + b"\0" * 512,
    "empty": b"\0" * 1024,
    "not a tar": b"x" * 4096,
}


@pytest.mark.parametrize("case", sorted(HOSTILE_TARS))
def test_any_other_archive_is_refused(case: str) -> None:
    with pytest.raises(Rejected):
        unpack(compress(HOSTILE_TARS[case]), BOUNDS)


def test_negative_or_huge_member_size_is_refused() -> None:
    raw = bytearray(zstandard.ZstdDecompressor().decompress(DATA))
    for digits in (b"77777777777", b"-0000000001", b"00000000009", b"\x80" + b"\xff" * 10):
        raw[124:135] = digits
        with pytest.raises(Rejected):
            unpack(compress(bytes(raw)), BOUNDS)


def test_zstd_bomb_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(Rejected, match="unpacked size"):
        unpack(compress(b"\0" * (BOUNDS.unpacked_bytes_max + 1)), BOUNDS)


def test_zstd_without_size_is_refused() -> None:
    raw = zstandard.ZstdDecompressor().decompress(DATA)
    data = zstandard.ZstdCompressor(write_content_size=False).compress(raw)
    with pytest.raises(Rejected, match="unpacked size"):
        unpack(data, BOUNDS)


def test_second_frame_and_truncation_are_refused() -> None:
    for data in (DATA + DATA, DATA + b"\0", DATA[:-3], DATA[:20], b""):
        with pytest.raises(Rejected):
            unpack(data, BOUNDS)


def test_file_over_the_bound_is_refused() -> None:
    with pytest.raises(Rejected, match="over"):
        unpack(DATA, msgspec.structs.replace(BOUNDS, bundle_bytes_max=len(DATA) - 1))


# -- the fourth member


def test_attestation_comes_back_and_leaves_the_other_members_as_they_were() -> None:
    data = attach(FILES, b'{"payload":""}')
    found = unpack(data, BOUNDS)
    assert found.attestation == b'{"payload":""}' and FILES.attestation == b""
    assert (found.bundle_json, found.model, found.selftest) == CONTENTS
    assert found.sha256 == hashlib.sha256(data).hexdigest() != FILES.sha256
    assert attach(found, b"other") == attach(FILES, b"other")  # replaced, never a fifth member
    raw = zstandard.ZstdDecompressor().decompress(data)
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        assert tuple(tar.getnames()) == (*MEMBERS, ATTESTATION)


@pytest.mark.parametrize("size", [0, ATTESTATION_BYTES_MAX + 1])
def test_attestation_of_no_or_too_many_bytes_is_neither_written_nor_read(size: int) -> None:
    with pytest.raises(Rejected, match="attestation"):
        attach(FILES, b"x" * size)
    with pytest.raises(Rejected, match="attestation"):
        unpack(compress(tar_of(*GOOD, (ATTESTATION, b"x" * size))), BOUNDS)


@pytest.mark.parametrize(
    "members",
    [
        ((ATTESTATION, b"x"), *GOOD),
        (*GOOD[:2], (ATTESTATION, b"x")),
        (*GOOD, (ATTESTATION, b"x"), (ATTESTATION, b"x")),
        (*GOOD, (ATTESTATION, b"x"), ("run.sh", b"#!")),
        (*GOOD, ("./" + ATTESTATION, b"x")),
    ],
)
def test_attestation_has_one_place_and_is_the_last(members: list[tuple[str, bytes]]) -> None:
    with pytest.raises(Rejected):
        unpack(compress(tar_of(*members)), BOUNDS)


GOLDEN = {
    "engine_anomaly_v1": "f63dd30851cc71fce6d2e3c7dde4d422698c661074d1baf91d11cca1a8e1df01",
    "rul_fd001_v1": "0b7bdca813b8e107bae4a4e39e1d75b899b92c7c03d4d6f3ef84bcb4c3a2a900",
}
"""Of the bundle files, from before there was an attestation, `Output.valid` or `calibratable`."""


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_bundle_without_the_newer_fields_keeps_its_bytes(name: str) -> None:
    path = Path(f"firmware_profiles/models/{name}.json")
    today = parse_bundle(path.read_bytes(), name)
    plain = tuple(msgspec.structs.replace(x, valid=msgspec.UNSET) for x in today.outputs)
    older = msgspec.structs.replace(
        today, outputs=plain, calibratable=msgspec.UNSET,
        calibration=msgspec.structs.replace(today.calibration, data=msgspec.UNSET),
    )  # fmt: skip
    _, data = pack_trained(older, path.with_suffix(".onnx").read_bytes())
    assert hashlib.sha256(data).hexdigest() == GOLDEN[name]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600) | st.tuples(
    st.integers(0, len(DATA) - 1), st.binary(min_size=1, max_size=8)
).map(lambda c: DATA[: c[0]] + c[1] + DATA[c[0] + len(c[1]) :]))  # fmt: skip
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        assert unpack(data, BOUNDS).bundle == FILES.bundle
    except Rejected:
        pass


REFUSED_JSON = {
    "unknown": {"colour": "red"},
    "release": {"release": 0},
    "rate_hz": {"rate_hz": 0},
    "not an identifier": {"name": "../egt"},
    "1 to 64 instances": {"instances": []},
    "states": {"states": [{"name": "x", "initial": [[0.0]]}]},
    "kind": {"behaviour": {"kind": "python"}},
}


@pytest.mark.parametrize("words", sorted(REFUSED_JSON))
def test_bundle_json_out_of_contract_is_refused_by_name(words: str) -> None:
    content = msgspec.json.decode(FILES.bundle_json) | REFUSED_JSON[words]
    pattern = "initial is not" if words == "states" else words
    with pytest.raises(Rejected, match=pattern):
        parse_bundle(msgspec.json.encode(content), "here")


def test_numbers_that_are_none_are_refused() -> None:
    for number in (b"NaN", b"Infinity", b"1e999"):
        text = FILES.bundle_json.replace(b'"rate_hz":1.0', b'"rate_hz":' + number)
        assert text != FILES.bundle_json
        with pytest.raises(Rejected):
            parse_bundle(text, "here")


def _with(**changes: object) -> Bundle:
    return msgspec.structs.replace(bundle(), **changes)


def _monitor(**changes: object) -> Bundle:
    return _with(monitors=(msgspec.structs.replace(bundle().monitors[0], **changes),))


def _instance(**changes: object) -> Bundle:
    first, second = bundle().instances
    return _with(instances=(msgspec.structs.replace(first, **changes), second))


CONTRADICTIONS = {
    "no such output": _monitor(output="n2"),
    "no hysteresis": _monitor(clear=20.0),
    "used twice": _with(monitors=bundle().monitors * 2),
    "position": _instance(position=2),
    "inputs not bound": _instance(inputs={"n1": "ENG1_N1"}),
    "measured names no output": _instance(measured={"n2": "ENG1_N2"}),
    "output egt: valid range": _with(
        outputs=(
            msgspec.structs.replace(bundle().outputs[0], valid=(1.0, 1.0)),
            bundle().outputs[1],
        )
    ),
    "calibratable: 1 to": _with(calibratable={}),
    "no name of a tensor": _with(calibratable={"": Calibratable(low=0.0, high=1.0)}),
    "'c1': bounds are empty": _with(calibratable={"c1": Calibratable(low=1.0, high=1.0)}),
    "share that is not above 0": _with(
        calibratable={"c1": Calibratable(low=0.0, high=1.0, of="parent")}
    ),
}


@pytest.mark.parametrize("words", sorted(CONTRADICTIONS))
def test_bundle_that_contradicts_itself_is_not_packed(words: str) -> None:
    with pytest.raises(Rejected, match=words):
        pack(CONTRADICTIONS[words], b"", selftest_of(bundle()))


def test_selftest_of_the_wrong_size_is_refused() -> None:
    for bad in (
        SelfTest(1, b"", b"", (1.0, 1.0)),
        msgspec.structs.replace(selftest_of(bundle()), tolerance=(1.0,)),
        msgspec.structs.replace(selftest_of(bundle()), outputs=b"\0" * 12),
    ):
        with pytest.raises(Rejected, match="self-test"):
            pack(bundle(), b"", bad)


def test_monitor_defaults_restrict_nothing() -> None:
    monitor = Monitor(
        name="x", fault_code="1", output="egt", onset=1.0, clear=0.5,
        persistence_s=0.0, clear_persistence_s=0.0, smoothing_s=0.0,
    )  # fmt: skip
    assert monitor.phases == () and monitor.steady is None


def test_output_range_and_calibratable_are_written_only_when_set() -> None:
    assert b"calibratable" not in FILES.bundle_json and b"parent" not in FILES.bundle_json
    plain = bundle()
    full = msgspec.structs.replace(
        plain,
        outputs=(msgspec.structs.replace(plain.outputs[0], valid=(0.0, 900.0)), plain.outputs[1]),
        calibratable={"c1": Calibratable(low=0.9, high=1.1, of="parent")},
    )
    text = msgspec.json.encode(full)
    assert parse_bundle(text, "here") == full
    assert b'"calibratable":{"c1":{"low":0.9,"high":1.1,"of":"parent"}}' in text
