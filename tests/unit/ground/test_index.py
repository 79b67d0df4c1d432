import numpy as np
import pytest

from ground.ingest.index import CORRUPT, NO_SET, index, summarise
from ground.ingest.intake import Arrival
from shared.block import encode_block
from tests.unit.ground.stores import arrivals
from tests.unit.ground.synthetic import SET, Tail, make_block, truth

SETS = {SET.sha256: SET}


def arrival(tail: Tail, message: tuple[str, bytes]) -> Arrival:
    return arrivals(tail, message)[0]


@pytest.mark.parametrize("group", ["engine", "air"])
def test_a_summary_counts_good_and_suspect_samples_in_engineering_values(group: str) -> None:
    block = make_block(group, 0, 200)
    summary = summarise(block, SET)
    for position, signal in enumerate(SET.group(group).signal):
        real = truth([block], signal.name)
        value = real.value[real.used]
        expected = [value.min(), value.max(), value.sum(), len(value)]
        np.testing.assert_allclose(summary[position], expected, rtol=1e-12)


def test_a_signal_without_a_usable_sample_adds_nothing() -> None:
    block = make_block("air", 0, 5)
    block.quality[:] = 3
    np.testing.assert_array_equal(summarise(block, SET), [[np.inf, -np.inf, 0, 0]])


def test_a_float_that_is_no_number_is_left_out() -> None:
    block = make_block("engine", 0, 3)
    block.quality[:] = 0
    block.f64[:, 0] = [np.nan, 2.0, np.inf]
    np.testing.assert_array_equal(summarise(block, SET)[2], [2.0, 2.0, 2.0, 1])


def test_a_block_of_an_unknown_set_waits(tail: Tail) -> None:
    assert index(arrival(tail, tail.block("engine", 0, 5)), {}).mark == NO_SET


def test_a_block_that_does_not_fit_its_set_is_marked(tail: Tail) -> None:
    block = make_block("engine", 0, 5)
    for wrong in ({"group": "air"}, {"group": "nowhere"}):
        fields = {name: getattr(block, name) for name in block.__dataclass_fields__} | wrong
        payload = encode_block(type(block)(**fields))
        assert index(arrival(tail, tail.record("block", payload)), SETS).mark == CORRUPT


@pytest.mark.parametrize("cls", ["alert", "audit", "state", "drop"])
def test_a_payload_that_cannot_be_read_is_a_problem_not_an_error(tail: Tail, cls: str) -> None:
    entry = index(arrival(tail, tail.record(cls, b"\xc1 nonsense")), SETS)
    assert entry.problem
    assert entry.rows == []


def test_a_record_of_a_class_without_index_adds_no_row(tail: Tail) -> None:
    assert index(arrival(tail, tail.record("kpi", b"any")), SETS).rows == []
