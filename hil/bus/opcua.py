"""An OPC UA server that says what a plant does, for the bench and for tests.

In: a signal set, values by hand or a flight. Out: one variable for each signal that names a node.
Always holds: the server lives in a thread with a loop of its own; `stop` ends it as a power cut
would, without a goodbye to its clients.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Coroutine, Mapping
from datetime import UTC
from pathlib import Path
from typing import Any, Final, TypeVar

from asyncua import Server, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.user_managers import UserManager
from cryptography.x509.oid import ExtendedKeyUsageOID

from hil.plant.flight import Flight
from shared.signals import STATUS_FAILURE, STATUS_NO_DATA, STATUS_NORMAL, STATUS_TEST, SignalSet

NAMESPACE: Final = "urn:tailtwin:bench"
_CODES: Final = {
    STATUS_NORMAL: ua.StatusCodes.Good, STATUS_NO_DATA: ua.StatusCodes.BadNoData,
    STATUS_FAILURE: ua.StatusCodes.BadDeviceFailure,
    STATUS_TEST: ua.StatusCodes.UncertainSubNormal,
}  # fmt: skip
T = TypeVar("T")


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PlantServer:
    """Serves the signals that have `opcua`, on loopback. port 0 takes a free one.

    keys: folder with server.der and server.pem; then it takes Basic256Sha256 only, and `users`.
    """

    def __init__(
        self, signals: SignalSet, port: int = 0, namespace: str = NAMESPACE,
        keys: Path | None = None, users: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._signals, self._namespace = signals, namespace
        self._keys, self._users = keys, users or {}
        self.port = port or free_port()
        self.url = f"opc.tcp://127.0.0.1:{self.port}/"
        self._nodes: dict[str, Any] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self, timeout_s: float = 10.0) -> None:
        """Listen; returns when clients may come."""
        self._thread.start()
        self._do(self._start(), timeout_s)

    def write(
        self, name: str, value: Any, status: int = STATUS_NORMAL, t_ns: int | None = None,
        kind: ua.VariantType | None = None,
    ) -> None:  # fmt: skip
        """Set a variable. kind: another type than the variable's own, as a broken server would."""
        self._do(self._write(name, value, status, t_ns, kind))

    def play(self, flight: Flight, until_s: float, rate: float = 1.0) -> int:
        """Say what a flight says, `rate` times as fast, up to flight second `until_s`; changes."""
        due = []
        for group in self._signals.groups:
            readings = flight.groups[group.name]
            for position, signal in enumerate(group.signal):
                if signal.opcua is None or group.is_f64[position]:
                    continue
                raw = readings.raw[:, int((~group.is_f64[:position]).sum())]
                values = (raw * signal.scale + signal.offset).tolist()
                states = readings.status[:, position].tolist()
                due += list(
                    zip(
                        readings.t_ns.tolist(),
                        [signal.name] * len(raw),
                        values,
                        states,
                        strict=True,
                    )
                )
        due.sort()
        start, end_ns = time.monotonic(), flight.at_ns(until_s)
        for count, (t_ns, name, value, status) in enumerate(due):
            if t_ns >= end_ns:
                return count
            wait_s = (t_ns - flight.start_ns) / 1e9 / rate - (time.monotonic() - start)
            if wait_s > 0.001:
                time.sleep(wait_s)
            self.write(name, value, status, t_ns)
        return len(due)

    def stop(self) -> None:
        """Gone."""
        if not self._thread.is_alive():
            return
        self._do(self._stop(), 10.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T], timeout_s: float = 5.0) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    async def _start(self) -> None:
        self._server = Server(user_manager=None if self._keys is None else _Users(self._users))
        await self._server.init()
        self._server.set_endpoint(self.url)
        policy = ua.SecurityPolicyType.NoSecurity
        if self._keys is not None:
            policy = ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt
            await self._server.load_certificate(str(self._keys / "server.der"))
            await self._server.load_private_key(str(self._keys / "server.pem"))
        self._server.set_security_policy([policy])
        space = await self._server.register_namespace(self._namespace)
        for group in self._signals.groups:
            for signal in group.signal:
                if signal.opcua is None:
                    continue
                node = ua.NodeId.from_string(f"ns={space};{signal.opcua.node}")
                made = await self._server.nodes.objects.add_variable(
                    node, f"{space}:{signal.name}", signal.offset, ua.VariantType.Double
                )
                self._nodes[signal.name] = made
        await self._server.start()

    async def _write(
        self, name: str, value: Any, status: int, t_ns: int | None, kind: ua.VariantType | None
    ) -> None:
        t_ns = time.time_ns() if t_ns is None else t_ns
        variant = (
            ua.Variant(float(value), ua.VariantType.Double)
            if kind is None
            else ua.Variant(value, kind)
        )
        data = ua.DataValue(
            variant, ua.StatusCode(ua.UInt32(_CODES[status])),
            SourceTimestamp=_at(t_ns),
            ServerTimestamp=_at(time.time_ns()),
        )  # fmt: skip
        space, node = self._server.iserver.aspace, self._nodes[name].nodeid
        held = space._nodes[node].attributes[ua.AttributeIds.Value]
        held.value = None  # past the check of its type: the wrong one is what a test is after
        done = await space.write_attribute_value(node, ua.AttributeIds.Value, data)
        done.check()

    async def _stop(self) -> None:
        for connection in list(self._server.bserver.clients if self._server.bserver else ()):
            if connection.transport is not None:
                connection.transport.abort()
        await self._server.stop()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)


async def make_keys(folder: Path) -> None:
    """Self-signed certificates and keys of a server and a client: server.der, server.pem, …"""
    for who, uri, use in (
        ("server", "urn:freeopcua:python:server", ExtendedKeyUsageOID.SERVER_AUTH),
        ("client", "urn:example.org:FreeOpcUa:opcua-asyncio", ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        await setup_self_signed_certificate(
            folder / f"{who}.pem", folder / f"{who}.der", uri, "localhost", [use],
            {"organizationName": "bench"},
        )  # fmt: skip


class _Users(UserManager):
    def __init__(self, users: Mapping[str, str]) -> None:
        self._users = users

    def get_user(
        self, iserver: Any, username: str | None = None, password: str | None = None,
        certificate: Any = None,
    ) -> User | None:  # fmt: skip
        known = username is not None and self._users.get(username, "") == password
        return User(role=UserRole.User) if known else None


def _at(t_ns: int) -> ua.DateTime:
    whole = ua.DateTime.fromtimestamp(t_ns // 10**9, UTC)
    return whole.replace(microsecond=t_ns % 10**9 // 1000)
