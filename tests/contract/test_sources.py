"""One suite for every source: MQTT on a real broker, ARINC 429 by UDP and from a file, ARINC 717,
CSV, and OPC UA on a real server."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge.acquire.csvfile import CsvSource
from edge.acquire.mqtt import MqttSource
from edge.acquire.opcua import OpcUaSource
from edge.acquire.reading import Readings
from edge.acquire.source import Source
from edge.acquire.sources import Arinc717File, make_source
from edge.acquire.udpwords import UdpWordSource
from edge.acquire.wordfile import WordFileSource
from hil.bus import arinc429, arinc717
from hil.bus.opcua import NAMESPACE, PlantServer, make_keys
from hil.plant import flight
from shared.errors import TailTwinError, Unreachable
from shared.signals import (
    READING_MAGIC,
    READING_VERSION,
    STATUS_FAILURE,
    STATUS_NO_DATA,
    STATUS_NORMAL,
    STATUS_TEST,
    SignalSet,
    parse_signal_set,
)
from tests.fakes.nats_server import NatsServer

LIVE = ("mqtt", "arinc429", "opcua")
FILES = ("arinc429-file", "arinc717-file", "csv")
N = 24
T0 = 1_700_000_000 * 10**9


def signal_set(rate_hz: int) -> SignalSet:
    return parse_signal_set(
        f"""
