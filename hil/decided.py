"""What was decided of updates, by the records on the ground.

In: the audit trail of updates, the twin's state and its version report, as the API gives them, and
which bundles the scenario names. Out: rows for report.json, and checks.
Always holds: nothing here is the bench's own word; what the ground does not have did not happen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hil.scenario import Expect

Check = tuple[str, bool, str]
Row = dict[str, Any]
EVENT_TIME_FROM = "2000"
"""A record from before the first reading has no event time, and the API says 1970."""
DETAIL_CHARS_MAX = 300


@dataclass(frozen=True, slots=True)
class Published:
    """A bundle of the scenario in the image repository."""

    target: str
    name: str
    release: int

    @property
    def label(self) -> str:
        """As decisions name it."""
        return f"{self.name} {self.release}"

    @property
    def file(self) -> str:
        """As state records and manifests name it."""
        return self.target.rpartition("/")[2].removesuffix(".tar.zst")


@dataclass(frozen=True, slots=True)
class Told:
    """What the ground says of the tail: rows oldest first, state and version report."""

    rows: list[Row]
    state: dict[str, Any]
    version: dict[str, Any]


def rows(updates: list[Row]) -> list[Row]:
    """report.json's `updates`, oldest first: by the tail's own order, epoch after epoch."""
    began: dict[str, str] = {}
    for update in updates:
        began[update["epoch"]] = min(update["t"], began.get(update["epoch"], "9"))
    ordered = sorted(updates, key=lambda u: (began[u["epoch"]], u["epoch"], u["seq"]))
    found = [_row(update) for update in ordered]
    of_set = {row["set"]: row["bundles"] for row in found if row["set"] and row["bundles"]}
    return [{**row, "bundles": row["bundles"] or of_set.get(row["set"])} for row in found]


def _row(update: Row) -> Row:
    said = update["detail"]
    return {
        "t": update["t"] if update["t"] > EVENT_TIME_FROM else None, "bundle": update["subject"],
        "phase": update["phase"], "decision": update["decision"], "reasons": update["reasons"],
        **{k: said.get(k) for k in ("step", "origin", "by", "set", "bundles", "name", "release")},
        "gate": said.get("gate"), "inputs": said.get("inputs"), "chained": update["chained"],
    }  # fmt: skip


def checks(expect: Expect, bundles: dict[str, Published], told: Told) -> list[Check]:
    """bundles: by the scenario's name of each."""
    found = [_refused(name, bundles[name], told.rows) for name in expect.refused]
    if expect.activated:
        found += _activated([(name, bundles[name]) for name in expect.activated], told)
    found += [_muted(name, bundles[name], told.rows) for name in expect.muted]
    if expect.swapped_back:
        found.append(_swapped_back(expect.swapped_back, told.rows))
    if expect.proven:
        found.append(_proven(told))
    if told.rows:
        broken = sum(row["chained"] is False for row in told.rows)
        found.append(("every decision on updates is chained to the one before it", not broken,
                      f"{len(told.rows)} decisions on the ground, {broken} broken"))  # fmt: skip
    return found


def _refused(name: str, bundle: Published, decided: list[Row]) -> Check:
    air = [
        row for row in decided
        if row["bundle"] == bundle.target and row["decision"] in ("refused", "deferred")
        and row["phase"] not in ("parked", "unknown")
    ]  # fmt: skip
    said = f"{air[0]['phase']}: {'; '.join(air[0]['reasons'])}" if air else "never"
    return f"{name} refused in the air", bool(air), said[:DETAIL_CHARS_MAX]


def _activated(wanted: list[tuple[str, Published]], told: Told) -> list[Check]:
    """Each once, at the stand with the gate open, in this order; the last of them still runs."""
    found, before = [], -1
    for name, bundle in wanted:
        at = [
            i for i, row in enumerate(told.rows)
            if row["decision"] == "activated" and bundle.label in _labels(row)
        ]  # fmt: skip
        ok = len(at) == 1 and at[0] > before and _at_the_open_gate(told.rows[at[0]])
        said = ", ".join(f"set {told.rows[i]['set']} ({told.rows[i]['bundles']}) in phase "
                         f"{told.rows[i]['phase']}, gate {told.rows[i]['gate']}" for i in at)  # fmt: skip
        found.append((f"{name} activated at the stand", ok, said or "never"))
        before = at[0] if at else before
    name, last = wanted[-1]
    runs = (told.state.get("aboard") or {}).get("bundles", [])
    report = told.version.get("runs") or {}
    signed = [f"{b['name']} {b['release']}" for b in report.get("bundles", [])]
    ok = last.file in runs and last.label in signed
    said = f"state: {', '.join(runs) or 'nothing'}; signed report: {', '.join(signed) or 'none'}"
    return [*found, (f"{name} is what runs", ok, said)]


def _muted(name: str, bundle: Published, decided: list[Row]) -> Check:
    air = [
        row for row in decided
        if row["decision"] == "muted" and row["step"] == "probation" and row["name"] == bundle.name
        and row["phase"] not in ("parked", "unknown")
    ]  # fmt: skip
    said = ", ".join(f"{row['phase']}: {'; '.join(row['reasons'])}" for row in air) or "never"
    return f"{name} failed its probation and was muted in flight", len(air) == 1, said


def _swapped_back(times: int, decided: list[Row]) -> Check:
    back = [row for row in decided if row["decision"] == "rolled_back"]
    ok = len(back) == times and all(map(_at_the_open_gate, back))
    said = "; ".join(f"{row['phase']}, gate {row['gate']}: {'; '.join(row['reasons'])}"
                     for row in back)  # fmt: skip
    name = f"swapped back to the last known good set at the stand, {times} time(s)"
    return name, ok, said or "never"


def _proven(told: Told) -> Check:
    passed = [row for row in told.rows if row["decision"] == "passed"]
    report = told.version.get("runs") or {}
    ok = bool(passed) and passed[-1]["set"] == report.get("set_id") and not report.get("probation")
    said = (
        f"passed: set {passed[-1]['set']}, {'; '.join(passed[-1]['reasons'])}" if passed else "no"
    )
    state = "on probation" if report.get("probation", True) else "proven"
    return (
        "what runs at the end passed its probation", ok,
        f"{said}; signed report: set {report.get('set_id')}, {state}",
    )  # fmt: skip


def _labels(row: Row) -> list[str]:
    return str(row["bundles"] or "").split(", ")


def _at_the_open_gate(row: Row) -> bool:
    return bool(row["phase"] == "parked" and row["gate"] == "open")
