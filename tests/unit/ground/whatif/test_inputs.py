"""What may be asked, and how the rest is refused: by name, with what would be right."""

import msgspec
import pytest

from ground.whatif.inputs import KNOWN, read
from ground.whatif.request import Asked, check, parse_request
from shared.errors import Rejected

POINT = {"n1": 90, "mach": 0.78, "altitude": 35_000}


@pytest.mark.parametrize(
    ("part", "name", "value", "is_"),
    [
        ("point", "n1", "90 %", 90.0), ("point", "altitude", "10668 m", 35_000.0),
        ("point", "ambient", "323.15 K", 50.0), ("point", "ambient", "122 [degF]", 50.0),
        ("point", "bleed", "off", 0.0), ("point", "anti_ice", True, 1.0),
        ("set", "isa_dev", "+15", 15.0),
        ("set", "hpc_eff", "-2%", -2.0), ("set", "hpc_eff", "\u22122 %", -2.0),
        ("set", "hpc_eff", "-0.02 1", -2.0), ("set", "payload", "+2 t", 2000.0),
        ("set", "altitude", -2000, -2000.0), ("tank", "heat_leak", "20 %", 20.0),
    ],
)  # fmt: skip
def test_a_value_is_read_in_its_unit(part: str, name: str, value: object, is_: float) -> None:
    assert read(part, name, value) == pytest.approx(is_, abs=1e-3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("part", "name", "value", "says"),
    [
        ("set", "hpc_ef", -2, "did you mean hpc_eff?"), ("set", "egt", 3, "what the model answers"),
        ("set", "heat_leak", 3, "tank point has it"), ("point", "n1", "90 rpm", "no unit 'rpm'"),
        ("set", "isa_dev", "15 Cel", "has its own zero"), ("set", "hpc_eff", "-2 kg", "does not measure"),
        ("set", "altitude", "+2000 ft", "not UCUM"), ("set", "altitude", "2000", "has no sign"),
        ("set", "n1", 2, "has no sign"), ("set", "isa_dev", 99, "99 K is out of range"),
        ("set", "hpc_eff", -40, "out of range"), ("point", "mach", float("nan"), "not finite"),
        ("point", "mach", "0.78.1", "a unit is missing"),
        ("point", "mach", "on", "not a number"), ("point", "n1", "9" * 500, "not a number"),
        ("point", "mach", "1e3", "no unit"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_by_name(part: str, name: str, value: object, says: str) -> None:
    with pytest.raises(Rejected, match=says) as error:
        read(part, name, value)  # type: ignore[arg-type]
    assert error.value.where == f"{part}.{name}"


def test_every_input_has_a_unit_that_is_one_and_bounds() -> None:
    from shared.units import parse_unit

    for inputs in KNOWN.values():
        for one in inputs.values():
            parse_unit(one.unit)
            assert one.low < one.high and one.about


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        ({}, "flight, point"), ({"point": POINT, "flight": "F1"}, "flight, point"),
        ({"point": {"n1": 90}}, "point"), ({"point": {**POINT, "tat": 1, "isa_dev": 2}}, "point"),
        ({"point": POINT, "set": {"ambient": 20, "isa_dev": 2}}, "set"),
        ({"point": POINT, "set": {"payload": "+2 t"}}, "set.payload"),
        ({"point": POINT, "set": {"gross_weight": "50 t"}}, "set.gross_weight"),
        ({"point": POINT, "set": {"n1": "+1 %"}, "hold": "thrust"}, "set.n1"),
        ({"flight": "../etc"}, "flight"), ({"point": POINT, "hours": 1e9}, "hours"),
        ({"model": "tank", "point": POINT}, "tank point.n1"), ({"model": "tank", "flight": "F"}, "flight"),
        ({"point": POINT, "egt_limit": "5 kg"}, "egt_limit"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_together_is_refused(asked: dict[str, object], where: str) -> None:
    with pytest.raises(Rejected) as error:
        parse_request(msgspec.json.encode(asked))
    assert error.value.where == where and error.value.remedy


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"flights": "x"}', b'{"model": "moon"}', b"\xff", b" " * 9000,
             b'{"point": {"n1": null}}', b'{"point": {"n1": [1]}}', b"[" * 5000]
)  # fmt: skip
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(Rejected, match=r"what-if|not a request|over the cap"):
        parse_request(body)


def test_the_same_request_has_the_same_hash() -> None:
    first = check(Asked(point=dict(POINT), set={"isa_dev": "15 K"}))
    second = check(Asked(point=dict(POINT), set={"isa_dev": 15}))
    assert first.sha256 == second.sha256
    assert first.sha256 != check(Asked(point=dict(POINT), set={"isa_dev": 16})).sha256
