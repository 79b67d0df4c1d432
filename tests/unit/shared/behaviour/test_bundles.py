"""Every kind as a bundle: built, admitted, its self-test reproduced from its own states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.models.admission import STAGES, decide
from shared.behaviour.declaration import load_declaration
from shared.behaviour.model import KINDS, Model
from shared.bundle import Bundle, Input, Instance, Output, parse_bundle, states_of
from shared.bundlefile import pack_declared
from shared.errors import Rejected
from shared.profile import ModelBounds
from tests.fakes import bundles
from tests.fakes.graphs import port
from tests.unit.shared.behaviour.test_other_kinds import FAN, HEAT, HEAT_IN, HEAT_OUT, LAG, lag

LIPO = Path(__file__).parents[4] / "firmware_profiles/models/lipo_3s.toml"
VOLTS = (port("u", "V"),), (port("y", "V"),)
SOUND = {
    "differential-equation": load_declaration(LIPO).model,
    "transfer-function": Model(lag((1,), (5, 1)), *VOLTS, 1.0),
    "state-space": Model(LAG, *VOLTS, 1.0),
    "thermal-rc": Model(HEAT, HEAT_IN, (HEAT_OUT,), 1.0),
    "state-machine": Model(FAN, *VOLTS, 1.0),
}


def bundle_of(model: Model, **changes: Any) -> Bundle:
    """As an author would declare it for one position."""
    instance = Instance(
        position=1, esn="ESN1", inputs={x.name: f"SIG_{x.name}" for x in model.inputs}, measured={}
    )
    declared = msgspec.structs.replace(
        bundles.bundle(),
        name="twin",
        instances=(instance,),
        inputs=tuple(Input(name=x.name, unit=x.unit, valid=x.valid) for x in model.inputs),
        outputs=tuple(Output(name=x.name, unit=x.unit, lsb=0.01) for x in model.outputs),
        states=states_of(model),
        monitors=(),
        requirements=msgspec.structs.replace(bundles.bundle().requirements, nodes=512),
        behaviour=model.behaviour,
    )
    return msgspec.structs.replace(declared, **changes)


def test_every_kind_but_the_table_is_here() -> None:
    assert sorted([*SOUND, "lookup-table"]) == sorted(KINDS)


@pytest.mark.parametrize("kind", sorted(SOUND))
def test_bundle_of_every_kind_is_admitted(kind: str) -> None:
    _, data = pack_declared(bundle_of(SOUND[kind]))
    for stage in STAGES:
        result = decide(stage, data, ModelBounds())
        assert result.ok, result.reasons


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"states": ()}, "states are not those of the behaviour"),
        (
            {"rate_hz": 2.0, "behaviour": msgspec.structs.replace(LAG, a=((1.0, 2.0),))},
            "is not \\[1\\]",
        ),
    ],
)
def test_bundle_whose_behaviour_does_not_fit_is_refused(
    changes: dict[str, Any], words: str
) -> None:
    text = msgspec.json.encode(bundle_of(SOUND["state-space"], **changes))
    with pytest.raises(Rejected, match=words):
        parse_bundle(text, "here")


def test_unstable_model_is_refused_before_it_becomes_a_bundle() -> None:
    """Aboard only the declaration is read; whether it is stable is asked where it is built."""
    growing = Model(msgspec.structs.replace(LAG, a=((1.0,),)), *VOLTS, 1.0)
    with pytest.raises(Rejected, match="grows without bound"):
        pack_declared(bundle_of(growing))
