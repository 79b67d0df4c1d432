"""Whatever the figures do: order, hysteresis, one step at a time, and the way back."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.governor import LADDER, STEPS, GovernorState, Hysteresis, Measure, decide

S = 1_000_000_000
RULE = Hysteresis(enter_s=15, leave_s=60)
BUDGET: dict[Measure, float] = {"cpu": 15.0, "memory": 256.0, "storage": 1000.0, "lag": 40.0}
RATIO = st.one_of(st.none(), st.sampled_from([0.0, 0.5, 0.79, 0.81, 1.0, 1.01, 3.0]))
LOOK = st.fixed_dictionaries(dict.fromkeys(BUDGET, RATIO))
SPAN = st.tuples(LOOK, st.integers(1, 40), st.floats(0.5, 30.0))


@settings(max_examples=150, deadline=None)
@given(st.lists(SPAN, max_size=12), st.sets(st.sampled_from(STEPS)))
def test_one_known_step_at_a_time_never_faster_than_the_hysteresis_and_always_back(
    spans: list[tuple[dict[Measure, float | None], int, float]], able: set[str]
) -> None:
    state, now_ns = GovernorState(), 0
    last_ns: int | None = None
    since: dict[str, int] = {}
    for look, count, gap_s in spans:
        figures = {m: r * BUDGET[m] for m, r in look.items() if r is not None}
        for _ in range(count):
            now_ns += round(gap_s * S)
            before = set(state.shed)
            state, action = decide(
                figures, BUDGET, state, now_ns, RULE, [s for s in STEPS if s in able]
            )
            changed = before ^ set(state.shed)
            assert set(state.shed) <= able
            assert list(state.shed) == [s for s in STEPS if s in state.shed]
            if action is None or action.decision == "exhausted":
                assert not changed
                continue
            assert changed == {action.step}
            assert last_ns is None or now_ns - last_ns >= RULE.enter_s * S
            last_ns = now_ns
            over = {m for m, r in look.items() if r is not None and r > 1}
            rung = next(r for r in LADDER if r.step == action.step)
            if action.decision == "shed":
                assert rung.relieves & over
                earlier = [r for r in LADDER[: LADDER.index(rung)] if r.step in able]
                assert all(r.step in before for r in earlier if r.relieves >= rung.relieves)
            else:
                assert not over
                assert now_ns - since[action.step] >= RULE.leave_s * S
            since[action.step] = now_ns
    for _ in range(4 * 16 * 60 // 5 + 20):  # every step may have to wait its longest
        now_ns += 5 * S
        calm = {m: 0.1 * bound for m, bound in BUDGET.items()}
        state, _ = decide(calm, BUDGET, state, now_ns, RULE)
    assert state.shed == ()
