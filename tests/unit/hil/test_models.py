"""The model of the bench that is meant to fail: sound on the ground, out of its range in the air."""

from __future__ import annotations

import numpy as np
import pytest

from hil.rig import find_declaration
from shared.behaviour.examine import examine
from shared.behaviour.model import run
from shared.bundle import Bundle, parse_bundle
from shared.errors import ConfigError

DECLARATION = find_declaration("oil_temperature_v1")
IDLE, TAKE_OFF = (63.0, 26.0), (97.0, 26.0)  # N2 in %, TAT in Cel, as the demo's flight has them


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return parse_bundle(DECLARATION.read_bytes(), str(DECLARATION))


def said(bundle: Bundle, *pieces: tuple[tuple[float, float], int]) -> np.ndarray:
    """Oil temperature of engine 1, step by step. pieces: (N2, TAT) and how many s."""
    rows = np.concatenate([np.tile(np.array(point, "<f4"), (n, 1)) for point, n in pieces])
    both = np.repeat(rows[:, None, :], len(bundle.instances), axis=1)
    return run(bundle.model, both)[:, 0, 0]


def test_it_passes_the_examination_that_every_declared_model_passes(bundle: Bundle) -> None:
    assert examine(bundle.model).faults == ()


def test_it_is_right_at_idle_and_leaves_its_range_within_two_minutes_of_take_off(
    bundle: Bundle,
) -> None:
    (output,) = bundle.outputs
    assert isinstance(output.valid, tuple)
    low, high = output.valid
    oil = said(bundle, (IDLE, 900), (TAKE_OFF, 120))
    assert 85 < oil[899] < 100  # the plant's engine: 95 Cel after its flight, at idle
    assert (low <= oil[:900]).all() and (oil[:900] <= high).all()
    assert oil[-1] > high


def test_a_model_that_is_nowhere_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="oil_temperature_v1"):
        find_declaration("oil_temperature_v9")
