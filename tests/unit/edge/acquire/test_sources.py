"""[[source]] sections: every kind is made from text, and what does not fit is refused by name."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from edge.acquire.arinc717 import FrameFileSource
from edge.acquire.csvfile import CsvSource
from edge.acquire.mqtt import MqttSource
from edge.acquire.opcua import OpcUaSource
from edge.acquire.sources import SourceConfig, make_source, make_sources
from edge.acquire.udpwords import UdpWordSource
from edge.acquire.wordfile import WordFileSource
from shared.errors import ConfigError
from shared.signals import SignalSet, parse_signal_set

SET = b"""
name = "s"
version = 1
airframe = "T"
[[group]]
name = "g"
rate_hz = 1
[[group.signal]]
name = "X"
unit = "1"
bus = "B"
label = "310"
arinc429 = {}
arinc717 = { words = [9] }
opcua = { node = "i=7" }
"""


@pytest.fixture
def signals() -> SignalSet:
    return parse_signal_set(SET, "s.toml")


def config(text: str) -> SourceConfig:
    return msgspec.convert(tomllib.loads(text), SourceConfig)  # type: ignore[arg-type, no-any-return]


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ('kind = "mqtt"\nhost = "h"\nport = 1', MqttSource, "mqtt://h:1"),
        ('kind = "arinc429"\nport = 5\nchannels = { 0 = "B" }', UdpWordSource, "arinc429://127.0.0.1:5"),
        ('kind = "arinc429-file"\npath = "w"\nchannels = { 0 = "B" }', WordFileSource, "arinc429:///f/w"),
        ('kind = "arinc717-file"\npath = "r"\nwords_per_s = 256\nstart = "2024-01-01T00:00:00Z"\n'
         'packed = true\nframe_counter = { word = 256 }', FrameFileSource, "arinc717:///f/r"),
        ('kind = "csv"\npath = "/abs.csv"\nnames = { a = "X" }', CsvSource, "csv:///abs.csv"),
        ('kind = "opcua"\nurl = "opc.tcp://h:1/"\nnamespace = "urn:n"', OpcUaSource, "opc.tcp://h:1/"),
    ],
)  # fmt: skip
def test_every_kind_is_made(signals: SignalSet, text: str, kind: type, name: str) -> None:
    made = make_source(config(text), signals, folder=Path("/f"))
    assert isinstance(made, kind) and made.name == name
    assert not made.is_open and made.drain(10) == 0 and made.pull() == []
    made.close()


@pytest.mark.parametrize(
    "text",
    ['kind = "can"\nport = 1', 'kind = "csv"\npath = "x"\nspeed = 2', 'kind = "csv"',
     'kind = "arinc717-file"\npath = "r"\nwords_per_s = 100\nstart = "x"',
     'kind = "opcua"\nurl = "u"\nnamespace = "n"\npublishing_s = 0.0'],
)  # fmt: skip
def test_a_section_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        config(text)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('kind = "arinc429"\nport = 5\nchannels = { a = "B" }', "not numbers"),
        ('kind = "arinc429"\nport = 5\nchannels = { 256 = "B" }', "not numbers"),
        ('kind = "arinc429"\nport = 5\nchannels = { 1 = "B", 2 = "B" }', "named twice"),
        ('kind = "arinc429"\nport = 5\nchannels = { 1 = "C" }', "no signal"),
        ('kind = "arinc717-file"\npath = "r"\nwords_per_s = 64\nstart = "soon"', "no time"),
    ],
)  # fmt: skip
def test_a_section_that_does_not_fit_the_set_is_refused(
    signals: SignalSet, text: str, what: str
) -> None:
    with pytest.raises(ConfigError, match=what):
        make_source(config(text), signals)


def test_a_set_without_places_has_no_such_source() -> None:
    bare = parse_signal_set(SET.split(b"arinc429")[0], "t")
    for text in (
        'kind = "opcua"\nurl = "u"\nnamespace = "n"',
        'kind = "arinc717-file"\npath = "r"\nwords_per_s = 64\nstart = "2024-01-01"',
    ):
        with pytest.raises(ConfigError):
            make_source(config(text), bare)


def test_two_buses_may_not_feed_one_group(signals: SignalSet) -> None:
    words = config('kind = "arinc429"\nport = 5\nchannels = { 0 = "B" }')
    rig = config('kind = "opcua"\nurl = "u"\nnamespace = "n"')
    bench = config('kind = "mqtt"\nhost = "h"\nport = 1')
    assert len(make_sources([words, bench], signals)) == 2
    with pytest.raises(ConfigError, match="both feed group 'g'"):
        make_sources([words, rig], signals)


def test_opcua_that_is_not_installed_is_said_plainly(
    signals: SignalSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "edge.acquire.opcua", None)
    with pytest.raises(ConfigError, match="not installed") as error:
        make_source(config('kind = "opcua"\nurl = "u"\nnamespace = "n"'), signals)
    assert "tailtwin[opcua]" in error.value.remedy
