"""The ten-hour flight of `make bench`: made of a bench flight, without a hole, by the real messages."""

from pathlib import Path

import numpy as np
import pytest

from bench.side.longflight import FLIGHT, LongFlight, S, stretched
from hil.plant.flight import Flight, Readings
from shared.block import decode_block
from shared.envelope import open_envelope
from shared.identity import verify
from shared.messages import MANIFEST_BYTES_MAX, Kpi, Manifest, decode
from shared.signals import load_signal_set

SIGNALS = load_signal_set(Path(__file__).parents[2] / "firmware_profiles/signals/b737_bench.toml")
T0 = 1_772_344_800 * S


@pytest.fixture(scope="module")
def flight() -> Flight:
    """Ten minutes: three of climb, four of cruise, three of descent. Raw values count readings."""
    groups = {}
    for group in SIGNALS.groups:
        n = round(600 * group.rate_hz)
        t_ns = T0 + np.arange(n) * round(S / group.rate_hz)
        k_f64 = int(group.is_f64.sum())
        k = len(group.signal)
        raw = np.repeat(np.arange(n)[:, None], k - k_f64, 1)
        groups[group.name] = Readings(t_ns, raw, np.zeros((n, k_f64)), np.zeros((n, k), np.uint8))
    meta = {
        "start_ns": T0, "esns": ["894101", "894102"],
        "phases": [[T0, "climb"], [T0 + 180 * S, "cruise"], [T0 + 420 * S, "descent"]],
        "oooi_ns": {"out": T0, "off": T0 + S, "on": T0 + 590 * S, "in": T0 + 599 * S},
    }  # fmt: skip
    return Flight(SIGNALS.sha256.hex(), groups, meta)


def test_a_stretched_flight_has_no_hole_and_ends_as_it_did(flight: Flight) -> None:
    long = stretched(flight, 0.5)
    assert long.duration_s == pytest.approx(1800, abs=121)
    for group in SIGNALS.groups:
        steps = np.diff(long.groups[group.name].t_ns)
        assert steps.min() == steps.max() == round(S / group.rate_hz)
        assert long.groups[group.name].raw[-1, 0] == flight.groups[group.name].raw[-1, 0]
    added_ns = long.end_ns - flight.end_ns
    assert long.meta["phases"][2] == [T0 + 420 * S + added_ns, "descent"]
    assert long.meta["oooi_ns"]["off"] == T0 + S


def test_its_records_are_numbered_in_order_and_the_manifest_covers_them(flight: Flight) -> None:
    long = LongFlight(flight, SIGNALS)
    records = long.records()
    manifest = long.manifest()
    seen: dict[str, int] = {}
    for _, (subject, data) in records:
        envelope = open_envelope(data, subject)
        assert envelope.flight == FLIGHT and envelope.seq == seen.get(envelope.stream, 0)
        seen[envelope.stream] = envelope.seq + 1
        if envelope.cls == "block":
            assert decode_block(envelope.payload).period == FLIGHT
        if envelope.cls == "kpi":
            (series,) = decode(Kpi, envelope.payload, "kpi", 1 << 20).series
            assert len(series.measured) == len(series.predicted) == 60
    body = open_envelope(manifest[1], "manifest").payload
    said = decode(
        Manifest, verify("manifest", body, long.signer.public, "m"), "m", MANIFEST_BYTES_MAX
    )
    assert {p.stream: p.high for p in said.parts} == seen
    assert long.samples == sum(r.count * r.status.shape[1] for r in flight.groups.values())
