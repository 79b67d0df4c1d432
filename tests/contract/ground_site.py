"""A ground on disk with its nats-server, for contract tests; every port is free and ours."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from ground.__main__ import main
from ground.broker import find_server
from ground.config import GroundConfig, Paths, load_config
from shared.messages import Ack
from shared.topics import subject
from tests.unit.ground.synthetic import OPERATOR, Tail, free_ports, open_ack, wait_for


class Site:
    """A state folder with enrolled tails, and the processes a test started on it."""

    def __init__(self, folder: Path) -> None:
        self.paths = Paths(folder / "ground")
        self.folder = folder
        nats_port, mqtt_port, http_port = free_ports(3)
        run("init", "--state", str(self.paths.state), "--operator", OPERATOR,
            "--nats-port", str(nats_port), "--mqtt-port", str(mqtt_port),
            "--http-port", str(http_port))  # fmt: skip
        self.config: GroundConfig = load_config(self.paths)
        self.ground_pub = b""
        self.passwords: dict[str, str] = {}
        self.processes: list[subprocess.Popen[bytes]] = []

    def enrol(self, tail: Tail) -> None:
        tail_file, public = self.folder / f"{tail.tail}.toml", self.folder / f"{tail.tail}.pub"
        tail_file.write_text(
            f'operator = "{OPERATOR}"\ntail = "{tail.tail}"\ntype = "B737-800"\n'
            'registration = "D-TEST"\n[[engines]]\nposition = 1\nesn = "E1"\n'
            'part_number = "CFM56-7B"\n'
        )
        public.write_text(tail.signer.public.hex() + "\n")
        out = self.folder / f"{tail.tail}-enrolment.toml"
        run("enroll", "--state", str(self.paths.state), "--tail-file", str(tail_file),
            "--device-pub", str(public), "--out", str(out))  # fmt: skip
        enrolment = tomllib.loads(out.read_text())
        self.ground_pub = bytes.fromhex(enrolment["ground_pub"])
        self.passwords[tail.tail] = enrolment["password"]

    def spawn(self, *command: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def start_broker(self) -> subprocess.Popen[bytes]:
        process = self.spawn(str(find_server()), "-c", str(self.paths.nats_config.absolute()))
        deadline = time.monotonic() + 10
        while not _listens(self.config.host, self.config.nats.port):
            assert process.poll() is None and time.monotonic() < deadline, "no nats-server"
            time.sleep(0.02)
        return process

    def start(self, name: str) -> subprocess.Popen[bytes]:
        return self.spawn(sys.executable, "-m", "ground", name, "--state", str(self.paths.state))

    def stop(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            process.wait(10)

    async def join(self, user: str, password: str = "", errors: list[str] | None = None) -> Client:
        async def on_error(error: Exception) -> None:
            if errors is not None:
                errors.append(str(error))

        return await nats.connect(
            self.config.nats_url, user=user, password=password or self.passwords[user],
            error_cb=on_error, max_reconnect_attempts=-1, reconnect_time_wait=0.05,  # type: ignore[arg-type]
        )  # fmt: skip


class Link:
    """One tail on NATS, with the acks it got."""

    def __init__(self, client: Client, tail: Tail, acks: list[Ack]) -> None:
        self.client, self.tail, self.acks = client, tail, acks

    async def send(self, *messages: tuple[str, bytes]) -> None:
        for name, data in messages:
            await self.client.publish(name, data)
        await self.client.flush()

    async def wait_received(self, stream: str, up_to: int, timeout_s: float = 10.0) -> Ack:
        def there() -> bool:
            return bool(self.acks) and stream in (got := self.acks[-1].received) and (
                got[stream].up_to >= up_to
            )  # fmt: skip

        await wait_for(there, timeout_s)
        return self.acks[-1]

    async def greet(self, nonce: bytes, timeout_s: float = 10.0) -> Ack:
        """Hello until it is answered, as a tail does."""

        def answered() -> list[Ack]:
            return [ack for ack in self.acks if ack.nonce == nonce]

        async with asyncio.timeout(timeout_s):
            while not answered():
                await self.send(self.tail.hello(nonce))
                with contextlib.suppress(TimeoutError):
                    await wait_for(lambda: bool(answered()), 0.3)
        return answered()[0]


@contextlib.asynccontextmanager
async def linked(site: Site, tail: Tail) -> AsyncIterator[Link]:
    """A tail's NATS link."""
    client = await site.join(tail.tail)
    acks: list[Ack] = []

    async def on_ack(message: Msg) -> None:
        acks.append(open_ack(message.data, site.ground_pub))

    await client.subscribe(subject(OPERATOR, tail.tail, "ack"), cb=on_ack)
    await client.flush()
    try:
        yield Link(client, tail, acks)
    finally:
        await client.close()


def run(*arguments: str) -> None:
    assert main(list(arguments)) == 0


def _listens(host: str, port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
