"""The on-board bus of the bench: a nats-server of its own with an MQTT listener, loopback only.

In: a folder and a port. Out: the command that runs it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def broker_command(folder: Path, nats_port: int, mqtt_port: int) -> list[str]:
    """Write the broker's settings into `folder`; the command line."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "bus.conf"
    config.write_text(
        json.dumps(
            {
                "server_name": "bench_bus",
                "host": "127.0.0.1",
                "port": nats_port,
                # the MQTT listener demands it; readings are QoS 0 and never stored
                "jetstream": {"store_dir": str((folder / "jetstream").absolute())},
                "mqtt": {"host": "127.0.0.1", "port": mqtt_port},
            }
        )
    )
    return [str(Path(sys.executable).with_name("nats-server")), "-c", str(config)]
