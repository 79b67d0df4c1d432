"""One profile, several buses at once: what each recording holds is in the outbox, and its gaps too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np

from edge.acquire.sources import make_sources
from edge.config import Enrolment, Settings, load_profile, load_tail
from edge.daemon import Daemon
from hil.bus import arinc429, arinc717
from shared.block import decode_block
from shared.clock import ManualClock
from shared.envelope import open_envelope
from shared.identity import Signer
from shared.signals import SignalSet

START = 1_767_225_600 * 10**9
SET = """
name = "three"
version = 1
airframe = "T"
[[group]]
name = "air"
rate_hz = 10
signal = [{ name = "ALT", unit = "[ft_i]", bus = "ADR", label = "203", arinc429 = { lsb = 12 } }]
[[group]]
name = "recorder"
rate_hz = 1
signal = [{ name = "FUEL", unit = "kg", arinc717 = { words = [33] } }]
[[group]]
name = "cell"
rate_hz = 5
signal = [{ name = "LOAD", unit = "N", encoding = "f64" }]
"""
PROFILE = """
name = "three"
signal_set = "set.toml"
[compute]
name = "t"
arch = "x86_64"
[[source]]
kind = "arinc429-file"
path = "words"
channels = { 4 = "ADR" }
[[source]]
kind = "arinc717-file"
path = "frames"
words_per_s = 64
start = "2026-01-01T00:00:00Z"
[[source]]
kind = "csv"
path = "cell.csv"
[air]
host = "127.0.0.1"
port = 1
bytes_per_s_max = 1000
"""
SECONDS = 60


def record(folder: Path, signals: SignalSet) -> dict[str, list[float]]:
    """Three recordings of a minute; in each a second is missing. What they hold."""
    alt = np.delete(np.arange(SECONDS * 10), np.s_[200:210])
    words = arinc429.make_words(signals.signal("ALT"), alt, np.zeros(len(alt), np.uint8))
    arinc429.write_file(folder / "words", arinc429.records(START + alt * 100_000_000, words, 4))
    frames = arinc717.empty(SECONDS, 64)
    wire = signals.signal("FUEL").arinc717
    assert wire is not None
    arinc717.place(frames, wire, np.arange(SECONDS)[:, None])
    frames[20, 0] = 0
    arinc717.write_file(folder / "frames", frames)
    load = np.arange(SECONDS * 5) / 7
    rows = [f"{k / 5},{x!r}\n" for k, x in enumerate(load.tolist())]
    rows[100:105] = ["torn\n"] * 5
    (folder / "cell.csv").write_text("t,LOAD\n" + "".join(rows))
    return {
        "air": alt.tolist(),
        "recorder": np.delete(np.arange(SECONDS), 20).tolist(),
        "cell": np.delete(load, np.s_[100:105]).tolist(),
    }


def test_three_buses_at_once_are_recorded_with_their_gaps(tmp_path: Path) -> None:
    asyncio.run(fly(tmp_path))


async def fly(tmp_path: Path) -> None:
    (tmp_path / "set.toml").write_text(SET)
    (tmp_path / "profile.toml").write_text(PROFILE)
    (tmp_path / "tail.toml").write_text('operator = "OPX"\ntail = "T-1"\ntype = "T"\n')
    (tmp_path / "state").mkdir()
    profile, signals = load_profile(tmp_path / "profile.toml")
    held = record(tmp_path, signals)
    settings = Settings(
        profile, signals, load_tail(tmp_path / "tail.toml"),
        Enrolment(user="T-1", password="x", ground_pub="00" * 32),
        Signer.create(tmp_path / "device.key"), tmp_path / "state",
    )  # fmt: skip
    clock = ManualClock()
    sources = make_sources(profile.source, signals, clock.mono_ns, tmp_path)
    daemon = Daemon(settings, clock, sources)
    daemon._start()
    for source in sources:
        source.open(1.0)
    for _ in range((SECONDS + 2) * 20):
        clock.advance_s(0.05)
        daemon.tick()
    daemon._recorder.seal_all()
    outbox = daemon._outbox
    found: dict[str, list[float]] = {name: [] for name in held}
    for ref in outbox.pending("block", {outbox.epoch}, {}, 10_000):
        envelope = open_envelope(outbox.read(ref) or b"")
        name = envelope.stream.removeprefix("block-")
        block = decode_block(envelope.payload)
        found[name] += (block.f64 if name == "cell" else block.raw)[:, 0].tolist()
    assert found == held
    gaps = {(one.group, one.missing) for one in daemon._recorder.tally.outages}
    assert gaps == {("air", 10), ("recorder", 1), ("cell", 5)}
    assert sum(x.refused.total() for x in sources) == 1 + 5
    for source in sources:
        source.close()
    outbox.close()
