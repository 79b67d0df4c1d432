"""The hostile corpus: every case is refused before a session exists, in bounded time and memory."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Iterator

import msgspec
import onnxruntime
import pytest

from edge.models.admission import Cost, admit_bytes, decide
from edge.models.graph import examine
from shared.profile import ModelBounds
from tests.tamper.corpus_files import FILES, GOOD, RUN
from tests.tamper.corpus_graphs import BUNDLE, GRAPHS
from tests.tamper.corpus_graphs import GOOD as GOOD_GRAPH

BOUNDS = ModelBounds()
SECONDS_MAX, GROWTH_MB_MAX = 3.0, 200
"""Of one case, on a machine that others use too; the child's own bound is 10 s of CPU."""


@pytest.fixture(autouse=True)
def bounded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No session, little time, little memory."""

    def none_may_exist(*_: object, **__: object) -> None:
        raise AssertionError("a session was made")

    monkeypatch.setattr(onnxruntime, "InferenceSession", none_may_exist)
    before, started = _peak_mb(), time.monotonic()
    yield
    assert time.monotonic() - started < SECONDS_MAX
    assert _peak_mb() - before < GROWTH_MB_MAX


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_corpus_is_as_large_as_the_issue_asks() -> None:
    assert len(FILES) + len(GRAPHS) >= 200 and len(FILES) >= 70 and len(GRAPHS) >= 130


@pytest.mark.parametrize("case", GRAPHS)
def test_hostile_graph_is_refused_by_a_reason_that_names_it(case: str) -> None:
    make, words = GRAPHS[case]
    reasons = examine(make(), BUNDLE, BOUNDS)
    assert any(words in reason for reason in reasons), reasons
    assert len(reasons) <= 16 and all(len(reason) < 1000 for reason in reasons)


@pytest.mark.parametrize("case", FILES)
def test_hostile_file_is_refused_in_the_first_stage(case: str) -> None:
    result = decide("graph", FILES[case](), BOUNDS)
    assert not result.ok and result.reasons and result.reasons[0]
    assert sum(len(x) for x in result.reasons) < 4000


@pytest.mark.parametrize("case", RUN)
def test_fault_that_only_a_run_shows_is_refused_by_the_filtered_child(case: str) -> None:
    make, words = RUN[case]
    assert decide("graph", make(), BOUNDS).ok
    result = asyncio.run(admit_bytes(make(), BOUNDS))
    assert not result.ok and words in result.reasons[0], result.reasons
    assert result.cost.step_us is None


@pytest.mark.parametrize("case", ["endless Loop", "tree that never ends", "ConstantOfShape bomb"])
def test_bare_hostile_graph_is_refused_too(case: str) -> None:
    make, words = GRAPHS[case]
    result = decide("bare", make(), BOUNDS)
    assert any(words in reason for reason in result.reasons)


@pytest.mark.parametrize("case", ["zstd bomb of unknown size", "sparse member of 1 TB"])
def test_bomb_is_refused_by_the_child_within_its_own_bounds(case: str) -> None:
    small = msgspec.structs.replace(BOUNDS, worker_address_space_mb=300, admission_cpu_s=5)
    result = asyncio.run(admit_bytes(FILES[case](), small))
    assert not result.ok and result.cost == Cost()


def test_good_ones_pass_where_the_hostile_fail() -> None:
    assert examine(GOOD_GRAPH, BUNDLE, BOUNDS) == []
    assert decide("graph", GOOD, BOUNDS).ok
    assert decide("bare", GOOD_GRAPH, BOUNDS).ok


def test_bounds_of_the_profile_hold() -> None:
    few = msgspec.structs.replace(BOUNDS, nodes_max=50)
    small = msgspec.structs.replace(BOUNDS, tensor_elements_max=100)
    assert "nodes" in examine(GOOD_GRAPH, BUNDLE, few)[0]
    assert "bound" in examine(GOOD_GRAPH, BUNDLE, small)[0]
