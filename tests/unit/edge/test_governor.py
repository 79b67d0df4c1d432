"""The governor's decisions, as tables: over budget, calm, in between, unknown."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from edge.governor import (
    LADDER,
    STEPS,
    Action,
    Figures,
    GovernorState,
    Hysteresis,
    Measure,
    Step,
    budget_of,
    bulk_factor,
    decide,
)
from shared.profile import ComputeProfile

S = 1_000_000_000
RULE = Hysteresis(enter_s=15, leave_s=60)
BUDGET: dict[Measure, float] = {"cpu": 15.0, "memory": 256.0, "storage": 1000.0, "lag": 40.0}
EASY: dict[Measure, float] = {"cpu": 5.0, "memory": 100.0, "storage": 100.0, "lag": 0.0}


def play(
    spans: Iterable[tuple[Figures, float]], state: GovernorState | None = None,
    able: Iterable[Step] = STEPS, start_s: float = 0.0,
) -> tuple[GovernorState, list[tuple[float, Action]]]:  # fmt: skip
    """Look every 5 s through spans of (figures, seconds); the end, and (s, action)."""
    state, told, now_s = state or GovernorState(), [], start_s
    for figures, seconds in spans:
        for _ in range(round(seconds / 5)):
            now_s += 5
            state, action = decide(figures, BUDGET, state, round(now_s * S), RULE, tuple(able))
            if action is not None:
                told.append((now_s, action))
    return state, told


def steps(told: list[tuple[float, Action]]) -> list[tuple[float, str, str]]:
    return [(at, action.decision, action.step) for at, action in told]


def test_within_budget_nothing_happens() -> None:
    state, told = play([(EASY, 3600)])
    assert not told
    assert state.shed == ()


def test_a_burst_shorter_than_the_hysteresis_sheds_nothing() -> None:
    _, told = play([(EASY | {"cpu": 90.0}, 15), (EASY, 5), (EASY | {"cpu": 90.0}, 15)])
    assert not told


def test_over_the_cpu_budget_everything_goes_in_the_stated_order_one_at_a_time() -> None:
    state, told = play([(EASY | {"cpu": 30.0}, 120)])
    assert steps(told) == [
        (20, "shed", "models"), (35, "shed", "bulk_2"), (50, "shed", "bulk_5"),
        (65, "shed", "kpis"), (80, "exhausted", ""),
    ]  # fmt: skip
    assert state.shed == STEPS
    assert state.is_exhausted
    assert told[0][1].reasons == ("cpu is 30 % of one core, at most 15, for 15 s",)


@pytest.mark.parametrize(
    ("measure", "value", "expected"),
    [
        ("cpu", 16.0, ["models", "bulk_2", "bulk_5", "kpis"]),
        ("lag", 41.0, ["models", "bulk_2", "bulk_5", "kpis"]),
        ("memory", 257.0, ["models"]),
        ("storage", 1001.0, ["bulk_2", "bulk_5", "kpis"]),
    ],
)
def test_only_what_helps_against_what_is_exceeded_goes(
    measure: Measure, value: float, expected: list[str]
) -> None:
    state, told = play([(EASY | {measure: value}, 300)])
    assert [action.step for _, action in told if action.decision == "shed"] == expected
    assert list(state.shed) == expected


def test_steps_with_nothing_to_shed_are_left_out() -> None:
    state, _ = play([(EASY | {"cpu": 30.0}, 120)], able=("bulk_2", "bulk_5"))
    assert state.shed == ("bulk_2", "bulk_5")


def test_what_was_shed_comes_back_in_reverse_order_each_after_its_calm() -> None:
    _, told = play([(EASY | {"cpu": 30.0}, 70), (EASY, 400)])
    assert steps(told)[4:] == [
        (135, "restored", "kpis"), (195, "restored", "bulk_5"), (255, "restored", "bulk_2"),
        (315, "restored", "models"),
    ]  # fmt: skip


def test_between_calm_and_budget_nothing_changes() -> None:
    state, told = play([(EASY | {"cpu": 30.0}, 20), (EASY | {"cpu": 13.0}, 3600)])
    assert steps(told) == [(20, "shed", "models")]
    assert state.shed == ("models",)


def test_what_cannot_be_measured_neither_sheds_nor_restores() -> None:
    hot: dict[Measure, float] = EASY | {"cpu": 30.0}
    blind: dict[Measure, float] = {m: v for m, v in EASY.items() if m != "cpu"}
    _, told = play([(hot, 20), (blind, 3600)])
    assert steps(told) == [(20, "shed", "models")]
    assert play([(blind, 3600)])[1] == []


def test_a_step_that_had_to_go_again_soon_waits_twice_as_long() -> None:
    state, told = play([(EASY | {"memory": 300.0}, 20)])
    waits = []
    for _ in range(6):
        end_s = told[-1][0]
        state, told = play([(EASY, 1200)], state, start_s=end_s)
        waits.append(told[0][0] - end_s)
        state, told = play([(EASY | {"memory": 300.0}, 20)], state, start_s=told[0][0])
    assert waits == [65, 125, 245, 485, 965, 965]  # 5 s until the first calm look


def test_after_a_long_calm_the_patience_starts_over() -> None:
    state, told = play([(EASY | {"memory": 300.0}, 20), (EASY, 80 + 17 * 60)])
    state, told = play([(EASY | {"memory": 300.0}, 20)], state, start_s=told[-1][0] + 17 * 60)
    state, told = play([(EASY, 80)], state, start_s=told[-1][0])
    assert steps(told)[0][1:] == ("restored", "models")


def test_that_nothing_is_left_is_told_once_in_a_while() -> None:
    _, told = play([(EASY | {"memory": 300.0}, 1800)])
    exhausted = [at for at, action in told if action.decision == "exhausted"]
    assert len(exhausted) == 2
    assert exhausted[1] - exhausted[0] >= RULE.patience_max * RULE.leave_s


def test_a_paced_bench_is_judged_by_memory_and_storage_only() -> None:
    compute = ComputeProfile(name="x", arch="any", cpu_percent_max=7.0)
    assert budget_of(compute, is_paced=True) == {"memory": 256, "storage": 1000}
    assert budget_of(compute, is_paced=False)["cpu"] == 7.0


def test_bulk_is_recorded_at_every_reading_every_second_every_fifth() -> None:
    assert [bulk_factor(STEPS[:n]) for n in range(5)] == [1, 1, 2, 5, 5]


def test_no_step_of_the_ladder_is_an_alert_or_the_recorder() -> None:
    assert [rung.step for rung in LADDER] == ["models", "bulk_2", "bulk_5", "kpis"]