name = "contract"
version = 1
airframe = "T"
[[group]]
name = "other"
rate_hz = {rate_hz}
signal = [{{ name = "Y", unit = "1" }}]
[[group]]
name = "g"
rate_hz = {rate_hz}
[[group.signal]]
name = "X"
unit = "1"
bus = "B"
label = "310"
arinc429 = {{}}
arinc717 = {{ words = [9] }}
opcua = {{ node = "s=X" }}
""".encode(),
        "contract.toml",
    )


class Rig:
    """A source, and what it takes to make its bus speak, talk nonsense and go away."""

    signals = signal_set(20)

    def __init__(self) -> None:
        self.source: Source
        self.absent: Source
        self.said = 0

    def say(self, count: int) -> None:
        """The next values, 0, 1, 2 …; a recording has them all before it is opened."""

    def babble(self) -> None: ...
    def lose(self) -> None: ...
    def restore(self) -> None: ...
    def end(self) -> None:
        self.source.close()


class MqttRig(Rig):
    def __init__(self, server: NatsServer) -> None:
        super().__init__()
        self._server = server
        self.source = self._make(server.mqtt_port)
        self.absent = self._make(1)
        self._talker = self._connect()

    def _make(self, port: int) -> Source:
        return MqttSource("127.0.0.1", port, "bus/#", self.signals)

    def _connect(self) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="talker")
        client.connect("127.0.0.1", self._server.mqtt_port)
        client.loop_start()
        return client

    def say(self, count: int) -> None:
        group = self.signals.groups[1]
        row = np.zeros(1, group.dtype)
        row["magic"], row["version"], row["group"] = READING_MAGIC, READING_VERSION, 1
        row["set_hash"] = self.signals.bus_hash
        for k in range(self.said, self.said + count):
            row["counter"], row["t_ns"], row["i"] = k, T0 + k * group.period_ns, k
            self._talker.publish("bus/g", row.tobytes())
        self.said += count

    def babble(self) -> None:
        for payload in (b"", b"\0" * 7, b"x" * 500):
            self._talker.publish("bus/g", payload)

    def lose(self) -> None:
        self._server.stop()

    def restore(self) -> None:
        self._talker.disconnect()
        self._talker.loop_stop()
        self._server.start()
        self._talker = self._connect()

    def end(self) -> None:
        super().end()
        self._talker.disconnect()
        self._talker.loop_stop()


class WordRig(Rig):
    def __init__(self) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._taken.bind(("127.0.0.1", 0))
        self.source = UdpWordSource("127.0.0.1", 0, {3: "B"}, self.signals)
        self.absent = UdpWordSource(
            "127.0.0.1", self._taken.getsockname()[1], {3: "B"}, self.signals
        )

    def say(self, count: int) -> None:
        assert isinstance(self.source, UdpWordSource)
        for datagram in arinc429.datagrams(words(self, self.said, count), self.said, 1):
            self._socket.sendto(datagram, ("127.0.0.1", self.source.port))
        self.said += count

    def babble(self) -> None:
        assert isinstance(self.source, UdpWordSource)
        for payload in (b"", b"T429", b"x" * 512):
            self._socket.sendto(payload, ("127.0.0.1", self.source.port))

    def lose(self) -> None:
        assert isinstance(self.source, UdpWordSource) and self.source._socket is not None
        self.source._socket.close()  # an interface that went away; a silent sender is no loss

    def end(self) -> None:
        super().end()
        self._socket.close()
        self._taken.close()


class OpcUaBench:
    """One server for all tests, since it takes seconds to start; restarted where one kills it."""

    signals = signal_set(50)  # a row waits for its period: shorter ones make shorter tests

    def __init__(self) -> None:
        self.server = PlantServer(self.signals)
        self.server.start()

    def restart(self) -> None:
        self.server = PlantServer(self.signals, self.server.port)
        self.server.start()


class OpcUaRig(Rig):
    signals = OpcUaBench.signals

    def __init__(self, bench: OpcUaBench) -> None:
        super().__init__()
        self._bench = bench
        bench.server.write("X", -1)
        self.source, self.absent = self._make(bench.server.port), self._make(1)

    def _make(self, port: int) -> Source:
        return OpcUaSource(f"opc.tcp://127.0.0.1:{port}/", NAMESPACE, self.signals, 0.02)

    def say(self, count: int) -> None:
        for k in range(self.said, self.said + count):
            self._bench.server.write("X", k, t_ns=T0 + k * 20_000_000)
            time.sleep(0.005)
        self.said += count

    def babble(self) -> None:
        from asyncua import ua

        self._bench.server.write("X", "nonsense", kind=ua.VariantType.String)
        time.sleep(0.03)
        self._bench.server.write("X", b"\0\1", kind=ua.VariantType.ByteString)
        time.sleep(0.03)
        self._bench.server.write("X", 1e300)
        time.sleep(0.03)

    def lose(self) -> None:
        self._bench.server.stop()

    def restore(self) -> None:
        self._bench.restart()
        self._bench.server.write("X", -1)


class FileRig(Rig):
    """A recording of N values with damage in the middle; it is lost when reading it fails."""

    def __init__(self, kind: str, folder: Path) -> None:
        super().__init__()
        path = folder / "recording"
        self.said = N
        if kind == "csv":
            rows = [f"{k / 20},{k}" for k in range(N)]
            rows.insert(N // 2, "never,x,y")
            path.write_text("t,X\n" + "\n".join(rows) + "\n")
            self._make: Callable[[Path], Source] = lambda p: CsvSource(p, self.signals)
        elif kind == "arinc429-file":
            good = words(self, 0, N)
            foreign = words(self, 0, 1)
            foreign["channel"] = 9
            arinc429.write_file(path, np.concatenate((good[: N // 2], foreign, good[N // 2 :])))
            self._make = lambda p: WordFileSource(p, {3: "B"}, self.signals)
        else:
            self.signals = signal_set(1)
            wire = self.signals.signal("X").arinc717
            assert wire is not None
            frames = arinc717.empty(N + 1, 64)
            raw = np.arange(N + 1)
            raw[N // 2 + 1 :] -= 1
            arinc717.place(frames, wire, raw[:, None])
            frames[N // 2, 0] = 0  # a damaged sync word: this subframe is no data
            arinc717.write_file(path, frames)
            self._make = lambda p: make_source(
                Arinc717File(path=str(p), words_per_s=64, start="2023-11-14T22:13:20Z"),
                self.signals,
            )
        self.source, self.absent = self._make(path), self._make(folder / "none")

    def lose(self) -> None:
        self.source._file.close()  # type: ignore[attr-defined]
        self.source._file = _Failing()  # type: ignore[attr-defined]


class _Failing:
    def read(self, _size: int) -> bytes:
        raise OSError(5, "Input/output error")

    def close(self) -> None: ...


def words(rig: Rig, first: int, count: int) -> Any:
    raw = np.arange(first, first + count)
    made = arinc429.make_words(rig.signals.signal("X"), raw, np.zeros(count, np.uint8))
    return arinc429.records(T0 + raw * 50_000_000, made, 3)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    server = OpenServer(tmp_path_factory.mktemp("nats"))
    yield server
    server.stop()


class OpenServer(NatsServer):
    """The bus broker aboard knows no users."""

    def start(self) -> None:
        config = json.loads(self._config.read_text())
        config.pop("authorization", None)
        self._config.write_text(json.dumps(config))
        super().start()


@pytest.fixture(scope="module")
def opcua_bench() -> Iterator[OpcUaBench]:
    bench = OpcUaBench()
    yield bench
    bench.server.stop()


@pytest.fixture
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    kind = request.param
    made: Rig
    if kind == "mqtt":
        made = MqttRig(request.getfixturevalue("broker"))
    elif kind == "arinc429":
        made = WordRig()
    elif kind == "opcua":
        made = OpcUaRig(request.getfixturevalue("opcua_bench"))
    else:
        made = FileRig(kind, tmp_path)
    yield made
    made.end()


def gather(rig: Rig, last: int, deadline_s: float = 10.0) -> list[Readings]:
    """Drain and pull, as the daemon does, until value `last` came."""
    found: list[Readings] = []
    until_s = time.monotonic() + deadline_s
    while time.monotonic() < until_s:
        rig.source.drain(1000)
        found += rig.source.pull()
        if found and int(found[-1].raw[-1, 0]) == last:
            return found
        time.sleep(0.005)
    raise AssertionError(f"value {last} did not come: {[r.raw[:, 0].tolist() for r in found]}")


def values(batches: list[Readings]) -> list[int]:
    """What was said. OPC UA says a value again while it holds, and its last one to a new client."""
    said = [
        value
        for batch in batches
        for value, status in zip(batch.raw[:, 0].tolist(), batch.status[:, 0].tolist(), strict=True)
        if status == 0 and value >= 0
    ]
    return [value for k, value in enumerate(said) if k == 0 or said[k - 1] != value]


every = pytest.mark.parametrize("rig", [*LIVE, *FILES], indirect=True)
live = pytest.mark.parametrize("rig", LIVE, indirect=True)


def opened(rig: Rig) -> None:
    rig.source.open(3.0)
    if isinstance(rig, MqttRig):
        rig.source.drain(0)  # paho sends its SUBSCRIBE with the first drain
        time.sleep(0.1)


def run(rig: Rig) -> list[Readings]:
    """Say what there is to say and gather it. The last word waits for its period to end."""
    if rig.said == 0:
        rig.say(N)
    return gather(rig, N - 1)


@every
def test_what_the_bus_says_comes_once_and_in_order(rig: Rig) -> None:
    opened(rig)
    assert rig.source.is_open
    batches = run(rig)
    assert values(batches) == list(range(N))
    assert {batch.group.name for batch in batches} == {"g"}
    for batch in batches:
        assert batch.raw.shape == (len(batch.t_ns), 1) and batch.status.dtype == np.uint8
    counters = [c for batch in batches for c in batch.counter.tolist()]
    times = [t for batch in batches for t in batch.t_ns.tolist()]
    assert all(b > a for a, b in pairwise(counters))
    if "OpcUa" not in type(rig).__name__:  # whose first row may be what the server had before
        assert all(b > a for a, b in pairwise(times))
        assert times[0] == T0 or rig.source.name.startswith("csv")


@every
def test_a_drain_takes_at_most_what_it_may(rig: Rig) -> None:
    opened(rig)
    if rig.said == 0:
        rig.say(N)
        time.sleep(0.1)
    taken = []
    until_s = time.monotonic() + 3
    while sum(taken) < N and time.monotonic() < until_s:
        taken.append(rig.source.drain(5))
    assert max(taken) <= 5 and sum(taken) >= N


@every
def test_a_drain_never_blocks(rig: Rig) -> None:
    assert rig.source.drain(100) == 0  # not open
    opened(rig)
    took_s = []
    for _ in range(51):
        start_s = time.monotonic()
        rig.source.drain(1)
        rig.source.pull()
        took_s.append(time.monotonic() - start_s)
    took_s.sort()
    # one that blocks would wait for its timeout each time; others on this machine cost less
    assert took_s[25] < 0.01 and took_s[-1] < 1.0


@every
def test_readings_wait_until_their_group_is_pulled(rig: Rig) -> None:
    opened(rig)
    if rig.said == 0:
        rig.say(N)
    until_s = time.monotonic() + 0.3
    while time.monotonic() < until_s:
        rig.source.drain(1000)
        assert rig.source.pull(frozenset({0})) == []
        time.sleep(0.01)
    found = rig.source.pull(frozenset({1}))
    if values(found)[-1:] != [N - 1]:
        found += gather(rig, N - 1)
    assert values(found) == list(range(N))


@every
def test_nonsense_is_counted_and_what_follows_is_read(rig: Rig) -> None:
    opened(rig)
    if isinstance(rig, FileRig):
        assert values(run(rig)) == list(range(N))
        assert rig.source.refused.total() == 1
        return
    rig.babble()
    rig.say(N)
    batches = gather(rig, N - 1)
    assert values(batches) == list(range(N))
    assert rig.source.refused.total() == 3


@every
def test_a_lost_bus_is_noticed_and_found_again(rig: Rig) -> None:
    opened(rig)
    if not isinstance(rig, FileRig):
        rig.say(N // 2)
        before = gather(rig, N // 2 - 1)
    else:
        before = []
    rig.lose()
    until_s = time.monotonic() + 5
    while rig.source.is_open and time.monotonic() < until_s:
        rig.source.drain(1000)
        time.sleep(0.005)
    assert not rig.source.is_open and rig.source.drain(1000) == 0
    rig.restore()
    opened(rig)
    if not isinstance(rig, FileRig):
        rig.say(N - N // 2)
    after = gather(rig, N - 1)
    assert values(before + after) == list(range(N))
    if before:
        assert after[0].counter[0] > before[-1].counter[-1]


@every
def test_a_bus_that_is_not_there_is_unreachable(rig: Rig) -> None:
    start_s = time.monotonic()
    with pytest.raises(Unreachable) as error:
        rig.absent.open(1.0)
    assert time.monotonic() - start_s < 4
    assert isinstance(error.value, TailTwinError) and error.value.where
    assert not rig.absent.is_open
    rig.absent.close()


@live
def test_a_source_that_runs_does_not_grow(rig: Rig) -> None:
    opened(rig)

    def play() -> None:
        rig.say(N)
        gather(rig, rig.said - 1)

    tracemalloc.start()
    play()
    before = held()
    for _ in range(8):
        play()
    grown = held() - before
    tracemalloc.stop()
    assert grown < 10_000  # of 192 messages: one that kept them would be several times that


def held() -> int:
    """Bytes that the code of sources has asked for and not given back."""
    snapshot = tracemalloc.take_snapshot()
    ours = snapshot.filter_traces([tracemalloc.Filter(True, "*/edge/acquire/*")])
    return sum(statistic.size for statistic in ours.statistics("filename"))


def test_the_library_of_opcua_is_only_loaded_for_such_a_source() -> None:
    code = "import sys, edge.acquire.sources; sys.exit('asyncua' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- what only OPC UA has


def told(source: Source, enough: Callable[[list[Readings]], bool]) -> list[Readings]:
    """What comes until it is enough; it must be within ten seconds."""
    until_s = time.monotonic() + 10
    found: list[Readings] = []
    while time.monotonic() < until_s:
        source.drain(1000)
        found += source.pull()
        if found and enough(found):
            return found
        time.sleep(0.01)
    raise AssertionError([(r.raw.tolist(), r.status.tolist()) for r in found[-3:]])


def test_opcua_status_codes_become_statuses(opcua_bench: OpcUaBench) -> None:
    rig = OpcUaRig(opcua_bench)
    rig.source.open(3.0)
    for status in (STATUS_NORMAL, STATUS_TEST, STATUS_FAILURE, STATUS_NO_DATA, STATUS_NORMAL):
        opcua_bench.server.write("X", status, status=status)
        told(rig.source, lambda found, s=status: found[-1].status[-1, 0] == s)  # type: ignore[misc]
    opcua_bench.server.write("X", float("nan"))
    told(rig.source, lambda found: found[-1].status[-1, 0] == STATUS_NO_DATA)
    rig.end()


def test_opcua_holds_a_value_while_the_server_lives_and_tells_no_change_below_the_deadband(
    opcua_bench: OpcUaBench,
) -> None:
    text = opcua_bench.signals.text.replace(b'node = "s=X"', b'node = "s=X", deadband = 2.0')
    opcua_bench.server.write("X", 10)
    source = OpcUaSource(opcua_bench.server.url, NAMESPACE, parse_signal_set(text, "t"), 0.02)
    source.open(3.0)
    told(source, lambda found: found[-1].raw[-1, 0] == 10)
    opcua_bench.server.write("X", 11)
    start_s = time.monotonic()
    held = told(source, lambda found: sum(len(batch.t_ns) for batch in found) >= 8)
    rows = [row for batch in held for row in batch.raw[:, 0].tolist()]
    assert set(rows) == {10} and len(rows) <= 50 * (time.monotonic() - start_s) + 2
    opcua_bench.server.write("X", 14)
    told(source, lambda found: found[-1].raw[-1, 0] == 14)
    source.close()
    source.pull()
    time.sleep(0.1)
    assert source.drain(100) == 0 and source.pull() == []


def test_opcua_server_of_the_bench_plays_a_flight(opcua_bench: OpcUaBench) -> None:
    signals, raw = opcua_bench.signals, np.arange(100, 140)
    t_ns = T0 + np.arange(40) * signals.groups[1].period_ns
    one = flight.Readings(t_ns, raw[:, None], np.zeros((40, 0)), np.zeros((40, 1), np.uint8))
    flown = flight.Flight(signals.sha256.hex(), {"other": one, "g": one}, {"start_ns": T0})
    opcua_bench.server.write("X", -1)
    source = OpcUaSource(opcua_bench.server.url, NAMESPACE, signals, 0.02)
    source.open(3.0)
    assert opcua_bench.server.play(flown, until_s=0.6) == 30
    found = told(source, lambda found: found[-1].raw[-1, 0] == 129)
    assert values(found) == list(range(100, 130))
    source.close()


def test_opcua_namespaces_are_found_by_uri(opcua_bench: OpcUaBench) -> None:
    url, signals = opcua_bench.server.url, opcua_bench.signals
    with pytest.raises(Unreachable, match="no namespace 'urn:other'"):
        OpcUaSource(url, "urn:other", signals).open(3.0)
    own = signals.text.replace(b's=X"', f'nsu={NAMESPACE};s=X"'.encode())
    source = OpcUaSource(url, "urn:other", parse_signal_set(own, "t"))
    source.open(3.0)
    source.close()
    none = signals.text.replace(b's=X"', b's=NONE"')
    with pytest.raises(Unreachable, match="BadNodeIdUnknown"):
        OpcUaSource(url, NAMESPACE, parse_signal_set(none, "t")).open(3.0)


def test_opcua_signed_encrypted_and_with_a_user(tmp_path: Path) -> None:
    asyncio.run(make_keys(tmp_path))
    signals = OpcUaBench.signals
    server = PlantServer(signals, keys=tmp_path, users={"rig": "secret"})
    server.start()
    (tmp_path / "right").write_text("secret\n")
    (tmp_path / "wrong").write_text("guess\n")
    keys = ",".join(str(tmp_path / x) for x in ("client.der", "client.pem", "server.der"))
    security = f"Basic256Sha256,SignAndEncrypt,{keys}"

    def client(password: str, security: str) -> OpcUaSource:
        return OpcUaSource(
            server.url, NAMESPACE, signals, 0.02, "rig", tmp_path / password, security
        )

    server.write("X", 5)
    source = client("right", security)
    source.open(5.0)
    told(source, lambda found: found[-1].raw[-1, 0] == 5)
    source.close()
    for password, how in (("wrong", security), ("right", "")):
        with pytest.raises(Unreachable):
            client(password, how).open(5.0)
    server.stop()
