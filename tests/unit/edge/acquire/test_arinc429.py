"""ARINC 429: words as other implementations make them, and rows of words that come one by one."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest

from edge.acquire.arinc429 import WORD, FieldDecoder, WordDecoder, label_of, parity_is_odd
from edge.acquire.binning import PENDING_ROWS_MAX, RowBinner
from edge.acquire.reading import Readings
from edge.acquire.udpwords import UdpWordSource
from edge.acquire.wordfile import WordFileSource
from hil.bus import arinc429 as bus
from shared.errors import ConfigError, Rejected
from shared.signals import (
    STATUS_ABSENT,
    STATUS_FAILURE,
    STATUS_NO_DATA,
    STATUS_NORMAL,
    STATUS_PARITY,
    STATUS_TEST,
    SignalSet,
    parse_signal_set,
)
from shared.wiring import Arinc429

MS = 1_000_000
SET = b"""
name = "words"
version = 1
airframe = "T"
[[group]]
name = "air"
rate_hz = 10
signal = [
  { name = "ALT", unit = "[ft_i]", bus = "ADR", label = "203", arinc429 = { lsb = 12 } },
  { name = "CAS", unit = "[kn_i]", bus = "ADR", label = "206", sdi = "01", arinc429 = { lsb = 15, msb = 28, signed = false } },
  { name = "ADR_OK", unit = "1", encoding = "enum", enum = { no = 0, yes = 1 }, bus = "ADR", label = "270", arinc429 = { kind = "discrete", lsb = 13, msb = 13 } },
  { name = "ADR_MODE", unit = "1", bus = "ADR", label = "270", arinc429 = { kind = "discrete", lsb = 14, msb = 16 } },
]
[[group]]
name = "nav"
rate_hz = 1
signal = [
  { name = "DME", unit = "[nmi_i]", scale = 0.01, bus = "NAV", label = "201", arinc429 = { kind = "bcd" } },
  { name = "ELSEWHERE", unit = "1" },
]
"""  # noqa: E501
CHANNELS = {1: "ADR", 7: "NAV"}


@pytest.fixture
def signals() -> SignalSet:
    return parse_signal_set(SET, "words.toml")


def wire(**keys: object) -> Arinc429:
    return Arinc429(**keys)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("word", "label", "sdi", "where", "value", "status"),
    [
        # tests/test_enc_bnr.py and tests/test_enc_bcd.py of arinc429 0.1.6 (PyPI): label, sdi, ssm,
        # value and the word that its encoder makes of them
        (0xE00190A1, 0o205, 0, wire(msb=28), 100, STATUS_NORMAL),
        (0xA001A461, 0o206, 0, wire(msb=28), 105, STATUS_NO_DATA),
        (0x600C808B, 0o321, 0, wire(lsb=15, msb=25), 50, STATUS_NORMAL),
        (0x603F80DB, 0o333, 0, wire(lsb=16, msb=23, signed=False), 127, STATUS_NORMAL),
        (0xE1FDFCDB, 0o333, 0, wire(lsb=19, msb=26, signed=False), 127, STATUS_NORMAL),
        (0xE1FDFCDB, 0o333, 0, wire(lsb=11, msb=18, signed=False), 127, STATUS_NORMAL),
        (0xFE1404A1, 0o205, 0, wire(kind="bcd"), -78501, STATUS_NORMAL),  # SSM 11 is minus
        # … of which its encoder shifts the last digit out: an 8 has no room in three bits
        (0x62000161, 0o206, 1, wire(kind="bcd"), -8000, STATUS_NORMAL),
        # README of PyARINC429: 121.5 at 0.1 is data 0x1215 with SSM 0; parity by hand
        (0x80485480, 0o001, 0, wire(kind="bcd"), 1215, STATUS_NORMAL),
        # by hand from ARINC 429 part 1, 2.1.5: SSM by type of word
        (0x00000080, 0o001, 0, wire(), 0, STATUS_FAILURE),
        (0x40000080, 0o001, 0, wire(), 0, STATUS_TEST),
        (0x60000080, 0o001, 0, wire(kind="discrete"), 0, STATUS_FAILURE),
        (0x00000080, 0o001, 0, wire(kind="discrete"), 0, STATUS_NORMAL),
        (0x00000080, 0o001, 0, wire(ssm=("normal", "test", "test", "test")), 0, STATUS_NORMAL),
        # two's complement by hand: -1 in bits 11 to 29
        (0x7FFFFC80, 0o001, 0, wire(), -1, STATUS_NORMAL),
        # no decimal digit: all ones
        (0x1FFFFC80, 0o001, 0, wire(kind="bcd"), 7 * 10**4 + 15 * 1111, STATUS_FAILURE),
    ],
)  # fmt: skip
def test_words_of_other_implementations(
    word: int, label: int, sdi: int, where: Arinc429, value: int, status: int
) -> None:
    words = np.array([word], np.int64)
    assert label_of(words)[0] == label and word >> 8 & 3 == sdi
    raw, state = FieldDecoder([where])(words[:, None] & 0x7FFFFFFF)
    assert (raw[0, 0], state[0, 0]) == (value, status)


def test_parity_of_the_golden_words_is_odd() -> None:
    golden = np.array([0xE00190A1, 0xA001A461, 0x600C808B, 0xFE1404A1, 0x62000161], np.uint32)
    assert parity_is_odd(golden).all()
    assert not parity_is_odd(golden ^ np.uint32(1 << 20)).any()


def made(
    signals: SignalSet, name: str, t_ms: list[float], raw: list[int], status: int = 0
) -> np.ndarray:  # type: ignore[type-arg]
    channel = 1 if name != "DME" else 7
    words = bus.make_words(signals.signal(name), np.array(raw), np.full(len(raw), status, np.uint8))
    return bus.records(np.array([round(t * MS) for t in t_ms]), words, channel)


def merged(*parts: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    every = np.concatenate(parts)
    return every[np.argsort(every["t_ns"], kind="stable")]


def decoded(signals: SignalSet, *batches: np.ndarray) -> dict[str, Readings]:  # type: ignore[type-arg]
    decoder = WordDecoder(signals, CHANNELS, "test")
    for batch in batches:
        decoder.push(batch)
    return {readings.group.name: readings for readings in decoder.pull(None, 0, flush=True)}


def test_labels_of_one_period_are_one_row(signals: SignalSet) -> None:
    words = merged(
        made(signals, "ALT", [1000, 1100, 1200], [10, 11, -12]),
        made(signals, "CAS", [1010, 1110], [200, 201]),
        made(signals, "ADR_MODE", [1020, 1120, 1220], [5, 6, 7]),
        made(signals, "DME", [1030], [-2575]),
    )
    found = decoded(signals, words)
    air, nav = found["air"], found["nav"]
    assert air.raw.tolist() == [[10, 200, 0, 5], [11, 201, 0, 6], [-12, 0, 0, 7]]
    assert air.status.tolist() == [[0] * 4, [0] * 4, [0, STATUS_ABSENT, 0, 0]]
    assert air.t_ns.tolist() == [1000 * MS, 1100 * MS, 1200 * MS]
    assert air.counter.tolist() == [0, 1, 2]
    assert nav.raw[:, 0].tolist() == [-2575]
    assert nav.status.tolist() == [[0, STATUS_ABSENT]]  # no other source may bring the rest of it


def test_a_label_twice_in_a_period_begins_another_row(signals: SignalSet) -> None:
    words = merged(
        made(signals, "ALT", [1000, 1040, 1080], [1, 2, 3]), made(signals, "CAS", [1050], [9])
    )
    air = decoded(signals, words)["air"]
    assert air.raw[:, 0].tolist() == [1, 2, 3]
    assert air.status[:, 1].tolist() == [0, STATUS_ABSENT, STATUS_ABSENT]
    assert air.t_ns.tolist() == [1000 * MS, 1040 * MS, 1080 * MS]


def test_wrong_parity_and_foreign_words_are_told_apart(signals: SignalSet) -> None:
    words = merged(made(signals, "ALT", [1000, 1100, 1200, 1300], [1, 2, 3, 4]))
    words["word"][1] ^= 1 << 31
    words["flags"][2] = 1
    words["channel"][3] = 99
    words = np.concatenate((words, made(signals, "ALT", [-5], [0])))
    decoder = WordDecoder(signals, CHANNELS, "test")
    decoder.push(words)
    (air,) = decoder.pull(None, 0, flush=True)
    assert air.status[:, 0].tolist() == [0, STATUS_PARITY, STATUS_PARITY]
    assert decoder.refused == {"label not in the set": 1, "time": 1}
    lenient = WordDecoder(signals, CHANNELS, "test", has_parity=False)
    lenient.push(words[:2])
    assert lenient.pull(None, 0, flush=True)[0].status[:, 0].tolist() == [0, 0]


def test_a_complete_row_goes_at_once_and_others_when_time_or_silence_allows(
    signals: SignalSet,
) -> None:
    decoder = WordDecoder(signals, CHANNELS, "test")

    def push(words: np.ndarray, now_ms: int) -> list[int]:  # type: ignore[type-arg]
        decoder.push(words)
        found = decoder.pull(None, now_ms * MS)
        return [value for batch in found for value in batch.raw[:, 0].tolist()]

    nothing = np.zeros(0, WORD)
    assert push(made(signals, "ALT", [1000], [1]), 0) == []
    assert push(made(signals, "CAS", [1010], [2]), 10) == []
    assert push(made(signals, "ADR_OK", [1020], [1]), 20) == [1]  # complete
    assert push(made(signals, "ALT", [1100], [3]), 100) == []
    assert push(made(signals, "ALT", [1200], [4]), 200) == [3]  # its period is over
    assert push(nothing, 350) == []
    assert push(nothing, 401) == [4]  # silent for two periods
    assert decoder.pending == 0


def test_a_silent_bus_is_a_gap_and_jitter_is_none(signals: SignalSet) -> None:
    t_ms = [1000, 1095, 1201, 1299, 1400, 2400, 2500]
    air = decoded(signals, made(signals, "ALT", t_ms, [*range(7)]))["air"]
    assert air.counter.tolist() == [0, 1, 2, 3, 4, 14, 15]


def test_a_clock_that_is_set_back_loses_nothing(signals: SignalSet) -> None:
    t_ms = [90_000, 90_100, 5_000, 5_100, 4_000_000_000, 5_200]
    alt = made(signals, "ALT", t_ms, [*range(6)])
    for batches in ([alt], [alt[k : k + 1] for k in range(6)]):
        air = decoded(signals, *batches)["air"]
        assert air.raw[:, 0].tolist() == [*range(6)]
        assert air.t_ns.tolist() == [t * MS for t in t_ms]


def test_words_of_another_channel_that_come_late_join_the_newest_row() -> None:
    binner = RowBinner(100 * MS, 2)
    none = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    first = binner.take(np.array([1000, 1110, 1210]) * MS, np.array([0, 0, 0]),
                        np.array([1, 2, 3], np.int64))  # fmt: skip
    assert first is not None and first.t_ns.tolist() == [1000 * MS, 1110 * MS]
    late = binner.take(np.array([1050 * MS]), np.array([1]), np.array([4], np.int64))
    assert late is not None and late.t_ns.tolist() == [1210 * MS]  # a group's time never goes back
    assert late.values[late.index[0]].tolist() == [3, 4] and late.counter.tolist() == [2]
    assert binner.take(*none, flush=True) is None


def test_a_flood_of_one_label_at_one_time_waits_in_bounded_room() -> None:
    binner = RowBinner(100 * MS, 2)
    n = 10 * PENDING_ROWS_MAX
    out = binner.take(np.full(n, 1000 * MS), np.zeros(n, np.int64), np.zeros(n, np.int64))
    assert out is not None and len(out.t_ns) == n and binner.pending == 0


def test_labels_that_two_signals_claim_apart_are_refused() -> None:
    text = SET.replace(b'label = "206", sdi = "01"', b'label = "203", sdi = "01"')
    with pytest.raises(ConfigError, match="with and without"):
        WordDecoder(parse_signal_set(text, "t"), CHANNELS, "test")
    with pytest.raises(ConfigError, match="no signal"):
        WordDecoder(parse_signal_set(SET, "t"), {1: "XXX"}, "test")


@pytest.mark.parametrize(
    ("old", "new"),
    [('label = "203"', 'label = "208"'), ('label = "203"', 'label = "400"'),
     ('sdi = "01"', 'sdi = "2"'), ("lsb = 12 }", "lsb = 12, msb = 11 }"),
     ('name = "ALT",', 'name = "ALT", encoding = "f64",'), ('"bcd" }', '"bcd", signed = true }'),
     ("lsb = 12 }", 'lsb = 12, ssm = ["normal"] }')],
)  # fmt: skip
def test_a_place_that_no_word_has_is_refused(old: str, new: str) -> None:
    with pytest.raises(ConfigError):
        parse_signal_set(SET.decode().replace(old, new).encode(), "t")


# -- datagrams


def test_lost_datagrams_are_counted_and_show_in_every_group(signals: SignalSet) -> None:
    source = UdpWordSource("127.0.0.1", 0, CHANNELS, signals)
    source.open(1.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        alt = made(signals, "ALT", [1000, 1100, 1200, 1300], [1, 2, 3, 4])
        sent = list(bus.datagrams(alt, sequence=0xFFFFFFFF, words_max=1))
        del sent[1]
        for datagram in [*sent, b"", b"T429" + bytes(11), b"X" * 64, sent[0][:-16], bytes(1000)]:
            sender.sendto(datagram, ("127.0.0.1", source.port))
        taken = 0
        while taken < 3:
            taken += source.drain(100)
        assert source.drain(100) == 0
    (air,) = source.pull()
    source.close()
    assert air.raw[:, 0].tolist() == [1, 3] and air.counter.tolist() == [0, 2]
    assert source.refused["lost datagram"] == 1
    assert source.refused["datagram"] == 5


def test_words_beyond_what_a_drain_may_take_wait_for_the_next(signals: SignalSet) -> None:
    source = UdpWordSource("127.0.0.1", 0, CHANNELS, signals)
    source.open(1.0)
    sender = bus.Sender("127.0.0.1", source.port)
    sender.send(made(signals, "ALT", [100 * k for k in range(200)], [*range(200)]))
    taken = [source.drain(70) for _ in range(4)]
    sender.close()
    assert taken == [70, 70, 60, 0]
    (air,) = source.pull()
    assert air.raw[:, 0].tolist() == [*range(199)]  # the last waits for its period to end
    source.close()


class _Babbler:
    """A socket that always has one more datagram of nobody."""

    def __init__(self) -> None:
        self.received = 0

    def recv_into(self, view: memoryview) -> int:
        self.received += 1
        assert self.received < 10_000, "a drain that does not end"
        return 3


def test_a_flood_of_foreign_datagrams_does_not_keep_the_tick(signals: SignalSet) -> None:
    source = UdpWordSource("127.0.0.1", 0, CHANNELS, signals)
    source.open(1.0)
    source.close()
    source._socket, source._buffer = _Babbler(), bytearray(1 << 20)  # type: ignore[assignment]
    assert source.drain(100) == 0
    assert source.refused["datagram"] == 100


# -- files


def test_a_file_of_words_ends_with_its_last_row(tmp_path: Path, signals: SignalSet) -> None:
    path = tmp_path / "w.429"
    bus.write_file(path, made(signals, "ALT", [100 * k for k in range(50)], [*range(50)]))
    with path.open("ab") as file:
        file.write(b"torn")
    source = WordFileSource(path, CHANNELS, signals)
    source.open(1.0)
    while source.drain(7):
        pass
    (air,) = source.pull()
    assert air.raw[:, 0].tolist() == [*range(50)]
    assert source.has_ended and source.is_open and source.refused == {"torn word": 1}
    source.close()
    path.write_bytes(b"something else")
    with pytest.raises(Rejected):
        WordFileSource(path, CHANNELS, signals).open(1.0)
