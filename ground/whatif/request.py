"""Request: what is asked, checked to the last value before anything runs.

In: JSON, or the words of a command line. Out: a frozen `Request` whose values are numbers in the
units of inputs.py. Always holds: what passes here is bounded; what does not is Rejected by name.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from ground.whatif.inputs import TANK_DEFAULTS, Given, Input, Part, number_of, read
from shared.errors import Rejected
from shared.topics import check_identifier

REQUEST_BYTES_MAX = 8 * 1024
TEMPERATURES = ("isa_dev", "ambient", "tat")
HOURS_MAX = 72.0
EGT_LIMIT_CEL = 930.0
"""Take-off limit of indicated EGT of the CFM56-3 (its type-certificate data sheet); the signal set
of the bench has the same. The model's EGT is that of station 4.5, corrected to this engine's sensor
by the trims of its baseline."""

Values = dict[str, Given]


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The JSON of `POST /v1/what-if`."""

    model: Literal["engine", "tank"] = "engine"
    flight: str = ""
    point: Values = {}
    set: Values = {}
    esn: str = ""
    baseline: Literal["esn", "nominal"] = "esn"
    hold: Literal["n1", "thrust"] = "n1"
    egt_limit: Given = EGT_LIMIT_CEL
    hours: float = 10.0


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request. Numbers are in the units of inputs.py."""

    model: Literal["engine", "tank"]
    flight: str
    point: dict[str, float]
    set: dict[str, float]
    esn: str
    baseline: Literal["esn", "nominal"]
    hold: Literal["n1", "thrust"]
    egt_limit_cel: float
    hours: float

    @property
    def sha256(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()


def parse_request(data: bytes) -> Request:
    """A request from JSON."""
    if len(data) > REQUEST_BYTES_MAX:
        raise Rejected(f"{len(data)} bytes, over the cap of {REQUEST_BYTES_MAX}", "what-if")
    try:
        asked = msgspec.json.decode(data, type=Asked)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(f"not a request: {error}", "what-if", "see docs/what-if.md") from None
    return check(asked)


def check(asked: Asked) -> Request:
    """Every value read and bounded, every combination that has no meaning refused."""
    if asked.flight:
        check_identifier(asked.flight, "flight")
    if asked.esn:
        check_identifier(asked.esn, "esn")
    if not 0.1 <= asked.hours <= HOURS_MAX:
        raise Rejected(f"{asked.hours:g} h is out of range", "hours", f"0.1 to {HOURS_MAX:g}")
    if asked.model == "tank":
        _need(not asked.flight, "flight", "no flight here has a tank",
              "say what changes with set, and how long with hours")  # fmt: skip
        point = {**TANK_DEFAULTS, **_read("tank point", asked.point)}
        changes = _read("tank", asked.set)
    else:
        _need(bool(asked.flight) != bool(asked.point), "flight, point",
              "one of the two, not both and not none", "name a flight, or give a point")  # fmt: skip
        point, changes = _point(asked.point), _changes(asked)
    return Request(
        model=asked.model, flight=asked.flight, point=point, set=changes, esn=asked.esn,
        baseline=asked.baseline, egt_limit_cel=_limit(asked.egt_limit), hours=asked.hours,
        hold="thrust" if "payload" in changes else asked.hold,
    )  # fmt: skip


def _limit(given: Given) -> float:
    return number_of(Input("Cel", 300.0, 1400.0, "a limit of EGT"), given, "egt_limit")


def _point(values: Values) -> dict[str, float]:
    if not values:
        return {}
    point = _read("point", values)
    missing = [name for name in ("n1", "mach", "altitude") if name not in point]
    _need(not missing, "point", f"{', '.join(missing)} missing", "n1, mach and altitude are needed")
    said = [name for name in TEMPERATURES if name in point]
    _need(len(said) <= 1, "point", f"{' and '.join(said)} say the temperature twice", "say one")
    if not said:
        point["isa_dev"] = 0.0
    return {"bleed": 1.0, "anti_ice": 0.0, **point}


def _changes(asked: Asked) -> dict[str, float]:
    changes = _read("set", asked.set)
    _need(not ("isa_dev" in changes and "ambient" in changes), "set",
          "isa_dev and ambient say the temperature twice", "say one")  # fmt: skip
    if "payload" in changes:
        _need("gross_weight" in changes, "set.payload", "no model of this tail knows its weight",
              "say set.gross_weight too: the weight the payload is added to")  # fmt: skip
    elif "gross_weight" in changes:
        raise Rejected("changes nothing by itself", "set.gross_weight", "say set.payload too")
    if "n1" in changes and ("payload" in changes or asked.hold == "thrust"):
        raise Rejected("thrust is held, so N1 is what is looked for", "set.n1", "leave one out")
    return changes


def _read(part: Part, values: Values) -> dict[str, float]:
    return {name: read(part, name, value) for name, value in values.items()}


def _need(ok: bool, where: str, what: str, remedy: str) -> None:
    if not ok:
        raise Rejected(what, where, remedy)
