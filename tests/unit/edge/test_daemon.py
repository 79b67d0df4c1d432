"""The daemon, ticked by hand over a real outbox: what its parts do together when one fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from edge.acquire.reading import ReadingDecoder, Readings
from edge.config import Enrolment, Settings, load_profile, load_tail
from edge.daemon import Daemon
from edge.outbox.store import Outbox
from shared.block import decode_block
from shared.clock import ManualClock
from shared.envelope import open_envelope
from shared.errors import Corrupt, Unreachable
from shared.identity import Signer, verify
from shared.messages import MANIFEST_BYTES_MAX, Alert, Manifest, decode
from shared.signals import READING_MAGIC, READING_VERSION, SignalSet

SET = """
name = "small"
version = 1
airframe = "T"
[roles]
wow_left = "WOW_L"
wow_right = "WOW_R"
ground_speed_kt = "GS"
vertical_speed_fpm = "VS"
n1_1 = "N1"
n2_1 = "N2"
n2_2 = "N2B"
[[group]]
name = "all"
rate_hz = 5
block_s = 10
signal = [
  { name = "WOW_L", unit = "1" }, { name = "WOW_R", unit = "1" }, { name = "GS", unit = "[kn_i]" },
  { name = "VS", unit = "[ft_i]/min" }, { name = "N1", unit = "%" }, { name = "N2", unit = "%" },
  { name = "N2B", unit = "%" },
]
[[exceedance]]
name = "n1_high"
fault_code = "72-00-001"
signal = "N1"
onset = 104.0
clear = 100.0
persistence_s = 0.0
"""
PROFILE = """
name = "test"
bench = true
signal_set = "set.toml"
[compute]
name = "test"
arch = "any"
[[source]]
kind = "mqtt"
host = "127.0.0.1"
port = 1
[air]
host = "127.0.0.1"
port = 1
bytes_per_s_max = 1000
"""
TAIL = 'operator = "OPX"\ntail = "T-1"\ntype = "T"\n'
PARKED, TAXI, ROLL = (1, 1, 0, 0, 0, 0, 0), (1, 1, 15, 0, 20, 60, 60), (1, 1, 120, 0, 92, 90, 90)
CLIMB, ROLLOUT = (0, 0, 250, 2000, 92, 90, 90), (1, 1, 90, 0, 20, 60, 60)
FLIGHT = [(PARKED, 20), (TAXI, 20), (ROLL, 10), (CLIMB, 40), (ROLLOUT, 8), (TAXI, 20), (PARKED, 20)]


class FakeSource:
    """A bus that holds what the test puts on it."""

    name, is_open = "fake", True

    def __init__(self, signals: SignalSet) -> None:
        self.waiting: list[bytes] = []
        self._decoder = ReadingDecoder(signals)
        self.refused = self._decoder.refused

    def open(self, timeout_s: float) -> None: ...

    def drain(self, messages_max: int) -> int:
        out, self.waiting = self.waiting, []
        self._decoder.push(out)
        return len(out)

    def pull(self, only: frozenset[int] | None = None) -> list[Readings]:
        return self._decoder.pull(only)

    def close(self) -> None: ...


class Aircraft:
    """A daemon on a folder, with a clock and a bus of its own."""

    def __init__(self, folder: Path) -> None:
        (folder / "set.toml").write_text(SET)
        (folder / "profile.toml").write_text(PROFILE)
        (folder / "tail.toml").write_text(TAIL)
        self.device = Signer.create(folder / "device.key")
        profile, self.signals = load_profile(folder / "profile.toml")
        settings = Settings(
            profile, self.signals, load_tail(folder / "tail.toml"),
            Enrolment(user="T-1", password="x", ground_pub="00" * 32), self.device, folder / "state",
        )  # fmt: skip
        (folder / "state").mkdir()
        self.clock, self.bus, self.counter = ManualClock(), FakeSource(self.signals), 0
        self.daemon = Daemon(settings, self.clock, [self.bus])
        self.daemon._start()

    async def live(
        self, legs: Sequence[tuple[tuple[int, ...], int]], each: Callable[[], None] = lambda: None
    ) -> None:
        for values, seconds in legs:
            for _ in range(seconds * 5):
                self.bus.waiting.append(reading(self.signals, self.counter, values))
                self.counter += 1
                self.clock.advance_s(0.2)
                each()
                self.daemon.tick()
        await asyncio.sleep(0)

    def manifests(self) -> list[Manifest]:
        return [
            decode(
                Manifest,
                verify("manifest", payload, self.device.public, "m"),
                "m",
                MANIFEST_BYTES_MAX,
            )
            for payload in self.payloads("manifest")
        ]

    def payloads(self, cls: str) -> list[bytes]:
        outbox = self.daemon._outbox
        held = outbox.pending(cls, {outbox.epoch}, {}, 10_000)
        return [open_envelope(outbox.read(one) or b"").payload for one in held]


def reading(signals: SignalSet, counter: int, values: tuple[int, ...]) -> bytes:
    group = signals.groups[0]
    row = np.zeros(1, group.dtype)
    row["magic"], row["version"], row["set_hash"] = READING_MAGIC, READING_VERSION, signals.bus_hash
    row["counter"], row["t_ns"] = counter, 1_700_000_000_000_000_000 + counter * 200_000_000
    row["i"][0] = values
    return row.tobytes()


@pytest.fixture
def aircraft(tmp_path: Path) -> Aircraft:
    return Aircraft(tmp_path)


def full(*_: object, **__: object) -> None:
    raise Unreachable("disk full", "outbox.db")


def test_a_flight_leaves_its_manifest_with_every_time(aircraft: Aircraft) -> None:
    asyncio.run(aircraft.live(FLIGHT))
    ground, flight = aircraft.manifests()
    assert (ground.kind, flight.kind) == ("ground", "flight")
    times = flight.oooi
    assert times.out_ns and times.off_ns and times.on_ns and times.in_ns
    # the bus gave 5 readings a second; what came after "in" is not in these two
    counted = sum(count.readings for one in (ground, flight) for count in one.groups)
    assert (20 + 20 + 10 + 40 + 8 + 20) * 5 < counted < aircraft.counter


def test_a_full_disk_at_the_turn_over_costs_neither_manifest_nor_times(
    aircraft: Aircraft, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = 0

    def refuse_when_parked() -> None:
        nonlocal refusals
        monkeypatch.undo()
        turning = aircraft.daemon._turning is not None or aircraft.daemon._phases.phase == "taxi_in"
        if turning and refusals < 80:  # through the decision and a few looks after it
            refusals += 1
            monkeypatch.setattr(aircraft.daemon._outbox, "append", full)

    asyncio.run(aircraft.live(FLIGHT[:-2]))
    asyncio.run(aircraft.live([(TAXI, 5), (PARKED, 60)], refuse_when_parked))
    assert refusals == 80
    _, flight = aircraft.manifests()
    assert flight.kind == "flight" and flight.oooi.off_ns and flight.oooi.in_ns


def test_an_alert_that_the_disk_refused_is_kept_and_stored_later(
    aircraft: Aircraft, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(aircraft.live([(CLIMB, 10)]))
    with monkeypatch.context() as patched:
        patched.setattr(aircraft.daemon._outbox, "append", full)
        asyncio.run(aircraft.live([((0, 0, 250, 2000, 110, 90, 90), 1)]))
        assert aircraft.payloads("alert") == []
    asyncio.run(aircraft.live([(CLIMB, 1)]))
    (onset, *_) = [decode(Alert, payload, "alert") for payload in aircraft.payloads("alert")]
    assert (onset.name, onset.change) == ("n1_high", "onset")


def test_a_corrupt_store_ends_the_process_so_that_a_restart_can_record(
    aircraft: Aircraft, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(*_: object, **__: object) -> None:
        raise Corrupt("malformed", "outbox.db")

    async def run() -> int:
        running = asyncio.create_task(aircraft.daemon.run())
        await asyncio.sleep(0.2)
        aircraft.bus.waiting.append(reading(aircraft.signals, 0, PARKED))
        aircraft.clock.advance_s(2)
        monkeypatch.setattr(aircraft.daemon._outbox, "transaction", torn)
        return await asyncio.wait_for(running, 10)

    assert asyncio.run(run()) == Corrupt.exit_code


def test_garbage_on_the_bus_stops_nothing(aircraft: Aircraft) -> None:
    rng = np.random.default_rng(1)

    def garbage() -> None:
        aircraft.bus.waiting += [rng.bytes(int(rng.integers(0, 90))) for _ in range(3)]
        torn = bytearray(reading(aircraft.signals, aircraft.counter, TAXI))
        torn[int(rng.integers(0, 12))] ^= 1 << int(rng.integers(8))  # magic, group or set
        aircraft.bus.waiting.append(bytes(torn))

    asyncio.run(aircraft.live(FLIGHT, garbage))
    assert len(aircraft.manifests()) >= 2
    assert aircraft.bus.refused.total() > 1000


def test_a_daemon_starts_on_a_store_that_takes_nothing_and_records_once_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        for name in ("put", "append", "journal", "journal_clear", "audit"):
            patched.setattr(Outbox, name, full)
        aircraft = Aircraft(tmp_path)
        asyncio.run(aircraft.live([(PARKED, 20), (TAXI, 10)]))
    assert aircraft.payloads("block") == []
    asyncio.run(aircraft.live([(TAXI, 10), *FLIGHT[2:]]))
    ground, flight = aircraft.manifests()
    assert sum(g.readings for g in ground.groups) > 0 and flight.oooi.in_ns
    first = decode_block(aircraft.payloads("block")[0])
    assert first.counter[0] == 0  # nothing that was read while the disk was full is missing
