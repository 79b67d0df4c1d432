"""A real nats-server with an MQTT listener, on free ports, its store in a given folder."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

GROUND, TAIL, PASSWORD = "ground", "n1", "secret"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class NatsServer:
    """Started on construction; `stop` ends it, `start` begins again on the same ports."""

    def __init__(self, folder: Path) -> None:
        self.port, self.mqtt_port = free_port(), free_port()
        self._config = folder / "nats.conf"
        self._config.write_text(
            json.dumps({
                "host": "127.0.0.1",
                "port": self.port,
                "server_name": "test",
                "max_payload": 1 << 20,
                "jetstream": {"store_dir": str(folder / "store")},
                "mqtt": {"host": "127.0.0.1", "port": self.mqtt_port},
                "authorization": {"users": [
                    {"user": GROUND, "password": PASSWORD},
                    {"user": TAIL, "password": PASSWORD},
                ]},
            })
        )  # fmt: skip
        self.start()

    def start(self) -> None:
        server = Path(sys.executable).parent / "nats-server"
        self._process = subprocess.Popen(
            [str(server), "-c", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        for port in (self.port, self.mqtt_port):
            while time.monotonic() < deadline:
                try:
                    socket.create_connection(("127.0.0.1", port), 0.2).close()
                    break
                except OSError:
                    time.sleep(0.02)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)
