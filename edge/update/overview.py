"""Updates at a glance: what is live, what waits and for what, and every decision that led there.

In: a state folder, and a copy of its outbox. Out: an `Overview`. Always holds: nothing is written;
what the recorder kept is read as it was at one commit.
"""

from __future__ import annotations

import re
import shutil
from collections import deque
from pathlib import Path

import msgspec

from edge.outbox.copy import StoreCopy
from edge.update.disk import PosixDisk
from edge.update.floor import FILE
from edge.update.keptroles import METADATA_BYTES_MAX, KeptRole, kept_roles
from edge.update.memory import UpdateMemory, recall
from edge.update.needed import what_is_needed
from edge.update.probation import Probation, ProbationState
from edge.update.slots import BundleSet, Slots, SlotsView
from shared.envelope import open_envelope
from shared.errors import Rejected, TailTwinError
from shared.messages import Audit, decode

_NONCE = re.compile(r" for nonce [0-9a-f]+")
KINDS = ("update", "slot", "request")


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    release: int
    file: str
    muted: str = ""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One decision, as it was recorded. t_ns: wall clock where it is known, else event time."""

    t_ns: int
    flight: str
    kind: str
    decision: str
    subject: str
    phase: str
    reasons: list[str]
    detail: dict[str, str]


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """set_id: empty when nothing is installed, or it is damaged: `fault` says which."""

    set_id: str
    slot: str
    bundles: list[Bundle]
    fault: str
    last_good: str
    goes_back_to: str
    """Id of the set that a swap back makes live; empty when there is none that is whole."""
    left: list[str]
    probation: ProbationState | None
    probation_waits_for: str
    waits: UpdateMemory
    roles: list[KeptRole]
    needed: list[str]
    decisions: list[Told]


def look(state_dir: Path, copy: StoreCopy, last: int, wall_ns: int, scratch: Path) -> Overview:
    """last: how many decisions, the newest ones. wall_ns: this computer's clock. scratch: a folder
    for a copy of the trust."""
    slots, fault, live = Slots(state_dir), "", None
    try:
        live = slots.live()
    except TailTwinError as error:
        fault = str(error).partition("\n")[0]
    view = _view(slots)
    state = _probation(copy, live)
    return Overview(
        set_id=live.id if live else "", slot=live.slot if live else "", fault=fault,
        bundles=_bundles(live, state), last_good=view.last_good,
        goes_back_to=_behind(slots), left=list(view.left),
        probation=state, probation_waits_for=Probation(state).waits_for() if state else "",
        waits=recall(copy.kept("offers")), roles=kept_roles(state_dir / "tuf"),
        needed=_needed(state_dir / "tuf", scratch, wall_ns),
        decisions=decisions(copy, last),
    )  # fmt: skip


def decisions(copy: StoreCopy, last: int) -> list[Told]:
    """The newest, oldest first."""
    found: deque[Told] = deque(maxlen=last)
    for record in copy.records("audit"):
        if record.sealed is None:
            continue
        try:
            envelope = open_envelope(record.sealed)
            audit = decode(Audit, envelope.payload, "audit")
        except Rejected:
            continue
        if audit.kind in KINDS:
            wall = audit.detail.get("t_ns", "")
            found.append(
                Told(
                    t_ns=int(wall) if wall.isdecimal() else envelope.t_event_ns,
                    flight=envelope.flight, kind=audit.kind, decision=audit.decision,
                    subject=audit.subject, phase=audit.phase, reasons=audit.reasons,
                    detail=audit.detail,
                )
            )  # fmt: skip
    return list(found)


def _needed(trust: Path, scratch: Path, wall_ns: int) -> list[str]:
    """Asked on a copy: whoever asks may make a nonce, and only the session may write the floor."""
    copied = scratch / "tuf"
    for path in [trust / FILE, trust / "image" / "root.json", *trust.glob("*/metadata/*.json")]:
        if path.is_file():
            to = copied / path.relative_to(trust)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)
    copied.mkdir(exist_ok=True)
    before = PosixDisk().read(copied / FILE, METADATA_BYTES_MAX)
    needed = list(what_is_needed(copied, wall_ns))
    if PosixDisk().read(copied / FILE, METADATA_BYTES_MAX) != before:
        needed = [_NONCE.sub("; the next session makes its nonce", text) for text in needed]
    return needed


def _view(slots: Slots) -> SlotsView:
    try:
        return slots.view()
    except TailTwinError:  # `active` itself is damaged
        return SlotsView()


def _behind(slots: Slots) -> str:
    try:
        behind = slots.fallback()
    except TailTwinError:
        return ""
    return behind.id if behind is not None else ""


def _probation(copy: StoreCopy, live: BundleSet | None) -> ProbationState | None:
    if live is None or not live.probation:
        return None
    data = copy.kept("probation")
    try:
        state = msgspec.msgpack.decode(data, type=ProbationState) if data else None
    except msgspec.DecodeError:
        state = None
    if state is None or state.set_id != live.id:
        names = tuple(b.name for b in live.bundles)
        return ProbationState(set_id=live.id, names=names, fresh=(), since_ns=0)
    return state


def _bundles(live: BundleSet | None, state: ProbationState | None) -> list[Bundle]:
    muted = {**(live.muted_bundles if live else {}), **(state.failed if state else {})}
    return [
        Bundle(name=b.name, release=b.release, file=b.file,
               muted=(live.muted if live else "") or muted.get(b.name, ""))
        for b in (live.bundles if live else ())
    ]  # fmt: skip
