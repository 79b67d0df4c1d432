"""The recorder: validated readings become journal entries, then blocks.

In: batches of readings with their quality. Out: records of class `block` in the outbox.
Always holds: what arrived is journalled within `journal_s` of the flight clock; a block and the
deletion of its journal are one commit; a jump of a group's bus counter is an `Outage` of the
open period, and so is what it did not record while it was told to thin bulk, with cause `shed`.
A clock that jumps seals the block before the jump.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from edge.acquire.reading import Readings, joined
from edge.outbox.store import Outbox
from edge.thinning import bulk_groups, kept
from shared.block import ROW_COUNT_MAX, VALUE_COUNT_MAX, Block, encode_block
from shared.envelope import TIME_BUS
from shared.errors import TailTwinError
from shared.log import event
from shared.messages import GroupCount, Outage
from shared.signals import Group, SignalSet

JOURNAL_BYTES_MAX = 4 << 20  # of one entry, decoded; a second of one group is about 4 kB
OUTAGES_MAX = 512  # kept by name in one period; more are merged into the last one of the group
BLOCK_SCHEMA = "block/1"
SEALED_BYTES_MAX = 15_000  # with its envelope below 16 kB, which every link may have in flight
ENTRY_BYTES = 400_000  # of one journal entry before compression
SEAL_LATE_NS = 3_000_000_000  # flight; blocks that are due together are sealed one after the other
BLOCK_S_UNKNOWN = 60.0  # of a group that the signal set has no more: the longest there is
SILENT_NS = 3_000_000_000  # the largest age that an input may have
Batches = list[tuple[Readings, npt.NDArray[np.uint8]]]


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    """One journal entry of one group; arrays as little-endian bytes."""

    set_sha256: bytes
    period: str
    boot: int
    mono_t0_ns: int
    n: int
    t_ns: bytes
    counter: bytes
    raw: bytes
    f64: bytes
    status: bytes
    quality: bytes


class Tally(msgspec.Struct):
    """What was recorded in the open period; persisted with every change."""

    groups: dict[str, GroupCount] = msgspec.field(default_factory=dict)
    outages: list[Outage] = msgspec.field(default_factory=list)

    def copy(self) -> Tally:
        """One that can be changed without this one."""
        return Tally(dict(self.groups), list(self.outages))


@dataclass(slots=True)
class _Pending:
    """Readings of one group that are not in a block yet; `journalled` of them are durable."""

    batches: list[tuple[Readings, npt.NDArray[np.uint8]]] = field(default_factory=list)
    journalled: int = 0  # batches
    readings: int = 0
    opened_ns: int = 0  # flight clock at the first batch
    t_last_ns: int = 0


class Recorder:
    """Journals and seals. Times are of the flight clock unless called event time."""

    def __init__(self, outbox: Outbox, signals: SignalSet, journal_s: float) -> None:
        self._outbox, self._signals = outbox, signals
        self._journal_ns = round(journal_s * 1e9)
        self._journal_at_ns = 0  # the next, on a grid of its period
        self._due: dict[str, None] = {}  # groups whose block is long enough, the oldest first
        self._pending: dict[str, _Pending] = {g.name: _Pending() for g in signals.groups}
        self._pack = zstandard.ZstdCompressor(level=1)
        self._last: dict[str, tuple[int, int]] = _load_last(outbox)
        self._seen: dict[str, tuple[int, int]] = {}  # counter, event time; recorded or not
        self._seen_this_boot: set[str] = set()
        self._bulk, self._factor = bulk_groups(signals), 1
        self._shedding: set[str] = set()  # groups whose last outage of cause `shed` still grows
        self.period = ""
        self.tally = Tally()
        self.samples = 0
        self._recovered = False

    @property
    def set_sha256(self) -> bytes:
        """Hash of the signal set that is recorded by."""
        return self._signals.sha256

    def begin(self, period: str) -> None:
        """What arrives from now on belongs to `period`. Everything before must be sealed."""
        assert not any(pending.batches for pending in self._pending.values())
        self.period, self.tally = period, Tally()
        self._shedding.clear()
        self._save()

    def thin(self, factor: int) -> None:
        """From now on record every `factor`-th reading of bulk groups; 1 is all of them."""
        self._factor = factor
        self._shedding.clear()

    @property
    def bulk(self) -> frozenset[str]:
        """The groups that `thin` thins."""
        return self._bulk

    def recover(self) -> int:
        """Seal what the journal holds from before the last stop; readings recovered.

        Those of another signal set too: that set is named in the block, and went out before it.
        Nothing is journalled or sealed before this has succeeded once.
        """
        entries: dict[tuple[str, str, bytes, int], list[_Entry]] = {}
        recovered, names = 0, {group.name for group in self._signals.groups}
        with self._outbox.transaction():
            for group_name, data in self._outbox.journal_entries():
                names.add(group_name)
                entry = _unpack_entry(data)
                if entry is None:
                    event("journal.refused", group=group_name, bytes=len(data))
                    continue
                key = (group_name, entry.period, entry.set_sha256, entry.boot)
                entries.setdefault(key, []).append(entry)
            for (group_name, period, _, _), parts in entries.items():
                try:
                    block = _join(group_name, parts)
                except ValueError as error:
                    event("journal.refused", group=group_name, why=str(error))
                    continue
                self._append(block, period)
                recovered += block.n
            for name in names:
                self._outbox.journal_clear(name)
            self._save()
        self._recovered = True
        return recovered

    def add(self, readings: Readings, quality: npt.NDArray[np.uint8], now_ns: int) -> None:
        """Take one batch. Unreachable when a due block could not be stored; the batch is kept."""
        group = readings.group
        pending = self._pending[group.name]
        if not _fits(pending.readings + len(readings.t_ns), quality.shape[1], 1):
            # the store has refused for as long as a block may be: the newest readings matter more
            event("recorder.shed", group=group.name, readings=pending.readings)
            pending = self._pending[group.name] = _Pending()
            self._seen.pop(group.name, None)  # back to the last block, for the outage that follows
        self._note_gaps(group, readings)
        if self._factor > 1 and group.name in self._bulk:
            readings, quality = self._thinned(readings, quality)
            if not len(readings.t_ns):
                return
        if not pending.batches:
            pending.opened_ns = now_ns
        jumps = pending.readings and _jumps(group, pending.t_last_ns, int(readings.t_ns[0]))
        pending.batches.append((readings, quality))
        pending.readings += len(readings.t_ns)
        pending.t_last_ns = int(readings.t_ns[-1])
        self.samples += quality.size
        full = not _fits(pending.readings, quality.shape[1], 2)
        over_ns = now_ns - pending.opened_ns - round(group.block_s * 1e9)
        if full or jumps or over_ns >= SEAL_LATE_NS:
            self.seal(group.name)
        elif over_ns >= 0:
            self._due[group.name] = None

    def seal_one(self) -> None:
        """Seal the group that is due for the longest, if there is one."""
        name = next(iter(self._due), None)
        if name is not None:
            del self._due[name]  # until its next batch, should the store refuse
            self.seal(name)

    def is_journal_due(self, now_ns: int) -> bool:
        """Whether `journal` would write."""
        return not self._journal_at_ns - self._journal_ns <= now_ns < self._journal_at_ns

    def journal(self, now_ns: int) -> bool:
        """Make what is pending durable if it is due; whether it was."""
        if not self.is_journal_due(now_ns):
            return False
        if not self._recovered:
            self.recover()
        self._journal_at_ns = (now_ns // self._journal_ns + 1) * self._journal_ns
        for pending in self._pending.values():
            # one batch a second is smaller than the many that it came in, and faster from here on
            pending.batches[pending.journalled :] = _joined(pending.batches[pending.journalled :])
        with self._outbox.transaction():
            for name, pending in self._pending.items():
                for part in _chunks(pending.batches[pending.journalled :]):
                    count = sum(len(readings.t_ns) for readings, _ in part)
                    self._outbox.journal(name, self._entry(part, pending.opened_ns), count)
            self._save()
        for pending in self._pending.values():
            pending.journalled = len(pending.batches)
        return True

    def seal_all(self) -> None:
        """Seal every group: at the end of a period, and before an orderly stop."""
        for name, pending in self._pending.items():
            if pending.batches:
                self.seal(name)

    def seal(self, group_name: str) -> None:
        """One group's pending readings become a block; its journal goes in the same commit.

        When the store refuses (disk full), the readings stay pending and the error goes on.
        """
        if not self._recovered:
            self.recover()
        pending = self._pending[group_name]
        block = self._block(self._signals.group(group_name), pending)
        kept = dict(self.tally.groups), dict(self._last)
        try:
            with self._outbox.transaction():
                self._append(block, self.period)
                self._outbox.journal_clear(group_name)
                self._save()
        except TailTwinError:
            self.tally.groups, self._last = kept
            raise
        self._pending[group_name] = _Pending()
        self._due.pop(group_name, None)

    def _append(self, block: Block, period: str) -> None:
        """The block as records: one, or several where time jumps or the bytes are too many."""
        for part, data in block_parts(block, self._block_s(block.group)):
            self._outbox.append(
                "block", data, stream=f"block-{block.group}", schema=BLOCK_SCHEMA,
                flight=period, t_event_ns=int(part.t_ns[0]), t_quality=TIME_BUS,
            )  # fmt: skip
        if period != self.period:
            return  # of a period whose manifest counted it when it closed
        before = self.tally.groups.get(block.group)
        first = int(block.t_ns[0]) if before is None else before.t_first_ns
        count = block.n + (0 if before is None else before.readings)
        self.tally.groups[block.group] = GroupCount(block.group, count, first, int(block.t_ns[-1]))
        self._last[block.group] = (int(block.counter[-1]), int(block.t_ns[-1]))

    def _block_s(self, group_name: str) -> float:
        known = group_name in self._signals.group_index
        return self._signals.group(group_name).block_s if known else BLOCK_S_UNKNOWN

    def _save(self) -> None:
        self._outbox.put("recorder.tally", msgspec.msgpack.encode(self.tally))
        self._outbox.put("recorder.last", msgspec.msgpack.encode(self._last))

    def _block(self, group: Group, pending: _Pending) -> Block:
        parts = [readings for readings, _ in pending.batches]
        return Block(
            group.name, self._signals.sha256, self.period, self._outbox.boot, pending.opened_ns,
            TIME_BUS,
            np.concatenate([p.t_ns for p in parts]), np.concatenate([p.counter for p in parts]),
            np.concatenate([p.raw for p in parts]), np.concatenate([p.f64 for p in parts]),
            np.concatenate([p.status for p in parts]),
            np.concatenate([quality for _, quality in pending.batches]),
        )  # fmt: skip

    def _entry(
        self, batches: list[tuple[Readings, npt.NDArray[np.uint8]]], opened_ns: int
    ) -> bytes:
        def whole(name: str) -> bytes:
            return b"".join(getattr(readings, name).tobytes() for readings, _ in batches)

        entry = _Entry(
            self._signals.sha256, self.period, self._outbox.boot, opened_ns,
            sum(len(readings.t_ns) for readings, _ in batches),
            whole("t_ns"), whole("counter"), whole("raw"), whole("f64"), whole("status"),
            b"".join(quality.tobytes() for _, quality in batches),
        )  # fmt: skip
        return self._pack.compress(msgspec.msgpack.encode(entry))

    def note_silence(self, at_ns: int) -> None:
        """A period ends at event time `at_ns`: groups that fell silent before it are outages of it.

        How many readings that cost shows only when the group speaks again, in another period.
        """
        for group in self._signals.groups:
            pending = self._pending[group.name]
            last = self._last.get(group.name, (0, 0))[1]
            last = pending.t_last_ns if pending.batches else last
            last = max(last, self._seen.get(group.name, (0, 0))[1])
            if last and at_ns - last > max(SILENT_NS, 3 * group.period_ns):
                self._outage(Outage(group.name, last, at_ns, -1, "bus_gap"))

    def _note_gaps(self, group: Group, readings: Readings) -> None:
        last = self._seen.get(group.name) or self._last.get(group.name)
        counter, t_ns = readings.counter, readings.t_ns
        self._seen[group.name] = int(counter[-1]), int(t_ns[-1])
        first = group.name not in self._seen_this_boot
        self._seen_this_boot.add(group.name)
        if last is not None and int(counter[0]) == last[0] + 1 and _is_whole(counter):
            return
        if last is not None:
            counter = np.concatenate(([last[0]], counter))
            t_ns = np.concatenate(([last[1]], t_ns))
        for i in np.flatnonzero(np.diff(counter) != 1):
            step = int(counter[i + 1] - counter[i])
            if step <= 0 and 0 < t_ns[i + 1] - t_ns[i] <= 1.5 * group.period_ns:
                continue  # the bus counter was restarted, but no reading is missing
            down = first and i == 0 and last is not None
            self._outage(
                Outage(
                    group.name, int(t_ns[i]), int(t_ns[i + 1]), step - 1 if step > 0 else -1,
                    "recorder_down" if down else "bus_gap",
                )
            )  # fmt: skip

    def _thinned(
        self, readings: Readings, quality: npt.NDArray[np.uint8]
    ) -> tuple[Readings, npt.NDArray[np.uint8]]:
        """What is recorded of a batch; the rest grows the group's open outage of cause `shed`."""
        keep = kept(readings, quality, self._factor)
        left_out = readings.t_ns[~keep]
        if len(left_out):
            group, outages = readings.group.name, self.tally.outages
            around_ns = (
                int(left_out[0]) - 1,
                int(left_out[-1]) + 1,
            )  # an outage is open at both ends
            more = Outage(group, *around_ns, len(left_out), "shed")
            at = next((i for i in reversed(range(len(outages))) if outages[i].group == group), -1)
            if group in self._shedding and at >= 0 and outages[at].cause == "shed":
                start_ns, missing = outages[at].start_ns, outages[at].missing + more.missing
                outages[at] = msgspec.structs.replace(more, start_ns=start_ns, missing=missing)
            else:
                self._shedding.add(group)
                self._outage(more)
        return readings.select(keep), quality[keep]

    def _outage(self, outage: Outage) -> None:
        named = {one.group for one in self.tally.outages}
        if len(self.tally.outages) < OUTAGES_MAX or outage.group not in named:
            event("recorder.outage", **msgspec.structs.asdict(outage))
            self.tally.outages.append(outage)
            return
        for i in range(len(self.tally.outages) - 1, -1, -1):
            known = self.tally.outages[i]
            if known.group == outage.group:
                missing = -1 if -1 in (known.missing, outage.missing) else (
                    known.missing + outage.missing)  # fmt: skip
                self.tally.outages[i] = Outage(
                    known.group, known.start_ns, outage.end_ns, missing, known.cause
                )
                return


