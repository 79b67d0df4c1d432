"""An OPC UA server as a source: test cells and rigs.

In: a server's address, the nodes of the signal set. Out: readings.
Always holds: the client lives in a thread with a loop of its own and only appends to a bounded
queue; the tick empties it. A lost server is found again by a fresh client, never by a revived one.
A server tells changes, so a row holds the last of every signal while the subscription is known to
live, and no row comes once it is not. Wrong types are refused and leave no value behind.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from asyncua import Client, ua

from edge.acquire.changes import Change, ChangedGroup
from edge.acquire.reading import Readings
from shared.errors import ConfigError, Unreachable
from shared.signals import (
    STATUS_ABSENT,
    STATUS_FAILURE,
    STATUS_NO_DATA,
    STATUS_NORMAL,
    STATUS_TEST,
    Signal,
    SignalSet,
)

QUEUE_MAX: Final = 65_536  # changes that wait for the tick
KEEPALIVE_S: Final = 1.0  # the server speaks at least so often
SILENT_S: Final = 3.5  # and is taken for lost when it has not
LEAVE_S: Final = 2.0
RAW_MAX: Final = 2.0**31
logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # it prints every lost connection at length
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_OVERFLOW: Final = 0x480  # Part 4, 7.39.1: info type DataValue and its overflow bit
_NO_DATA: Final = frozenset(
    (ua.StatusCodes.BadNoData, ua.StatusCodes.BadDataUnavailable, ua.StatusCodes.BadNotConnected,
     ua.StatusCodes.BadWaitingForInitialData, ua.StatusCodes.BadNoCommunication,
     ua.StatusCodes.BadOutOfService)
)  # fmt: skip


class OpcUaSource:
    """Implements edge.acquire.source.Source. A message is one change of one signal.

    namespace: URI that nodes without their own belong to. password: as the server knows `user`.
    security: as asyncua's `set_security_string` takes it, empty for none.
    """

    def __init__(
        self, url: str, namespace: str, signals: SignalSet, publishing_s: float = 0.1,
        user: str = "", password_file: Path | None = None, security: str = "",
        mono_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:  # fmt: skip
        self._url, self._namespace, self._publishing_s = url, namespace, publishing_s
        self._user, self._password_file, self._security = user, password_file, security
        self._mono_ns = mono_ns
        self.name = url
        self.refused: Counter[str] = Counter()
        self._groups: dict[int, ChangedGroup] = {}
        self._items: list[tuple[int, int, Signal, float]] = []  # group, column, signal, sampling
        for index, group in enumerate(signals.groups):
            columns = [k for k, signal in enumerate(group.signal) if signal.opcua is not None]
            if columns:
                self._groups[index] = ChangedGroup(group, columns)
            for column, position in enumerate(columns):
                wire = group.signal[position].opcua
                assert wire is not None
                every_s = 1 / group.rate_hz if wire.sampling_s is None else wire.sampling_s
                self._items.append((index, column, group.signal[position], every_s))
        if not self._items:
            raise ConfigError("no signal of the set is a node", url, "give signals `opcua`")
        self._life: _Life | None = None

    @property
    def is_open(self) -> bool:
        return self._life is not None

    @property
    def feeds(self) -> frozenset[int]:
        return frozenset(self._groups)

    def open(self, timeout_s: float) -> None:
        self.close()
        life = _Life(self, timeout_s)
        try:
            life.ready.result(timeout_s + LEAVE_S)
        except Exception as error:  # whatever a foreign server makes the client raise
            life.leave()
            why = str(error) or type(error).__name__
            raise Unreachable(why[:200], self._url, "check server, namespace and user") from None
        for group in self._groups.values():
            group.begin()
        self._life = life

    def drain(self, messages_max: int) -> int:
        life = self._life
        if life is None:
            return 0
        taken, queue = 0, life.queue
        while queue and taken < messages_max:
            index, change = queue.popleft()
            self._groups[index].push(change)
            taken += 1
        if life.lost_changes:
            self.refused["overflow"] += life.lost_changes
            life.lost_changes = 0
            for group in self._groups.values():
                group.miss()
        if not queue and (life.is_lost or self._mono_ns() - life.heard_ns > SILENT_S * 1e9):
            self.close()
        return taken

    def pull(self, only: frozenset[int] | None = None) -> list[Readings]:
        due = [g for index, g in self._groups.items() if only is None or index in only]
        batches = [group.pull(self._mono_ns(), self._life is not None) for group in due]
        return [batch for batch in batches if batch is not None]

    def close(self) -> None:
        life, self._life = self._life, None
        if life is not None:
            life.leave()

    # -- in the client's own loop

    async def _connect(self, timeout_s: float) -> Client:
        client = Client(self._url, timeout=timeout_s)
        if self._user:
            client.set_user(self._user)
        if self._password_file is not None:
            client.set_password(self._password_file.read_text().strip())
        if self._security:
            await client.set_security_string(self._security)
        await client.connect(auto_reconnect=False)
        return client

    async def _subscribe(self, client: Client, heard: Callable[[Any], Any]) -> None:
        wanted = ua.CreateSubscriptionParameters()
        wanted.RequestedPublishingInterval = self._publishing_s * 1e3
        wanted.RequestedMaxKeepAliveCount = max(1, round(KEEPALIVE_S / self._publishing_s))
        wanted.RequestedLifetimeCount = 10 * wanted.RequestedMaxKeepAliveCount
        wanted.MaxNotificationsPerPublish = 0
        wanted.PublishingEnabled = True
        session = client.uaclient.session
        made = await session.create_subscription(wanted, callback=heard)
        spaces = {uri: k for k, uri in enumerate(await client.get_namespace_array())}
        items = [self._item(k, spaces) for k in range(len(self._items))]
        for _ in range(2):
            request = ua.CreateMonitoredItemsParameters()
            request.SubscriptionId = made.SubscriptionId
            request.TimestampsToReturn = ua.TimestampsToReturn.Both
            request.ItemsToCreate = items
            results = await session.create_monitored_items(request)
            bad = [k for k, result in enumerate(results) if not result.StatusCode.is_good()]
            if not bad:
                return
            why, items = results[bad[0]].StatusCode.name, [items[k] for k in bad]
            for item in items:  # once more without a deadband, for a server that has none
                item.RequestedParameters.Filter = None
        name = self._items[items[0].RequestedParameters.ClientHandle][2].name
        raise Unreachable(f"{name}: {why}", self._url)

    def _item(self, k: int, spaces: dict[str, int]) -> ua.MonitoredItemCreateRequest:
        _, _, signal, every_s = self._items[k]
        assert signal.opcua is not None
        uri, node = self._namespace, signal.opcua.node
        if node.startswith("nsu="):
            uri, _, node = node[4:].partition(";")
        if uri not in spaces:
            raise Unreachable(f"no namespace {uri!r}", self._url, "correct the namespace's URI")
        item = ua.MonitoredItemCreateRequest()
        item.ItemToMonitor.NodeId = ua.NodeId.from_string(f"ns={spaces[uri]};{node}")
        item.ItemToMonitor.AttributeId = ua.AttributeIds.Value
        item.MonitoringMode = ua.MonitoringMode.Reporting
        asked = item.RequestedParameters
        asked.ClientHandle = k
        asked.SamplingInterval = every_s * 1e3
        asked.QueueSize = 2 + math.ceil(2 * self._publishing_s / max(every_s, 0.001))
        asked.DiscardOldest = True
        asked.Filter = ua.DataChangeFilter(
            Trigger=ua.DataChangeTrigger.StatusValue,
            DeadbandType=ua.DeadbandType.Absolute
            if signal.opcua.deadband
            else ua.DeadbandType.None_,
            DeadbandValue=signal.opcua.deadband,
        )
        return item

    def _change(self, notification: Any) -> tuple[int, Change] | None:
        """One notification as a change; None for a handle that nobody asked for."""
        if not 0 <= notification.ClientHandle < len(self._items):
            return None
        index, column, signal, _ = self._items[notification.ClientHandle]
        data = notification.Value
        code = data.StatusCode.value if data.StatusCode is not None else 0
        if code & _OVERFLOW == _OVERFLOW:
            self.refused["server overflow"] += 1
        at = data.SourceTimestamp or data.ServerTimestamp
        t_ns = time.time_ns() if at is None else _ns(at)
        status = _status(code)
        value = 0.0
        if status in (STATUS_NORMAL, STATUS_TEST):
            value, status = _value(
                data.Value.Value if data.Value is not None else None, signal, status
            )
            if status == STATUS_ABSENT:
                self.refused["type"] += 1
        return index, Change(column, t_ns, value, status)


class _Life:
    """One client from connect to loss, in a thread of its own."""

    def __init__(self, source: OpcUaSource, timeout_s: float) -> None:
        self.queue: deque[tuple[int, Change]] = deque()
        self.ready: Future[None] = Future()
        self.is_lost = False
        self.lost_changes = 0
        self.heard_ns = source._mono_ns()
        self._source, self._timeout_s = source, timeout_s
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        threading.Thread(target=self._run, name="opcua", daemon=True).start()

    def leave(self) -> None:
        """End it, without waiting."""
        if not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(self._over.set)
            except RuntimeError:
                pass  # it ended between the two lines

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._live())
        finally:
            self.is_lost = True
            self._loop.close()

    async def _live(self) -> None:
        client: Client | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                client = await self._source._connect(self._timeout_s)
                client.connection_lost_callback = self._on_lost
                await self._source._subscribe(client, self._heard)
            self.heard_ns = self._source._mono_ns()
            self.ready.set_result(None)
            await self._over.wait()
        except Exception as error:
            self.is_lost = True
            if not self.ready.done():
                self.ready.set_exception(error)
        finally:
            await self._end(client)

    async def _end(self, client: Client | None) -> None:
        if client is not None:
            try:
                async with asyncio.timeout(LEAVE_S):
                    await client.disconnect()
            except Exception:
                pass  # it is gone one way or the other
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _on_lost(self, _error: Exception) -> None:
        self.is_lost = True
        self._over.set()

    async def _heard(self, result: Any) -> None:
        """A publish response, a keep-alive included."""
        self.heard_ns = self._source._mono_ns()
        for part in result.NotificationMessage.NotificationData or ():
            if isinstance(part, ua.StatusChangeNotification):
                self.is_lost = True  # the server has ended the subscription
            for notification in getattr(part, "MonitoredItems", None) or ():
                change = self._source._change(notification)
                if change is not None and len(self.queue) < QUEUE_MAX:
                    self.queue.append(change)
                else:
                    self.lost_changes += 1


def _ns(at: datetime) -> int:
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return (at - _EPOCH) // _MICROSECOND * 1000


def _status(code: int) -> int:
    severity = code >> 30
    if severity == 0:
        return STATUS_NORMAL
    if severity == 1:
        return STATUS_TEST  # uncertain
    return STATUS_NO_DATA if code & 0xFFFF0000 in _NO_DATA else STATUS_FAILURE


def _value(value: Any, signal: Signal, status: int) -> tuple[float, int]:
    """The raw value of what the server says, in the signal's unit; ABSENT for what is no value."""
    if isinstance(value, str) and value in signal.enum:
        return float(signal.enum[value]), status
    if not isinstance(value, int | float | np.number):
        return 0.0, STATUS_ABSENT
    if math.isnan(value):
        return 0.0, STATUS_NO_DATA
    raw = (float(value) - signal.offset) / signal.scale
    if signal.encoding != "f64" and not abs(raw) < RAW_MAX:
        return 0.0, STATUS_ABSENT
    return raw, status
