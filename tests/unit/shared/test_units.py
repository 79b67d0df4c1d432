"""Units against the values UCUM's own table gives, and what is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Rejected
from shared.units import SPELLINGS, parse_unit

# ucum-essence 2.1: unit, base units, factor.
TABLE = [
    ("mA.h", "s.A", 3.6), ("[ft_i]/min", "m.s-1", 0.00508), ("kg/h", "kg.s-1", 1 / 3600),
    ("[psi]", "kg.m-1.s-2", 6894.757293168), ("[kn_i]", "m.s-1", 0.5144444444),
    ("m[Hg]", "kg.m-1.s-2", 133322.387), ("deg", "1", math.pi / 180), ("%", "1", 0.01),
    ("10*3/s", "s-1", 1000), ("{rot}/min", "s-1", 1 / 60), ("1/(Ohm.F)", "s-1", 1),
    ("kW.h", "kg.m2.s-2", 3.6e6), ("[lbf_av]", "kg.m.s-2", 4.4482216152605), ("mol", "mol", 1),
    ("m.s-2", "m.s-2", 1), ("hPa", "kg.m-1.s-2", 100), ("min", "s", 60), ("cd", "cd", 1),
    ("[HP]", "kg.m2.s-3", 745.69987158227), ("[gal_us]", "m3", 3.785411784e-3),
    ("J/(mol.K)", "kg.m2.s-2.K-1.mol-1", 1), ("dag", "kg", 0.01), ("/s", "s-1", 1),
]  # fmt: skip


@pytest.mark.parametrize(("text", "base", "factor"), TABLE)
def test_unit_has_the_dimension_and_factor_of_ucum(text: str, base: str, factor: float) -> None:
    unit = parse_unit(text)
    assert (unit.base_text, unit.is_scale) == (base, False)
    assert unit.factor == pytest.approx(factor, rel=1e-8)


def test_celsius_is_a_scale_whose_differences_are_kelvin() -> None:
    cel, fahrenheit = parse_unit("Cel"), parse_unit("[degF]")
    assert cel.is_scale and cel.zero == 273.15 and cel.amount.same_as(parse_unit("K"))
    assert fahrenheit.zero + 32 * fahrenheit.factor == pytest.approx(273.15)
    assert not cel.same_as(parse_unit("K"))


@pytest.mark.parametrize(
    ("text", "words"),
    [("Cel/s", "its own zero"), ("1/Cel", "a difference of temperatures is K"), ("foo", "no unit"),
     ("m//s", "missing"), ("m.", "ends too early"), ("(m", "ends too early"), ("m)", "follows"),
     ("", "not a unit"), ("m s", "not a unit"), ("kmin", "no unit"), ("m99", "exponent"),
     ("10*99", "exponent"), ("(" * 12 + "m" + ")" * 12, "nested too deep"), ("m" * 65, "65"),
     ("Ym12.Ym12", "beyond any size"), ("0", "factor"), ("9" * 30, "factor")],
)  # fmt: skip
def test_what_is_no_unit_is_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(Rejected) as refused:
        parse_unit(text)
    assert words in str(refused.value)


@pytest.mark.parametrize("spelling", sorted(SPELLINGS))
def test_spelling_of_data_sheets_is_told_what_to_write(spelling: str) -> None:
    parse_unit(SPELLINGS[spelling])
    with pytest.raises(Rejected) as refused:
        parse_unit(spelling)
    assert SPELLINGS[spelling] in str(refused.value)


@given(st.one_of(st.text(max_size=80), st.text("mskgAVhCel.()/-*10[]_{}", max_size=30)))
def test_any_text_is_a_unit_or_refused(text: str) -> None:
    try:
        unit = parse_unit(text)
    except Rejected:
        return
    assert unit.factor > 0 and math.isfinite(unit.factor)
