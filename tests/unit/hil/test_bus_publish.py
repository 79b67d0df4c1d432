"""The player: in order, on time, counted; and once against a real broker."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from hil.bus.broker import broker_command
from hil.bus.publish import Player
from hil.bus.schedule import Schedule, apply_altered
from hil.plant.flight import Flight, Readings, save
from shared.clock import ManualClock
from shared.errors import Rejected
from shared.signals import READING_MAGIC, SignalSet
from tests.unit.hil.conftest import SIGNALS


class Sent:
    """A bus that remembers."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []

    def __call__(self, topic: str, payload: bytes) -> None:
        self.messages.append((topic, payload))

    def by_group(self, signal_set: SignalSet) -> dict[str, np.ndarray]:
        joined: dict[str, bytearray] = defaultdict(bytearray)
        for topic, payload in self.messages:
            joined[topic.removeprefix("bus/")] += payload
        return {n: np.frombuffer(b, signal_set.group(n).dtype) for n, b in joined.items()}


def player_at(
    hop: Flight, signal_set: SignalSet, rate: float = 10.0, start_s: float = 100.0
) -> tuple[Player, Sent, ManualClock]:
    sent, clock = Sent(), ManualClock()
    player = Player(Schedule(hop, signal_set, start_s), rate, sent, clock)
    player.start()
    return player, sent, clock


def test_readings_go_out_in_event_order_and_never_early(hop: Flight, signal_set: SignalSet) -> None:
    player, sent, clock = player_at(hop, signal_set)
    times: list[int] = []
    for _ in range(20):
        clock.advance_s(0.008)
        before = len(sent.messages)
        player.play_due()
        limit = hop.at_ns(100.0) + round(clock.mono_ns() * 10)
        for topic, payload in sent.messages[before:]:
            record = np.frombuffer(payload, signal_set.group(topic[4:]).dtype)[0]
            times.append(int(record["t_ns"]))
            assert times[-1] <= limit
    assert times == sorted(times) and len(times) > 150


def test_a_second_holds_every_group_at_its_rate_with_counters_from_zero(
    hop: Flight, signal_set: SignalSet
) -> None:
    player, sent, clock = player_at(hop, signal_set, rate=1.0)
    clock.advance_s(10)
    player.play_due()
    for name, records in sent.by_group(signal_set).items():
        assert abs(len(records) - 10 * signal_set.group(name).rate_hz) <= 1
        assert (records["counter"] == np.arange(len(records))).all()
        assert (records["magic"] == READING_MAGIC).all()
        assert (records["set_hash"] == signal_set.bus_hash).all()
        first, last = player.schedule.ranges[name]
        assert (records["t_ns"] == hop.groups[name].t_ns[first:last]).all()
        assert (records["i"] == hop.groups[name].raw[first:last]).all()
        assert (records["f"] == hop.groups[name].f64[first:last]).all()


def test_a_pause_holds_flight_time_and_loses_nothing(hop: Flight, signal_set: SignalSet) -> None:
    player, sent, clock = player_at(hop, signal_set)
    clock.advance_s(0.1)
    player.play_due()
    player.pause(True)
    clock.advance_s(5)
    assert player.play_due() == 0
    player.pause(False)
    clock.advance_s(0.1)
    player.play_due()
    inertial = sent.by_group(signal_set)["inertial"]
    assert abs(len(inertial) - 100) <= 1
    assert (np.diff(inertial["counter"].astype(int)) == 1).all()


def test_a_player_that_is_late_says_how_late(hop: Flight, signal_set: SignalSet) -> None:
    player, _, clock = player_at(hop, signal_set)
    clock.advance_s(0.5)
    assert 4.9 < player.progress()["lag_s"] <= 5.0
    player.play_due()
    assert player.progress()["lag_s"] == 0


def test_it_ends_with_the_flight(hop: Flight, signal_set: SignalSet) -> None:
    player, _, clock = player_at(hop, signal_set, start_s=450.0)
    clock.advance_s(100)
    player.play_due()
    assert player.over
    assert player.progress()["published"]["inertial"] == len(hop.groups["inertial"].t_ns) - 22500


def test_altered_readings_go_out_and_become_the_truth(hop: Flight, signal_set: SignalSet) -> None:
    copies = {
        n: Readings(r.t_ns, r.raw.copy(), r.f64, r.status.copy()) for n, r in hop.groups.items()
    }
    flight = Flight(hop.set_sha256, copies, hop.meta)
    player, sent, clock = player_at(flight, signal_set)
    player.inject("eng1", {"ENG1_OILP": 3, "ENG1_EGT": 1880}, 4)
    assert player.gone_out() == []
    clock.advance_s(0.1)
    player.play_due()
    assert len(player.gone_out()) == 1 and player.gone_out() == []
    oil = sent.by_group(signal_set)["eng1"]["i"][:, 4]
    assert (oil[:4] == 3).all() and oil[4] != 3
    apply_altered(flight, signal_set, player.schedule.altered)
    first, last = player.schedule.ranges["eng1"]
    assert (flight.groups["eng1"].raw[first:last, 4] == oil).all()


