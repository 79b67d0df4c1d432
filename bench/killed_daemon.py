"""The whole daemon, killed while a bus brings it readings.

In: a number of kills, a seed, an empty folder. Out: figures as JSON types. Always holds: broker and
daemon are processes of their own on free loopback ports; a reading carries the wall time of its
publication, so the blocks tell when the daemon began to record and what it had when it died.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge.commands.verify import keyring
from edge.outbox.store import Outbox
from hil.bus.broker import broker_command
from hil.processes import free_port
from shared.block import Block, decode_block
from shared.clock import SystemClock
from shared.envelope import open_envelope
from shared.identity import Signer
from shared.signals import READING_MAGIC, READING_VERSION, SignalSet, load_signal_set

RATE_HZ = 200
JOURNAL_S = 1.0  # what the profile says: readings younger than this may be gone
START_S_MAX = 1.5  # a boot that lived shorter than this and a journal's second may have nothing
SLACK_S = 0.25  # a tick, the commit and the way through the broker, on a busy machine
WAIT_S_MAX = 30.0
SIGNALS = f"""
name = "kills"
version = 1
airframe = "T"
[[group]]
name = "all"
rate_hz = {RATE_HZ}
block_s = 5
signal = [ {{ name = "A", unit = "1" }}, {{ name = "B", unit = "1" }} ]
"""
PROFILE = """
name = "kills"
bench = true
signal_set = "set.toml"
[compute]
name = "test"
arch = "any"
[[source]]
kind = "mqtt"
host = "127.0.0.1"
port = {port}
[air]
host = "127.0.0.1"
port = 1
bytes_per_s_max = 1000
"""


class Bus(threading.Thread):
    """Publishes RATE_HZ readings a second until `end`."""

    def __init__(self, port: int, signals: SignalSet) -> None:
        super().__init__(daemon=True)
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        self._client.connect("127.0.0.1", port)
        self._signals, self._ended = signals, threading.Event()

    def run(self) -> None:
        self._client.loop_start()
        row = np.zeros(1, self._signals.groups[0].dtype)
        row["magic"], row["version"] = READING_MAGIC, READING_VERSION
        row["set_hash"] = self._signals.bus_hash
        due_s, counter = time.monotonic(), 0
        while not self._ended.wait(max(0.0, due_s - time.monotonic())):
            row["counter"], row["t_ns"], row["i"] = counter, time.time_ns(), counter % 1000
            self._client.publish("bus/all", row.tobytes())
            counter, due_s = counter + 1, due_s + 1 / RATE_HZ
        self._client.disconnect()
        self._client.loop_stop()

    def end(self) -> None:
        self._ended.set()
        self.join()


def kill_daemon(kills: int, seed: int, folder: Path) -> dict[str, Any]:
    """Start, kill, start again; the last one ends in order. Then the blocks are read."""
    draw = random.Random(seed)
    port = free_port()
    signals = _prepare(folder, port)
    broker = subprocess.Popen(
        broker_command(folder / "bus", free_port(), port), stderr=subprocess.DEVNULL
    )
    started, killed = [], []
    try:
        bus = _connected(port, signals)
        bus.start()
        for number in range(kills + 1):
            with (folder / "edge.log").open("ab") as log:
                started.append(time.time_ns())
                edge = subprocess.Popen(
                    [sys.executable, "-m", "edge", "run", "--profile", str(folder / "profile.toml"),
                     "--state", str(folder / "state")],
                    stdout=log, stderr=log,
                )  # fmt: skip
            try:
                time.sleep(draw.uniform(2.0, 3.5))
                edge.send_signal(signal.SIGKILL if number < kills else signal.SIGTERM)
                killed.append(time.time_ns())
                edge.wait(WAIT_S_MAX)
            finally:
                edge.kill()
                edge.wait()
        bus.end()
    finally:
        broker.terminate()
        broker.wait(WAIT_S_MAX)
    return _judge(folder, started, killed)


def _prepare(folder: Path, port: int) -> SignalSet:
    identity = folder / "state" / "identity"
    identity.mkdir(parents=True)
    (folder / "set.toml").write_text(SIGNALS)
    (folder / "profile.toml").write_text(PROFILE.format(port=port))
    (identity / "tail.toml").write_text('operator = "OPX"\ntail = "T-1"\ntype = "T"\n')
    ground = "00" * 32
    (identity / "enrolment.toml").write_text(
        f'user = "T-1"\npassword = "x"\nground_pub = "{ground}"\n'
    )
    Signer.create(identity / "device.key")
    return load_signal_set(folder / "set.toml")


def _connected(port: int, signals: SignalSet) -> Bus:
    deadline_s = time.monotonic() + WAIT_S_MAX
    while True:
        try:
            return Bus(port, signals)
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)


def _blocks(folder: Path) -> list[Block]:
    outbox = Outbox.open(
        folder / "state" / "outbox.db", operator="OPX", tail="T-1", clock=SystemClock(),
        random=os.urandom, bytes_max=512 << 20, keyring=keyring(folder / "state", None),
    )  # fmt: skip
    with outbox:
        sealed = [outbox.sealed(held) for held in outbox.records() if held.cls == "block"]
    assert all(sealed), "a block that does not open"
    return [decode_block(open_envelope(data).payload) for data in sealed if data]


def _judge(folder: Path, started: list[int], killed: list[int]) -> dict[str, Any]:
    restarts, unjournalled, complaints = [], [], []
    readings = too_short = 0
    blocks = _blocks(folder)
    for boot, (start_ns, end_ns) in enumerate(zip(started, killed, strict=True), 1):
        mine = sorted((b for b in blocks if b.boot == boot), key=lambda b: int(b.counter[0]))
        if not mine:
            lived_s = (end_ns - start_ns) / 1e9
            if lived_s > START_S_MAX + JOURNAL_S + SLACK_S:
                complaints.append(f"boot {boot} recorded nothing in {lived_s:.1f} s")
            too_short += 1
            continue
        counter = np.concatenate([block.counter for block in mine])
        t_ns = np.concatenate([block.t_ns for block in mine])
        readings += len(counter)
        if (np.diff(counter) != 1).any():
            complaints.append(f"boot {boot}: readings are missing between others")
        restarts.append((int(t_ns[0]) - start_ns) / 1e6)
        behind_s = (end_ns - int(t_ns[-1])) / 1e9
        unjournalled.append(behind_s * 1e3)
        if behind_s > JOURNAL_S + SLACK_S:
            complaints.append(f"boot {boot}: the last {behind_s:.2f} s are gone")
    p50, p99 = np.percentile(restarts or [0.0], [50, 99])
    return {
        "kills": len(killed) - 1, "readings_recorded": readings,
        "killed_before_the_first_journal": too_short,
        "lost_or_damaged": len(complaints), "examples": complaints[:10],
        "restart_to_recording_ms": {
            "p50": round(float(p50), 1), "p99": round(float(p99), 1), "max": round(max(restarts, default=0.0), 1)
        },
        "unjournalled_at_kill_ms_max": round(max(unjournalled, default=0.0), 1),
    }  # fmt: skip
