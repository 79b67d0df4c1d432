"""What was decided of an update, and on what grounds: the record of every step.

In: a gate decision, a set, reasons. Out: frozen values for the audit, the report and people.
Always holds: a decision says who brought the offer, at which step it stood, what the gate saw with
the age of each input, and the set it was about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from edge.update.gate import GATE_ROLES, NEVER_NS, GateDecision, Observation
from shared.quality import describe
from signing.verify.declared import Counted

Step = Literal[
    "offer", "download", "admission", "acceptance", "activation", "swap", "load", "probation",
    "rollback",
]  # fmt: skip
Decision = Literal[
    "refused", "deferred", "fetched", "unchanged", "failed", "activated", "muted", "accepted",
    "passed", "due", "rolled_back",
]  # fmt: skip
Origin = Literal["notice", "media", "technician", "director", "restart", "aircraft"]
"""`aircraft`: nobody asked for it; what the models did, or the slots' own state, decided."""
CHANGES: frozenset[str] = frozenset({"activated", "muted", "passed", "rolled_back"})
"""Decisions after which something else runs aboard, or stands otherwise."""
REFUSALS: frozenset[str] = frozenset({"refused", "failed", "muted", "rolled_back"})


class UpdateReason(msgspec.Struct, frozen=True):
    """code: for machines. text: with figures, for people."""

    code: str
    text: str


class UpdateDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided of one offer, or of the live set, at one step.

    bundle: the target that was offered, or empty where whatever is directed was looked at. name,
    release: of that bundle in the set. `refused` and `deferred` stay pending, `failed` too when
    `is_pending`. t_ns: wall clock. inputs: what the gate saw, by role.
    """

    bundle: str
    phase: str
    step: Step
    decision: Decision
    reasons: tuple[UpdateReason, ...] = ()
    is_pending: bool = False
    name: str = ""
    release: int = 0
    t_ns: int = 0
    origin: str = ""
    by: str = ""
    set_id: str = ""
    to_set_id: str = ""
    """Where a swap back led."""
    bundles: tuple[str, ...] = ()
    """The set, as `name release`."""
    gate: Literal["open", "shut"] = "shut"
    inputs: Mapping[str, str] = {}

    def texts(self) -> list[str]:
        return [f"{r.code}: {r.text}" for r in self.reasons]

    def detail(self) -> dict[str, str]:
        """For the audit record."""
        detail = {
            "step": self.step, "name": self.name, "release": str(self.release),
            "pending": str(self.is_pending).lower(), "origin": self.origin, "by": self.by,
            "set": self.set_id, "to": self.to_set_id, "bundles": ", ".join(self.bundles), "gate": self.gate,
            "inputs": ", ".join(f"{role} {seen}" for role, seen in self.inputs.items()),
            "t_ns": str(self.t_ns),
        }  # fmt: skip
        return {key: value for key, value in detail.items() if value}


def gate_reasons(gate: GateDecision) -> tuple[UpdateReason, ...]:
    return tuple(UpdateReason(reason.code, reason.text) for reason in gate.reasons)


def seen_by(gate: GateDecision) -> dict[str, str]:
    """`{value} {quality} {age} s` of every role that was ever heard."""
    if gate.inputs is None:
        return {}
    seen = {role: getattr(gate.inputs, role) for role in GATE_ROLES}
    return {role: _said(one) for role, one in seen.items() if one.age_ns != NEVER_NS}


def _said(seen: Observation) -> str:
    value = "none" if seen.value is None else f"{seen.value:.6g}"
    return f"{value} {describe(seen.quality)} {seen.age_ns / 1e9:.2f} s"


def named(bundles: Iterable[Counted]) -> tuple[str, ...]:
    """A set for people, by name."""
    return tuple(sorted(f"{b.name} {b.release}" for b in bundles))
