"""The sources of a profile: which buses this computer reads, as data.

In: the `[[source]]` sections of a profile. Out: one `Source` each.
Always holds: a client library is imported only where a profile has such a source. Recordings keep
pace with the flight clock that they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edge.acquire.source import Source
from shared.errors import ConfigError
from shared.signals import SignalSet

Port = Annotated[int, Meta(ge=1, le=65_535)]


class MqttBus(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True,
    tag_field="kind", tag="mqtt",
):  # fmt: skip
    """The on-board MQTT bus. topic: filter that covers every group."""

    host: str
    port: int
    topic: str = "bus/#"


class Arinc429Udp(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True,
    tag_field="kind", tag="arinc429",
):  # fmt: skip
    """ARINC 429 words from a card or gateway. channels: number -> `bus` of the signal set."""

    port: Port
    channels: dict[str, str]
    host: str = "127.0.0.1"
    parity: bool = True
    """Bit 32 is parity; false where the card has put something else there."""


class Arinc429File(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True,
    tag_field="kind", tag="arinc429-file",
):  # fmt: skip
    """A recording of ARINC 429 words, played at the pace of its times."""

    path: str
    channels: dict[str, str]
    parity: bool = True


class FrameCounterPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a frame says its number in the superframe, 0 to 15."""

    word: Annotated[int, Meta(ge=2, le=1024)]
    subframe: Annotated[int, Meta(ge=1, le=4)] = 1
    lsb: Annotated[int, Meta(ge=1, le=9)] = 1
    msb: Annotated[int, Meta(ge=4, le=12)] = 4


class Arinc717File(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True,
    tag_field="kind", tag="arinc717-file",
):  # fmt: skip
    """A recording of ARINC 717 frames, played a subframe a second."""

    path: str
    words_per_s: Literal[64, 128, 256, 512, 1024]
    start: str
    """When it begins, RFC 3339."""
    packed: bool = False
    """A stream of 12-bit words; else each in 16 bits, little endian."""
    frame_counter: FrameCounterPlace | None = None


class CsvFile(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True,
    tag_field="kind", tag="csv",
):  # fmt: skip
    """A recording as CSV, plain or gzip, played at the pace of its times."""

    path: str
    time_column: str = "t"
    time_unit: Literal["s", "ms", "us", "ns", "iso"] = "s"
    time_absolute: bool = False
    """Counted from 1970-01-01 UTC; else from 2026-01-01."""
    names: dict[str, str] = {}
    """Column to signal; without any, columns are bound to signals of their name."""


class OpcUaServer(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True,
    tag_field="kind", tag="opcua",
):  # fmt: skip
    """An OPC UA server of a test cell or rig. namespace: URI of the nodes."""

    url: str
    namespace: str
    publishing_s: Annotated[float, Meta(ge=0.01, le=1)] = 0.1
    user: str = ""
    password_file: str = ""
    security: str = ""
    """Policy,mode,certificate,key as asyncua takes them; empty is none."""


SourceConfig = MqttBus | Arinc429Udp | Arinc429File | Arinc717File | CsvFile | OpcUaServer
"""A tagged union over `kind`."""


def make_sources(
    configs: Sequence[SourceConfig],
    signals: SignalSet,
    now_ns: Callable[[], int] | None = None,
    folder: Path = Path(),
) -> list[Source]:
    """Every source of a profile, as `make_source` makes each. ConfigError when two are known to
    feed one group: their counters would look like gaps. What MQTT and CSV feed shows only later."""
    made = [make_source(config, signals, now_ns, folder) for config in configs]
    fed: dict[int, str] = {}
    for source in made:
        for index in getattr(source, "feeds", ()):
            if index in fed:
                raise ConfigError(
                    f"{fed[index]} and {source.name} both feed group {signals.groups[index].name!r}",
                    "source", "give each bus its own groups",
                )  # fmt: skip
            fed[index] = source.name
    return made


def make_source(
    config: SourceConfig,
    signals: SignalSet,
    now_ns: Callable[[], int] | None = None,
    folder: Path = Path(),
) -> Source:
    """The source of one section, not open yet. Raises ConfigError when set and section do not fit.

    now_ns: the flight clock that recordings keep pace with; None plays them as fast as they are
    drained. folder: what relative paths are relative to.
    """
    if isinstance(config, MqttBus):
        from edge.acquire.mqtt import MqttSource

        return MqttSource(config.host, config.port, config.topic, signals)
    if isinstance(config, OpcUaServer):
        try:
            from edge.acquire.opcua import OpcUaSource
        except ImportError as error:
            raise ConfigError(
                f"OPC UA is not installed: {error}", config.url, "install the extra tailtwin[opcua]"
            ) from None
        password = folder / config.password_file if config.password_file else None
        return OpcUaSource(
            config.url, config.namespace, signals, config.publishing_s,
            config.user, password, config.security,
        )  # fmt: skip
    if isinstance(config, Arinc429Udp):
        from edge.acquire.udpwords import UdpWordSource

        return UdpWordSource(
            config.host, config.port, _channels(config.channels), signals, config.parity
        )
    if isinstance(config, Arinc429File):
        from edge.acquire.wordfile import WordFileSource

        return WordFileSource(
            folder / config.path, _channels(config.channels), signals, config.parity, now_ns
        )
    if isinstance(config, CsvFile):
        from edge.acquire.csvfile import CsvSource
        from edge.acquire.csvtable import TimeColumn

        time = TimeColumn(config.time_column, config.time_unit, config.time_absolute)
        return CsvSource(folder / config.path, signals, time, config.names or None, now_ns)
    return _frames(config, signals, now_ns, folder)


def _frames(
    config: Arinc717File, signals: SignalSet, now_ns: Callable[[], int] | None, folder: Path
) -> Source:
    from edge.acquire.arinc717 import FrameFileSource
    from edge.acquire.csvtable import time_ns
    from edge.acquire.framelayout import FrameCounter

    start_ns = time_ns(config.start, "iso", 0)
    if start_ns < 0:
        raise ConfigError(f"{config.start!r} is no time", "source.start", "RFC 3339, in UTC")
    place: Any = config.frame_counter
    counter = None if place is None else FrameCounter(**msgspec.structs.asdict(place))
    return FrameFileSource(
        folder / config.path, signals, config.words_per_s, start_ns, config.packed, counter, now_ns
    )


def _channels(named: dict[str, str]) -> dict[int, str]:
    """TOML has text keys only."""
    found = {int(number): bus for number, bus in named.items() if number.isdecimal()}
    if (
        not found
        or len(found) != len(named)
        or max(found) > 255
        or len(set(named.values())) < len(named)
    ):
        raise ConfigError("channels are not numbers, or a bus is named twice", "source.channels",
                          'channels = { 0 = "ADR_L", 1 = "IR_L" }, 0 to 255')  # fmt: skip
    return found
