"""A whole ground with one tail, and that tail's NATS link.

In: a folder, a `LongFlight`. Out: `tailtwin-ground up` running on free ports, and records taken and
acknowledged. Always holds: at most WINDOW records are sent and not acknowledged; the processes end with
the bench.
"""

from __future__ import annotations

import asyncio
import shutil
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.side.longflight import EPOCH, OPERATOR, TAIL, LongFlight, Message
from ground.models.baseline import nominal, parse_baseline
from ground.models.turbofan.engine import load_engine_type
from hil.processes import Child, free_port, program, run_once
from hil.rig import ENGINES
from shared.errors import Unreachable
from shared.identity import verify
from shared.messages import Ack, Hello, StreamPosition, decode, encode
from shared.topics import subject

WINDOW = 512
READY_S, ACK_S = 60.0, 60.0
TAIL_TEXT = """\
operator = "{operator}"
tail = "{tail}"
type = "B737-300"
registration = "D-BNCH"
"""
ENGINE_TEXT = '[[engines]]\nposition = {position}\nesn = "{esn}"\npart_number = "{part}"\n'
PART_NUMBER = "CFM56-3B1"


class Site:
    """Its folder is emptied first."""

    def __init__(self, folder: Path, long: LongFlight) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder, self.state, self._long = folder, folder / "ground", long
        self.log = folder / "site.log"
        self.http_port = 0
        self._nats_port = 0
        self._ground_pub = b""
        self._password = ""
        self._acked: dict[str, int] = {}
        self._client: Client | None = None
        self.child = Child("ground", [], folder / "ground.log")

    async def start(self) -> None:
        """Init, enrol, approve the engines' baselines, run."""
        self._nats_port, mqtt, self.http_port = (free_port() for _ in range(3))
        ground, state = program("tailtwin-ground"), ("--state", str(self.state))
        await run_once(ground, "init", *state, "--operator", OPERATOR, "--nats-port",
                       str(self._nats_port), "--mqtt-port", str(mqtt), "--http-port",
                       str(self.http_port), log=self.log)  # fmt: skip
        await self._enrol(ground)
        await self._approve(ground)
        self.child = Child("ground", [ground, "up", *state], self.folder / "ground.log")
        await self.child.start(pipe=True)
        assert self.child.process is not None and self.child.process.stdout is not None
        async with asyncio.timeout(READY_S):
            line = await self.child.process.stdout.readline()
        if not line.startswith(b"ready"):
            raise Unreachable("the ground is not ready", str(self.child.log), "read its log")
        await self._join()

    async def stop(self) -> None:
        if self._client is not None:
            await self._client.close()
        await self.child.stop(timeout_s=30.0)

    async def send(self, messages: Sequence[Message]) -> None:
        """Publish, never more than WINDOW ahead of the acks; returns when all are flushed."""
        client = self._joined()
        for k, (name, data) in enumerate(messages):
            if k % 64 == 0:
                await self._wait_room()
            self._sent += 1
            await client.publish(name, data)
        await client.flush()

    async def wait_acked(self) -> None:
        """Until every record sent is acknowledged."""
        deadline_s = time.monotonic() + ACK_S
        while self._taken() < self._sent:
            if time.monotonic() > deadline_s:
                raise Unreachable(f"{self._sent - self._taken()} records without an ack",
                                  str(self.child.log), "read the ground's log")  # fmt: skip
            await asyncio.sleep(0.005)

    def _taken(self) -> int:
        return sum(self._acked.values())

    async def _wait_room(self) -> None:
        deadline_s = time.monotonic() + ACK_S
        while self._sent - self._taken() > WINDOW and time.monotonic() < deadline_s:
            await asyncio.sleep(0.002)

    async def _enrol(self, ground: str) -> None:
        tail_file, public = self.folder / "tail.toml", self.folder / "device.pub"
        text = TAIL_TEXT.format(operator=OPERATOR, tail=TAIL)
        for position, esn in enumerate(self._long.flight.meta["esns"], 1):
            part = parse_baseline(self._baseline(esn).read_bytes(), esn).part_number
            text += ENGINE_TEXT.format(position=position, esn=esn, part=part)
        tail_file.write_text(text)
        public.write_text(self._long.signer.public.hex() + "\n")
        out = self.folder / "enrolment.toml"
        await run_once(ground, "enroll", "--state", str(self.state), "--tail-file", str(tail_file),
                       "--device-pub", str(public), "--out", str(out), log=self.log)  # fmt: skip
        said = tomllib.loads(out.read_text())
        self._password, self._ground_pub = said["password"], bytes.fromhex(said["ground_pub"])

    async def _approve(self, ground: str) -> None:
        for esn in self._long.flight.meta["esns"]:
            await run_once(ground, "baseline", "approve", "--state", str(self.state), "--esn",
                           esn, "--event", "installation", "--file", str(self._baseline(esn)),
                           "--by", "bench", "--reason", "bench", log=self.log)  # fmt: skip

    def _baseline(self, esn: str) -> Path:
        """As its maker handed it over; where there is none, the type's own engine."""
        file = ENGINES / f"{esn}.json"
        if file.exists():
            return file
        like = msgspec.structs.replace(
            nominal(load_engine_type(), esn, PART_NUMBER), sigma={"n2": 0.1, "egt": 2.0, "ff": 10.0}
        )
        file = self.folder / f"{esn}.json"
        file.write_bytes(msgspec.json.encode(like))
        return file

    def _joined(self) -> Client:
        assert self._client is not None, "start first"
        return self._client

    async def _join(self) -> None:
        self._sent = 0
        self._client = await nats.connect(
            f"nats://127.0.0.1:{self._nats_port}", user=TAIL, password=self._password
        )

        async def on_ack(message: Msg) -> None:
            ack = decode(Ack, verify("ack", message.data, self._ground_pub, "ack"), "ack")
            for stream, coverage in ack.received.items():
                self._acked[stream] = coverage.up_to + sum(b - a for a, b in coverage.ranges)

        await self._client.subscribe(subject(OPERATOR, TAIL, "ack"), cb=on_ack)
        streams = {name: StreamPosition(0, n) for name, n in self._long.next_seq.items()}
        hello = encode(Hello(1, b"n" * 16, 1, EPOCH, streams))
        await self._client.publish(subject(OPERATOR, TAIL, "hello"), hello)
        await self._client.flush()
