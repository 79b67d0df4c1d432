"""MQTT on the wire: packets found in any stream of bytes, and everything else refused."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.acquire.packets import (
    PACKET_BYTES_MAX,
    Malformed,
    PacketReader,
    connect,
    subscribe,
)

CAUSES = ("beyond", "length", "QoS", "broker")


def length(size: int) -> bytes:
    out = b""
    while size > 127:
        out += bytes([size & 127 | 128])
        size >>= 7
    return out + bytes([size])


def publish(topic: bytes, payload: bytes, head: int = 0x30) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + payload
    return bytes([head]) + length(len(body)) + body


def read(data: bytes, most: int = 1 << 30) -> tuple[PacketReader, list[bytes], Counter[str]]:
    refused: Counter[str] = Counter()
    reader, payloads = PacketReader(refused), list[bytes]()
    reader.take(data, payloads, most)
    return reader, payloads, refused


payload_lists = st.lists(
    st.tuples(st.binary(max_size=40), st.binary(max_size=400)), min_size=1, max_size=30
)


@given(sent=payload_lists, cuts=st.lists(st.integers(1, 400), max_size=40))
@settings(max_examples=200, deadline=None)
def test_packets_come_whole_and_in_order_however_the_stream_is_cut(
    sent: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    data = b"".join(publish(topic, payload) for topic, payload in sent)
    reader, payloads = PacketReader(Counter()), list[bytes]()
    for cut in cuts:
        reader.take(data[:cut], payloads, 1000)
        data = data[cut:]
    reader.take(data, payloads, 1000)
    assert payloads == [payload for _, payload in sent]


@given(data=st.binary(max_size=600), cut=st.integers(0, 600))
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_read_or_malformed_and_little_is_held(data: bytes, cut: int) -> None:
    reader, payloads, cause = PacketReader(Counter()), list[bytes](), CAUSES[0]
    try:
        for part in (data[:cut], data[cut:]):
            reader.take(part, payloads, 1000)
    except Malformed as error:
        cause = error.args[0]
    assert any(known in cause for known in CAUSES)
    assert sum(map(len, payloads)) + len(reader._rest) <= len(data)


@given(sent=payload_lists, at=st.integers(0, 2000), bit=st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_a_flipped_bit_never_makes_more_bytes_than_came(
    sent: list[tuple[bytes, bytes]], at: int, bit: int
) -> None:
    data = bytearray(b"".join(publish(topic, payload) for topic, payload in sent))
    data[at % len(data)] ^= 1 << bit
    reader, payloads = PacketReader(Counter()), list[bytes]()
    try:
        reader.take(bytes(data), payloads, 1000)
    except Malformed:
        pass
    assert sum(map(len, payloads)) + len(reader._rest) <= len(data)


def test_no_more_than_asked_for_is_taken_and_the_rest_waits() -> None:
    data = b"".join(publish(b"bus/g", bytes([i])) for i in range(10))
    reader, payloads, _ = read(data, most=4)
    assert payloads == [bytes([i]) for i in range(4)] and reader.has_more
    reader.take(b"", payloads, 100)
    assert payloads == [bytes([i]) for i in range(10)] and not reader.has_more


def test_a_packet_over_the_cap_is_skipped_unheld_and_counted() -> None:
    large = publish(b"bus/g", bytes(3 * PACKET_BYTES_MAX))
    data = publish(b"bus/g", b"before") + large + publish(b"bus/g", b"after")
    refused: Counter[str] = Counter()
    reader, payloads = PacketReader(refused), list[bytes]()
    for at in range(0, len(data), 1000):
        reader.take(data[at : at + 1000], payloads, 100)
        assert len(reader._rest) < 1100
    assert payloads == [b"before", b"after"] and refused == {"too large": 1}


def test_a_retained_reading_is_of_another_time_and_is_counted() -> None:
    _, payloads, refused = read(publish(b"bus/g", b"old", 0x31) + publish(b"bus/g", b"new"))
    assert payloads == [b"new"] and refused == {"retained": 1}


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (publish(b"t", b"x", 0x32), "QoS that was not asked for"),
        (publish(b"t", b"x", 0x34), "QoS that was not asked for"),
        (publish(b"t", b"x", 0x38), "QoS that was not asked for"),
        (b"\x30\x02\x00\x09", "topic beyond its packet"),
        (b"\x30\x00", "topic beyond its packet"),
        (b"\x30\x01\x00", "topic beyond its packet"),
        (b"\x30\xff\xff\xff\xff\x01", "length that is none"),
        (b"\xd0\x01\x00", "PINGRESP of another length"),
        (b"\x20\x00", "CONNACK of another length"),
        (b"\x10\x00", "CONNECT from a broker"),
        (b"\x00\x00", "reserved from a broker"),
        (b"\xf0\x00", "reserved from a broker"),
        (b"\x40\x02\x00\x01", "PUBACK from a broker"),
        (b"\x90\xff\xff\x7f", "SUBACK of another length"),
    ],
)
def test_what_no_broker_may_send_is_named(data: bytes, cause: str) -> None:
    with pytest.raises(Malformed) as caught:
        read(data)
    assert caught.value.args[0] == cause


def test_answers_of_the_broker_are_read() -> None:
    reader, payloads, _ = read(
        b"\x20\x02\x00\x05" + b"\x90\x03\x00\x01\x80" + b"\xd0\x00" + publish(b"t", b"x")
    )
    assert (reader.connack, reader.suback, reader.pings) == (5, 0x80, 1) and payloads == [b"x"]


def test_what_is_sent_is_what_the_standard_shows() -> None:
    # MQTT 3.1.1, figures 3.2 to 3.6 and 3.20: protocol name, level 4, flags, keep-alive, payload
    assert connect("ab", 30) == b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x1e\x00\x02ab"
    assert subscribe("a/b") == b"\x82\x08\x00\x01\x00\x03a/b\x00"
