"""The sources of a profile: which buses this computer reads, as data.

In: the `[[source]]` sections of a profile. Out: one `Source` each.
Always holds: a client library is imported only where a profile has such a source.
"""

from __future__ import annotations

import msgspec

from edge.acquire.source import Source
from shared.signals import SignalSet


class MqttBus(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True,
    tag_field="kind", tag="mqtt",
):  # fmt: skip
    """The on-board MQTT bus. topic: filter that covers every group."""

    host: str
    port: int
    topic: str = "bus/#"


SourceConfig = MqttBus
"""A tagged union over `kind`."""


def make_source(config: SourceConfig, signals: SignalSet) -> Source:
    """The source of one section, not open yet."""
    from edge.acquire.mqtt import MqttSource

    return MqttSource(config.host, config.port, config.topic, signals)