@pytest.mark.parametrize(
    ("group", "raw", "count"),
    [("engine", {"ENG1_N1": 1}, 1), ("eng1", {"ENG2_N1": 1}, 1), ("fuel", {"GROSS_WT": 1}, 1),
     ("eng1", {"ENG1_N1": 1}, 0)],
)  # fmt: skip
def test_an_injection_that_makes_no_sense_is_refused(
    hop: Flight, signal_set: SignalSet, group: str, raw: dict[str, int], count: int
) -> None:
    player, _, _ = player_at(hop, signal_set)
    with pytest.raises(Rejected):
        player.inject(group, raw, count)


@pytest.mark.parametrize("rate", [0.0, -1.0, 1e6, float("nan")])
def test_a_rate_out_of_range_is_refused(hop: Flight, signal_set: SignalSet, rate: float) -> None:
    with pytest.raises(Rejected):
        player_at(hop, signal_set, rate)


def test_a_missing_broker_is_said_in_a_sentence(hop: Flight, tmp_path: Path) -> None:
    save(hop, tmp_path / "hop.npz")
    done = subprocess.run(
        [sys.executable, "-m", "hil.bus.publish", "--flight", str(tmp_path / "hop.npz"),
         "--signals", str(SIGNALS), "--port", "9", "--rate", "10"],
        capture_output=True, text=True, check=False, cwd=SIGNALS.parents[2],
        env={**os.environ, "PYTHONPATH": str(SIGNALS.parents[2])}, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 69
    assert "127.0.0.1:9" in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def broker(folder: Path) -> Iterator[int]:
    """The bench's own bus broker; its MQTT port."""
    port = free_port()
    command = broker_command(folder, free_port(), port)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def test_every_reading_counted_reaches_a_subscriber_of_a_real_broker(
    hop: Flight, signal_set: SignalSet, tmp_path: Path
) -> None:
    save(hop, tmp_path / "hop.npz")
    got: list[tuple[str, bytes]] = []
    ready = threading.Event()
    with broker(tmp_path) as port:
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.on_connect = lambda c, *_: c.subscribe("bus/#")
        client.on_subscribe = lambda *_: ready.set()
        client.on_message = lambda _c, _u, m: got.append((m.topic, bytes(m.payload)))
        client.connect("127.0.0.1", port)
        client.loop_start()
        assert ready.wait(5)
        player = subprocess.Popen(
            [sys.executable, "-m", "hil.bus.publish", "--flight", str(tmp_path / "hop.npz"),
             "--signals", str(SIGNALS), "--port", str(port), "--rate", "20", "--start-s", "100"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=SIGNALS.parents[2],
            env={**os.environ, "PYTHONPATH": str(SIGNALS.parents[2])},
        )  # fmt: skip
        assert player.stdin and player.stdout
        lines = [json.loads(player.stdout.readline())]
        player.stdin.write('not json\n{"inject": 3}\n{"inject": {"group": "air", "raw": ')
        player.stdin.write('{"AIR_ALT": -5}, "count": 2}}\n')
        player.stdin.flush()
        while len(lines) < 6:
            lines.append(json.loads(player.stdout.readline()))
        out, _ = player.communicate('{"stop": true}\n', timeout=10)
        lines += [json.loads(line) for line in out.splitlines()]
        final = lines[-1]["final"]
        for _ in range(100):
            if len(got) >= final["total"]:
                break
            time.sleep(0.02)
        client.disconnect()
        client.loop_stop()
    assert player.returncode == 0 and len(got) == final["total"] > 500
    assert {key for line in lines for key in line} == {
        "ready", "refused", "armed", "injected", "wall_ns", "progress", "final"
    }  # fmt: skip
    for name, count in final["published"].items():
        payload = b"".join(p for topic, p in got if topic == f"bus/{name}")
        records = np.frombuffer(payload, signal_set.group(name).dtype)
        assert (records["counter"] == np.arange(count)).all()
    air = [p for topic, p in got if topic == "bus/air"]
    first = final["altered"][0]["first"] - final["first"]["air"]
    assert np.frombuffer(air[first], signal_set.group("air").dtype)["i"][0, 0] == -5
