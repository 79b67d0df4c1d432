"""A worker that fails is one alert, whatever it does while it fails."""

from __future__ import annotations

from edge.models.alerts import AlertBook
from edge.models.host import HostStatus
from edge.models.workeralert import CLEAR_NS, WorkerAlert
from shared.messages import Alert
from shared.phases import Phase

S = 1_000_000_000


def status(state: str, failures: int) -> HostStatus:
    return HostStatus(
        state=state, pid=1, restarts=failures, steps=0, late=0, last_failure="hangs",
        bundles=(), failures=failures,
    )  # fmt: skip


def judged(looks: list[tuple[str, int]], step_ns: int = S) -> list[tuple[int, Alert]]:
    """(look, alert) over looks a second apart."""
    watch, out = WorkerAlert(AlertBook()), list[tuple[int, Alert]]()
    for i, (state, failures) in enumerate(looks):
        for alert in watch.judge(status(state, failures), (i + 1) * step_ns, Phase.CRUISE):
            out.append((i, alert))
    return out


def test_failure_is_an_alert_at_once_and_clears_after_it_ran_for_a_while() -> None:
    looks = [("running", 0)] * 3 + [("down", 1), ("starting", 1)] + [("running", 1)] * 70
    (at, onset), (end, clear) = judged(looks)
    assert at == 3 and onset.change == "onset"
    assert (onset.name, onset.fault_code, onset.ata) == ("model_worker_down", "45-10-001", "451000")
    assert end == 5 + CLEAR_NS // S and clear.change == "clear" and clear.id == onset.id


def test_failure_between_two_looks_is_seen() -> None:
    ((at, onset),) = judged([("running", 0), ("running", 1), ("running", 1)])
    assert at == 1 and onset.change == "onset"


def test_worker_that_keeps_failing_is_one_alert() -> None:
    looks = [(("down", "running")[i % 2], i // 2 + 1) for i in range(300)]
    assert [x.change for _, x in judged(looks)] == ["onset"]


def test_starting_for_the_first_time_or_having_no_set_is_no_failure() -> None:
    assert judged([("starting", 0)] * 20 + [("empty", 0)] * 20) == []


def test_nothing_is_judged_without_event_time() -> None:
    assert WorkerAlert(AlertBook()).judge(status("down", 1), 0, Phase.UNKNOWN) == []