def _is_whole(counter: npt.NDArray[np.int64]) -> bool:
    """Each is the one before it plus one."""
    return len(counter) == 1 or bool((counter[1:] - counter[:-1] == 1).all())


def _jumps(group: Group, before_ns: int, t_ns: int) -> bool:
    """Event time goes back, or leaves more than a block's length out."""
    return not 0 <= t_ns - before_ns <= group.block_s * 1e9


def block_parts(block: Block, block_s: float) -> list[tuple[Block, bytes]]:
    """The block cut where time jumps, each piece halved until it is small enough."""
    steps = np.diff(block.t_ns)
    cuts = np.flatnonzero((steps < 0) | (steps > block_s * 1e9)) + 1
    edges = [0, *cuts.tolist(), block.n]
    waiting = [block.rows(a, b) for a, b in pairwise(edges)]
    done: list[tuple[Block, bytes]] = []
    while waiting:
        part = waiting.pop(0)
        try:
            data = encode_block(part)
        except ValueError:
            data = b""
        if part.n > 1 and not 0 < len(data) <= SEALED_BYTES_MAX:
            waiting[:0] = [part.rows(0, part.n // 2), part.rows(part.n // 2, part.n)]
        else:
            done.append((part, data))
    return done


def _joined(batches: Batches) -> Batches:
    if len(batches) < 2:
        return batches
    whole = joined([readings for readings, _ in batches])
    return [(whole, np.concatenate([quality for _, quality in batches]))]


def _chunks(batches: Batches) -> list[Batches]:
    """Batches in lists of at most ENTRY_BYTES each; a batch is below that by its own bounds."""
    chunks: list[Batches] = []
    size = ENTRY_BYTES
    for readings, quality in batches:
        step = max(1, ENTRY_BYTES // (16 + 10 * quality.shape[1]))
        for at in range(0, len(readings.t_ns), step):
            part = readings.rows(at, at + step), quality[at : at + step]
            cost = len(part[1]) * (16 + 10 * quality.shape[1])
            if size + cost > ENTRY_BYTES:
                chunks.append([])
                size = 0
            chunks[-1].append(part)
            size += cost
    return chunks


def load_tally(outbox: Outbox) -> Tally:
    """The tally of the open period as last persisted."""
    data = outbox.get("recorder.tally")
    return msgspec.msgpack.decode(data, type=Tally) if data else Tally()


def _fits(readings: int, signals: int, share: int) -> bool:
    """Whether so many readings fill at most one `share`-th of what a block may hold."""
    return readings <= ROW_COUNT_MAX // share and readings * signals <= VALUE_COUNT_MAX // share


def _load_last(outbox: Outbox) -> dict[str, tuple[int, int]]:
    data = outbox.get("recorder.last")
    return msgspec.msgpack.decode(data, type=dict[str, tuple[int, int]]) if data else {}


def readings_in(data: bytes) -> int | None:
    """How many readings a journal entry has; None when it is none."""
    entry = _unpack_entry(data)
    return None if entry is None else entry.n


def _unpack_entry(data: bytes) -> _Entry | None:
    try:
        if zstandard.frame_content_size(data) > JOURNAL_BYTES_MAX:
            return None
        plain = zstandard.ZstdDecompressor().decompress(data, max_output_size=JOURNAL_BYTES_MAX)
        return msgspec.msgpack.decode(plain, type=_Entry)
    except (zstandard.ZstdError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _join(group_name: str, parts: list[_Entry]) -> Block:
    """The block of journal entries, in the order in which they were written; ValueError when they
    do not fit each other."""

    def whole(name: str, dtype: str) -> npt.NDArray[np.generic]:
        return np.frombuffer(b"".join(getattr(part, name) for part in parts), dtype)

    n = sum(part.n for part in parts)
    head, t_ns, counter = parts[0], whole("t_ns", "<i8"), whole("counter", "<i8")
    if head.n < 1 or not n == len(t_ns) == len(counter):
        raise ValueError(f"not the columns of {n} readings")
    k, n_f64 = len(head.status) // head.n, len(head.f64) // (8 * head.n)
    return Block(
        group_name, head.set_sha256, head.period, head.boot, head.mono_t0_ns, TIME_BUS,
        t_ns.astype(np.int64), counter.astype(np.int64),
        whole("raw", "<i8").astype(np.int64).reshape(n, k - n_f64),
        whole("f64", "<f8").astype(np.float64).reshape(n, n_f64),
        whole("status", "u1").astype(np.uint8).reshape(n, k),
        whole("quality", "u1").astype(np.uint8).reshape(n, k),
    )  # fmt: skip
