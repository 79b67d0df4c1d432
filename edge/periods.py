"""The open period on disk: which flight or ground period records belong to, and its manifest.

In: transitions of the flight machine. Out: the period's id, and at its end the signed manifest.
Always holds: closing one period, appending its manifest and opening the next are one commit; a
power cut before it leaves the old period open, one after it leaves the new one.
"""

from __future__ import annotations

import msgspec

from edge.config import Tail
from edge.flight.flights import Counters, FlightMachine, Period, Transition
from edge.outbox.store import Outbox
from edge.outbox.thinning import is_thinned
from edge.recorder import Recorder, load_tally
from shared.envelope import TIME_BUS
from shared.errors import Unreachable
from shared.identity import Signer
from shared.log import event
from shared.messages import Manifest, PartStream, encode

BOOTS_MAX = 256
PARTS_MAX = 512
STATE_KEY = "period"
MANIFEST_SCHEMA = "manifest/1"
NOT_COVERED = frozenset({"manifest"})
"""Streams that a manifest does not count: it cannot name itself."""


class _Open(msgspec.Struct, frozen=True):
    """What is persisted. low: first seq of each stream that belongs to the period."""

    period: Period
    counters: Counters
    id: str
    epoch: str
    low: dict[str, int]
    parts: list[PartStream]
    boots: list[int]


class PeriodKeeper:
    """Holds the flight machine, and persists what it says."""

    def __init__(self, outbox: Outbox, recorder: Recorder, tail: Tail, device: Signer) -> None:
        self._outbox, self._recorder = outbox, recorder
        self._tail, self._device = tail, device
        data = outbox.get(STATE_KEY)
        held = msgspec.msgpack.decode(data, type=_Open) if data else None
        if held is None:
            self.machine = FlightMachine(None, Counters(), 0)
            self._open = self._fresh(self.machine)
        else:
            self.machine = FlightMachine(held.period, held.counters, 0)
            boots = [*held.boots[-BOOTS_MAX:], outbox.boot]
            self._open = msgspec.structs.replace(held, boots=boots)
        recorder.period = self._open.id
        recorder.tally = load_tally(outbox)
        self._try_save()

    @property
    def id(self) -> str:
        """Id of the open period."""
        return self._open.id

    def save_progress(self) -> None:
        """Persist times that the machine has learned, if it has; adopt a new epoch."""
        self._follow_epoch()
        if self.machine.period != self._open.period:
            self._open = msgspec.structs.replace(self._open, period=self.machine.period)
            self._save()

    def close(self, transition: Transition, bundles: list[str]) -> Manifest:
        """End the open period; all of it must be sealed. The next one is open afterwards."""
        self._follow_epoch()
        before = self._open, self._recorder.period, self._recorder.tally
        self._recorder.tally = self._recorder.tally.copy()
        self._recorder.note_silence(transition.at_ns)
        try:
            with self._outbox.transaction():
                self._outbox.audit(
                    "period", "closed", subject=self._open.id, reasons=[transition.why],
                    flight=self._open.id, t_event_ns=transition.at_ns, t_quality=TIME_BUS,
                )  # fmt: skip
                manifest = self._manifest(transition, bundles)
                self._outbox.append(
                    "manifest", self._device.sign("manifest", encode(manifest)),
                    schema=MANIFEST_SCHEMA, flight=self._open.id,
                    t_event_ns=transition.at_ns, t_quality=TIME_BUS,
                )  # fmt: skip
                self._open = self._fresh(self.machine)
                self._recorder.begin(self._open.id)
                self._save()
        except BaseException:
            self._open, self._recorder.period, self._recorder.tally = before
            raise
        event("period.closed", flight=manifest.flight, why=transition.why, next=self._open.id)
        return manifest

    def _manifest(self, transition: Transition, bundles: list[str]) -> Manifest:
        closed, tally = transition.closed, self._recorder.tally
        firsts = [count.t_first_ns for count in tally.groups.values()]
        return Manifest(
            v=1, operator=self._tail.operator, tail=self._tail.tail, flight=self._open.id,
            kind=closed.kind, leg=closed.serial,
            opened_ns=closed.opened_ns or min(firsts, default=transition.at_ns),
            closed_ns=transition.at_ns, oooi=closed.oooi,
            parts=[*self._open.parts, *self._current_parts()],
            groups=list(tally.groups.values()), outages=list(tally.outages),
            boots=self._open.boots, set_sha256=self._recorder.set_sha256, bundles=bundles,
            esns=[engine.esn for engine in self._tail.engines],
        )  # fmt: skip

    def _current_parts(self) -> list[PartStream]:
        low, high = self._open.low, self._outbox.next_seqs()
        return [
            PartStream(self._open.epoch, stream, low.get(stream, 0), next_seq)
            for stream, next_seq in sorted(high.items())
            if _is_covered(stream) and next_seq > low.get(stream, 0)
        ]

    def _follow_epoch(self) -> None:
        """The outbox began a new epoch: what was given in the old one is a part by itself.

        The old epoch's own counters are in its last position; records it never got to give
        are not claimed.
        """
        if self._open.epoch == self._outbox.epoch:
            return
        ended = self._outbox.next_seqs(self._open.epoch)
        low = self._open.low
        parts = [
            PartStream(self._open.epoch, stream, low.get(stream, 0), high)
            for stream, high in sorted(ended.items())
            if _is_covered(stream) and high > low.get(stream, 0)
        ]
        self._open = msgspec.structs.replace(
            self._open, epoch=self._outbox.epoch, low={},
            parts=[*self._open.parts, *parts][-PARTS_MAX:],
        )  # fmt: skip
        self._save()

    def _fresh(self, machine: FlightMachine) -> _Open:
        epoch = self._outbox.epoch
        return _Open(
            machine.period, machine.counters, machine.period.id(self._tail.tail, epoch), epoch,
            self._outbox.next_seqs(), [], [self._outbox.boot],
        )  # fmt: skip

    def _try_save(self) -> None:
        """At start: a full disk must not keep the daemon from starting; the next look saves."""
        try:
            self._follow_epoch()
            self._save()
        except Unreachable as error:
            event("period.waits", why=error.what)

    def _save(self) -> None:
        self._outbox.put(STATE_KEY, msgspec.msgpack.encode(self._open))


def _is_covered(stream: str) -> bool:
    """A thinned block is counted where it was recorded, by the record that it stands for."""
    return stream not in NOT_COVERED and not is_thinned(stream)


def restore_landing(keeper: PeriodKeeper) -> bool:
    """Whether the open flight has touched down already, for the phase machine's first guess."""
    return keeper.machine.period.oooi.on_ns is not None
