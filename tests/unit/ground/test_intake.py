import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ground.ingest.intake import (
    OUTAGES_MAX,
    PARTS_MAX,
    STREAMS_MAX,
    Arrival,
    Greeting,
    Refusal,
    examine,
)
from shared.envelope import open_envelope
from shared.identity import Signer
from shared.messages import Hello, Outage, PartStream, StreamPosition, encode
from shared.topics import subject
from tests.unit.ground.synthetic import EPOCH, OPERATOR, TAIL, Tail


def judge(tail: Tail, message: tuple[str, bytes]) -> Arrival | Greeting | Refusal:
    return examine(*message, OPERATOR, {TAIL: tail.signer.public, "OTHER": b"o" * 32})


def reason(tail: Tail, message: tuple[str, bytes]) -> str:
    found = judge(tail, message)
    assert isinstance(found, Refusal), found
    return found.reason


def test_a_sound_record_hello_and_manifest_pass(tail: Tail) -> None:
    assert isinstance(judge(tail, tail.block("engine", 0, 3)), Arrival)
    assert isinstance(judge(tail, tail.hello()), Greeting)
    found = judge(tail, tail.manifest())
    assert isinstance(found, Arrival) and found.manifest is not None


def test_a_subject_that_is_not_ours_is_refused(tail: Tail) -> None:
    _, data = tail.block("engine", 0, 3)
    for name in ("x", "aero.v1.OTHER.B737-28001.block", subject(OPERATOR, TAIL, "ack"),
                 subject(OPERATOR, TAIL, "nonsense"), "aero.v2.OPX.B737-28001.block"):  # fmt: skip
        assert reason(tail, (name, data)) == "subject"


def test_a_tail_that_is_not_enrolled_is_refused(tail: Tail) -> None:
    _, data = tail.block("engine", 0, 3)
    assert reason(tail, (subject(OPERATOR, "STRANGER", "block"), data)) == "tail"


def test_an_envelope_of_another_tail_operator_or_class_is_refused(tail: Tail) -> None:
    _, data = tail.block("engine", 0, 3)
    assert reason(tail, (subject(OPERATOR, "OTHER", "block"), data)) == "mismatch"
    assert reason(tail, (subject(OPERATOR, TAIL, "alert"), data)) == "mismatch"
    _, foreign = Tail(operator="OPY").block("engine", 0, 3)
    assert reason(tail, (subject(OPERATOR, TAIL, "block"), foreign)) == "mismatch"


@pytest.mark.parametrize("data", [b"", b"\xc1", b"x" * 700_000, b"\x90", bytes(range(256))])
def test_bytes_that_are_no_envelope_are_refused(tail: Tail, data: bytes) -> None:
    assert reason(tail, (subject(OPERATOR, TAIL, "block"), data)) == "envelope"
    assert reason(tail, (subject(OPERATOR, TAIL, "hello"), data)) == "hello"


def test_a_manifest_signed_by_another_key_is_refused(tail: Tail) -> None:
    other = Signer(Ed25519PrivateKey.generate())
    assert reason(tail, tail.manifest(signer=other)) == "manifest"


def test_a_manifest_signed_for_another_domain_is_refused(tail: Tail) -> None:
    payload = tail.signer.sign("ack", b"body")
    assert reason(tail, tail.record("manifest", payload)) == "manifest"


def test_a_manifest_of_another_tail_is_refused_though_its_signature_holds(tail: Tail) -> None:
    other = Tail(tail="OTHER", signer=tail.signer)
    _, sealed = other.manifest()
    found = examine(subject(OPERATOR, "OTHER", "manifest"), sealed, OPERATOR,
                    {"OTHER": tail.signer.public})  # fmt: skip
    assert isinstance(found, Arrival)
    payload = found.envelope.payload
    assert reason(tail, tail.record("manifest", payload)) == "manifest"


@pytest.mark.parametrize(
    "hello",
    [
        Hello(2, b"", 1, EPOCH, {}),
        Hello(1, b"n" * 65, 1, EPOCH, {}),
        Hello(1, b"", 1, "not an epoch", {}),
        Hello(1, b"", 1, EPOCH, {"a.b": StreamPosition(0, 1)}),
        Hello(1, b"", 1, EPOCH, {"a": StreamPosition(2, 1)}),
    ],
)
def test_a_hello_out_of_bounds_is_refused(tail: Tail, hello: Hello) -> None:
    assert reason(tail, (subject(OPERATOR, TAIL, "hello"), encode(hello))) == "hello"


def test_a_record_or_a_manifest_of_a_flight_of_another_tail_is_refused(tail: Tail) -> None:
    other = "A320-00007-3f9a1c-F00001"
    assert reason(tail, tail.block("engine", 0, 3, flight=other)) == "flight"
    assert reason(tail, tail.manifest(other)) == "flight"
    named = tail.manifest(other)[1]
    assert reason(tail, tail.record("manifest", open_envelope(named).payload)) == "manifest"
    assert isinstance(judge(tail, tail.record("audit", b"x", flight="")), Arrival)


@pytest.mark.parametrize(
    "parts",
    [
        [PartStream("e", f"s{i}", 0, (1 << 62) - 1) for i in range(2)],
        [PartStream("e", f"s{i}", 0, 1) for i in range(STREAMS_MAX + 1)],
        [PartStream("e", "s", 2 * i, 2 * i + 1) for i in range(PARTS_MAX + 1)],
    ],
)
def test_a_manifest_that_names_too_much_is_refused(tail: Tail, parts: list[PartStream]) -> None:
    assert reason(tail, tail.manifest(parts=parts)) == "manifest"


@pytest.mark.parametrize(
    "outages",
    [
        (Outage("g", 0, 1, 1, "bus_gap"),) * (OUTAGES_MAX + 1),
        (Outage("g", 0, 1, (1 << 62) - 1, "bus_gap"),) * 2,
        (Outage("no identifier", 0, 1, 1, "bus_gap"),),
    ],
)
def test_outages_that_no_recorder_names_are_refused(
    tail: Tail, outages: tuple[Outage, ...]
) -> None:
    assert reason(tail, tail.manifest(outages=outages)) == "manifest"
