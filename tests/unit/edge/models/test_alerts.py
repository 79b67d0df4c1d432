"""Alert machines: persistence, hysteresis, phases, cap, restart; batch size must not matter."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.models.alerts import STATE_BYTES_MAX, STATES_MAX, AlertBook, Rule
from edge.models.exceedances import Exceedances
from edge.outbox.store import KV_BYTES_MAX
from shared.errors import Corrupt
from shared.messages import Alert
from shared.phases import Phase
from shared.signals import SignalSet, parse_signal_set

S = 1_000_000_000
RULE = Rule(
    name="egt", fault_code="77-21-001", severity="warning", onset=100.0, clear=90.0, high=True,
    persistence_ns=2 * S, clear_persistence_ns=3 * S, phases=(), rate_per_hour_max=2,
    hole_ns=3 * S,
)  # fmt: skip


def run(
    values: list[float],
    rule: Rule = RULE,
    book: AlertBook | None = None,
    start_s: float = 0,
    step_s: float = 1.0,
    phase: Phase = Phase.CRUISE,
) -> list[Alert]:
    book = book or AlertBook()
    t_ns = ((start_s + step_s * np.arange(len(values))) * S).astype(np.int64)
    return book.judge(rule, t_ns, np.array(values, float), phase, lambda i: ("g", i))


def changes(alerts: list[Alert]) -> list[tuple[str, int]]:
    return [
        (a.change, int((a.clear_ns if a.change == "clear" else a.onset_ns) or 0) // S)
        for a in alerts
    ]


def test_alert_arises_when_the_persistence_is_full() -> None:
    (alert,) = run([50, 101, 102, 103, 104])
    assert (alert.change, alert.onset_ns, alert.value) == ("onset", 3 * S, 103.0)
    assert alert.trigger == ("g", 3) and alert.id == f"egt-{3 * S}" and alert.threshold == 100


def test_shorter_excursions_do_not_add_up() -> None:
    assert run([101, 102, 99, 101, 102, 50, 101, 102]) == []


def test_alert_stands_between_the_limits_and_clears_below_for_its_own_persistence() -> None:
    alerts = run([101] * 3 + [95] * 20 + [89] * 2 + [95] + [89] * 4 + [95])
    assert changes(alerts) == [("onset", 2), ("clear", 29)]
    assert alerts[0].id == alerts[1].id and alerts[1].threshold == 90


def test_low_rule_is_the_mirror() -> None:
    low = msgspec.structs.replace(RULE, high=False, onset=13.0, clear=16.0)
    assert changes(run([20, 12, 12, 12, 14, 17, 17, 17, 17], low)) == [("onset", 3), ("clear", 8)]


def test_no_persistence_means_at_once() -> None:
    now = msgspec.structs.replace(RULE, persistence_ns=0, clear_persistence_ns=0)
    assert changes(run([50, 101, 89], now)) == [("onset", 1), ("clear", 2)]


def test_silence_neither_raises_nor_clears() -> None:
    book = AlertBook()
    assert run([101, 101], book=book) == []
    assert run([101], book=book, start_s=100) == []  # after a hole it starts over
    assert changes(run([101, 101], book=book, start_s=101)) == [("onset", 102)]
    assert run([89, 89], book=book, start_s=110) == []
    assert run([89], book=book, start_s=1000) == []
    assert book.standing() == ["egt"]


def test_clock_that_goes_back_adds_nothing() -> None:
    book = AlertBook()
    run([101], book=book, start_s=100)
    assert run([101, 101], book=book, start_s=50) == []
    assert changes(run([101, 101], book=book, start_s=52)) == [("onset", 52)]


def test_inhibited_phase_keeps_it_from_arising_but_not_from_clearing() -> None:
    rule = msgspec.structs.replace(RULE, phases=("cruise",))
    book = AlertBook()
    assert run([101] * 9, rule, book, phase=Phase.PARKED) == []
    assert changes(run([101] * 9, rule, book, 9)) == [("onset", 11)]
    assert changes(run([50] * 9, rule, book, 18, phase=Phase.PARKED)) == [("clear", 21)]


def test_onsets_over_the_cap_are_counted_and_told_once() -> None:
    book = AlertBook()
    wave = ([101] * 3 + [50] * 4) * 5
    alerts = run(wave, book=book)
    assert [a.change for a in alerts] == ["onset", "clear", "onset", "clear", "suppressed"]
    assert (alerts[-1].occurrences, alerts[-1].suppressed) == (3, 1)
    (later,) = run([101] * 3, book=book, start_s=4000)
    assert (later.change, later.occurrences, later.suppressed) == ("onset", 6, 3)


def test_state_survives_a_restart() -> None:
    book = AlertBook()
    run([101] * 5, book=book)
    again = AlertBook()
    again.restore(book.snapshot())
    assert again.standing() == ["egt"]
    assert run([101] * 5, book=again, start_s=5) == []
    (clear,) = run([50] * 9, book=again, start_s=10)
    assert clear.id == f"egt-{2 * S}"


def test_a_latched_alert_stands_until_the_period_is_over_and_a_restart_changes_nothing() -> None:
    rule = msgspec.structs.replace(RULE, latched=True)
    book = AlertBook()
    assert changes(run([101] * 5, rule, book)) == [("onset", 2)]
    again = AlertBook()
    again.restore(book.snapshot())
    assert run([50] * 20, rule, again, start_s=5) == []
    again.release()
    assert changes(run([50] * 9, rule, again, start_s=25)) == [("clear", 28)]


def test_a_full_book_fits_one_row_of_the_outbox_and_an_idle_instance_makes_room() -> None:
    book, start_s = AlertBook(), 4 * 10**9  # the longest times there are
    rules = [
        msgspec.structs.replace(RULE, name=f"{n:032}", esn=f"{n:032}", rate_per_hour_max=10**6)
        for n in range(STATES_MAX + 1)
    ]
    for rule in rules[:STATES_MAX]:
        for wave in range(3):
            run([101] * 4 + [50] * 5, rule, book, start_s + 9 * wave)
    assert len(book.snapshot()) <= KV_BYTES_MAX == STATE_BYTES_MAX
    assert changes(run([101] * 4, rules[-1], book, start_s)) == [("onset", start_s + 2)]
    for rule in rules[1:]:
        run([101] * 4, rule, book, start_s + 30)
    assert len(book.standing()) == STATES_MAX
    assert run([101] * 4, rules[0], book, start_s + 60) == []
    again = AlertBook()
    again.restore(book.snapshot())
    assert again.standing() == book.standing()


def test_a_rule_that_never_rests_does_not_grow_the_book() -> None:
    book = AlertBook()
    always = msgspec.structs.replace(
        RULE, persistence_ns=0, clear_persistence_ns=0, rate_per_hour_max=10**6
    )
    run([101, 50] * 10, always, book)
    before = len(book.snapshot())
    run([101, 50] * 10_000, always, book, 100)
    assert len(book.snapshot()) < before + 20


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x81\xa1x\x01", b"\x81\xa1x\x81\xa2id\x01"])
def test_snapshot_that_is_none_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        AlertBook().restore(data)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([50.0, 89.0, 95.0, 101.0]), min_size=1, max_size=60),
    st.lists(st.integers(1, 9), min_size=1, max_size=60),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_batches_of_any_size_give_the_same_alerts(
    values: list[float], sizes: list[int], up_s: int, down_s: int
) -> None:
    rule = msgspec.structs.replace(
        RULE, persistence_ns=up_s * S, clear_persistence_ns=down_s * S, rate_per_hour_max=60
    )
    whole = changes(run(values, rule))
    book, parts, at = AlertBook(), [], 0
    for size in sizes * len(values):
        if at >= len(values):
            break
        parts += changes(run(values[at : at + size], rule, book, start_s=at))
        at += size
    assert parts == whole == by_samples(values, up_s, down_s)


def by_samples(values: list[float], up_s: int, down_s: int) -> list[tuple[str, int]]:
    """The same by the plainest loop."""
    found: list[tuple[str, int]] = []
    standing, since = False, None
    for t, value in enumerate(values):
        hit = value <= 90 if standing else value >= 100
        since = (t if since is None else since) if hit else None
        if since is not None and t - since >= (down_s if standing else up_s):
            standing, since = not standing, None
            found.append(("onset" if standing else "clear", t))
    return found


SET = b"""
name = "s"
version = 1
airframe = "B737"
[[group]]
name = "fast"
rate_hz = 50.0
signal = [ { name = "A", unit = "Cel", ata = "772100" }, { name = "B", unit = "[psi]" } ]
[[exceedance]]
name = "a_high"
fault_code = "77-21-001"
signal = "A"
onset = 100.0
clear = 90.0
persistence_s = 0.1
[[exceedance]]
name = "b_low"
fault_code = "79-33-001"
signal = "B"
onset = 13.0
clear = 16.0
direction = "low"
persistence_s = 0.0
phases = ["cruise"]
"""


def signals() -> SignalSet:
    return parse_signal_set(SET, "here")


def judge(
    rules: Exceedances, a: list[float], b: list[float], bad: tuple[int, ...] = (), start: int = 0
) -> list[Alert]:
    n = len(a)
    quality = np.zeros((n, 2), np.uint8)
    quality[list(bad)] = 6
    at = start + np.arange(n)
    return rules.judge(
        "fast", at * 20_000_000, at + 1000, np.column_stack([a, b]).astype(float), quality,
        Phase.CRUISE,
    )  # fmt: skip


def test_exceedance_carries_signal_unit_and_the_counter_that_triggered_it() -> None:
    rules = Exceedances(signals(), AlertBook())
    (alert,) = judge(rules, [50] * 10 + [101] * 10, [50] * 20)
    assert (alert.name, alert.signal, alert.unit, alert.ata) == ("a_high", "A", "Cel", "772100")
    assert alert.trigger == ("fast", 1015) and alert.onset_ns == 15 * 20_000_000


def test_samples_that_are_not_good_are_not_judged() -> None:
    rules = Exceedances(signals(), AlertBook())
    assert judge(rules, [101] * 10, [0] * 10, bad=tuple(range(10))) == []
    assert judge(rules, [101, 50, 101, 50], [0, 50, 0, 50], bad=(0, 2), start=10) == []


def test_quiet_batch_leaves_no_state() -> None:
    book = AlertBook()
    assert judge(Exceedances(signals(), book), [50] * 9, [50] * 9) == []
    assert book.snapshot() == b"\x80"


def test_group_without_rules_is_not_looked_at() -> None:
    rules = Exceedances(signals(), AlertBook())
    empty = np.zeros((0, 0))
    none = np.zeros(0, np.int64)
    assert rules.judge("slow", none, none, empty, empty.astype(np.uint8), Phase.CRUISE) == []


def test_persistence_runs_over_batches() -> None:
    rules = Exceedances(signals(), AlertBook())
    assert judge(rules, [101] * 3, [50] * 3) == []
    alerts = judge(rules, [101] * 3, [50, 12, 12], start=3)
    assert [(a.name, a.trigger) for a in alerts] == [
        ("a_high", ("fast", 1005)),
        ("b_low", ("fast", 1004)),
    ]


@pytest.mark.parametrize("rate_hz", [1.0, 0.25, 1 / 64])
def test_a_group_of_a_frame_or_a_superframe_raises_alerts_too(rate_hz: float) -> None:
    text = SET.replace(b"rate_hz = 50.0", f"rate_hz = {rate_hz}".encode())
    slow = parse_signal_set(text, "here")
    rules, step_ns, alerts = Exceedances(slow, AlertBook()), slow.groups[0].period_ns, list[Alert]()
    for i in range(4):
        at, values = np.array([i * step_ns]), np.array([[101.0, 50.0]])
        alerts += rules.judge("fast", at, at, values, np.zeros((1, 2), np.uint8), Phase.CRUISE)
    assert [(alert.name, alert.change) for alert in alerts] == [("a_high", "onset")]
