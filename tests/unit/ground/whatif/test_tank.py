"""A hydrogen tank over hours: more heat is more pressure, and where it ends is said."""

import pytest

from ground.paper.page import page
from ground.whatif.answer import Answer
from ground.whatif.inputs import TANK_DEFAULTS
from ground.whatif.paper import document
from ground.whatif.request import Asked, check
from ground.whatif.run import Sources, run
from shared.errors import Rejected


def ask(**asked: object) -> Answer:
    def nothing(*_: object) -> None:
        raise AssertionError("a tank needs no engine")

    request = check(Asked(model="tank", **asked))  # type: ignore[arg-type]
    return run(request, Sources(nothing, nothing, nothing))  # type: ignore[arg-type]


def test_more_heat_is_more_pressure_and_less_liquid() -> None:
    answer = ask(hours=0.1, set={"heat_leak": "+100 %"})
    assert answer.scenario is not None
    curves = {curve.name: curve for curve in answer.scenario.curves}
    low, high = (curves["Pressure"].baseline[-1], curves["Pressure"].changed[-1])
    assert low is not None and high is not None and high > low > TANK_DEFAULTS["start_pressure"]
    assert answer.scenario.inputs["changed"]["heat_leak"] == pytest.approx(300.0)
    text = page(document(answer))
    assert "+100 %" in text and text.count("<svg") == 4


def test_from_where_it_runs_dry_there_are_no_numbers_and_it_is_said() -> None:
    answer = ask(hours=0.1, point={"draw": "200 g/s", "fill": "7 %"}, set={})
    assert answer.scenario is not None
    assert answer.scenario.curves[0].baseline[-1] is None
    assert any("no answer from" in text and "fill" in text for text in answer.scenario.events)


def test_a_vent_that_blows_for_seconds_is_seen() -> None:
    answer = ask(hours=0.5, point={"start_pressure": "248 kPa"}, set={"heat_leak": "+100 %"})
    assert answer.scenario is not None
    (vented,) = [curve for curve in answer.scenario.curves if curve.name.startswith("Vented")]
    rows = zip(vented.changed, vented.changed[1:], strict=False)
    assert all(b is not None and a is not None and b >= a for a, b in rows)
    assert vented.unit == "kg" and vented.changed[-1] is not None and vented.changed[-1] > 0.1
    assert any("changed: the vent opens after 0." in text for text in answer.scenario.events)


def test_more_heat_than_the_tank_model_takes_is_refused() -> None:
    with pytest.raises(Rejected, match="makes 25000 W"):
        ask(hours=0.1, point={"heat_leak": "5 kW"}, set={"heat_leak": "+400 %"})
