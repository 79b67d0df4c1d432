from collections.abc import Iterator
from pathlib import Path

import pytest

import ground.database
from ground.database import open_reader, open_writer
from ground.jobs.handlers import Kind
from ground.jobs.job import Job, Policy
from ground.jobs.table import Jobs
from shared.errors import Rejected, Unreachable

S = 1_000_000_000
KINDS = {name: Kind(name, "x:y", 1.0, 3) for name in ("reconcile", "what_if")}
POLICY = Policy(lease_ns=10 * S, attempts_max=3, retry_wait_ns=2 * S)


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    writer = open_writer(tmp_path / "control.db")
    with writer.begin():
        pass
    reader = open_reader(tmp_path / "control.db")
    yield Jobs(writer, reader, POLICY, KINDS)
    writer.dispose()
    reader.dispose()


def add(jobs: Jobs, key: str = "T/F/1", now_ns: int = 0) -> Job:
    return jobs.add("reconcile", key, {"flight": "F"}, now_ns)


def claimed(jobs: Jobs, job: Job, now_ns: int, worker: str = "w1") -> Job:
    found = jobs.claim(job.id, worker, now_ns)
    assert isinstance(found, Job)
    return found


def state(jobs: Jobs, job: Job) -> tuple[str, int]:
    found = jobs.get(job.id)
    assert found is not None
    return found.state, found.attempts


def test_the_same_work_is_one_job_while_it_is_queued_or_runs_and_a_new_one_after(
    jobs: Jobs,
) -> None:
    first = add(jobs)
    assert add(jobs).id == first.id
    running = claimed(jobs, first, 1)
    assert add(jobs).id == first.id
    assert jobs.finish(running, "ab" * 32, 2)
    assert add(jobs, now_ns=3).id != first.id


def test_a_claim_is_of_one_worker_until_its_lease_is_over(jobs: Jobs) -> None:
    job = add(jobs)
    held = claimed(jobs, job, 0)
    assert jobs.claim(job.id, "w2", 10 * S - 1) == "later"
    assert jobs.renew(held, 9 * S, 0.5, "half")
    assert jobs.claim(job.id, "w2", 11 * S) == "later"
    taken = claimed(jobs, job, 19 * S, "w2")
    assert (taken.worker, taken.attempts) == ("w2", 2)
    assert "w1 went silent in try 1" in taken.error


def test_a_worker_that_was_thought_dead_changes_nothing_any_more(jobs: Jobs) -> None:
    job = add(jobs)
    slow = claimed(jobs, job, 0)
    quick = claimed(jobs, job, 10 * S, "w2")
    assert not jobs.renew(slow, 11 * S, 0.9, "")
    concluded: list[str] = []
    assert not jobs.finish(slow, "aa" * 32, 12 * S, lambda _db, _job: concluded.append("slow"))
    assert not jobs.fail(slow, "late", 12 * S, again=True)
    assert jobs.finish(quick, "bb" * 32, 12 * S, lambda _db, _job: concluded.append("quick"))
    assert concluded == ["quick"]
    found = jobs.get(job.id)
    assert found is not None and (found.state, found.result) == ("done", "bb" * 32)


def test_a_try_is_known_by_its_worker_too(jobs: Jobs) -> None:
    job = add(jobs)
    old = claimed(jobs, job, 0)
    jobs.give_back(old, 1)
    new = claimed(jobs, job, 2, "w2")
    assert new.attempts == old.attempts
    assert not jobs.renew(old, 3, 0.1, "") and not jobs.finish(old, "aa" * 32, 3)
    assert jobs.renew(new, 3, 0.1, "")


def test_what_was_asked_long_ago_is_forgotten_with_its_result_but_not_what_others_rest_on(
    jobs: Jobs,
) -> None:
    def done(key: str, result: str, now_ns: int, kind: str = "what_if") -> Job:
        job = jobs.add(kind, key, {}, now_ns)
        jobs.finish(claimed(jobs, job, now_ns), result, now_ns)
        return job

    old, shared_, kept = done("a", "aa", 1), done("b", "bb", 2), done("c", "bb", 50)
    flight, waiting = done("d", "dd", 3, "reconcile"), jobs.add("what_if", "e", {}, 4)
    assert jobs.forget("what_if", 40) == ["aa"]
    assert [jobs.get(one.id) for one in (old, shared_)] == [None, None]
    assert all(jobs.get(one.id) for one in (kept, flight, waiting))
    assert jobs.forget("what_if", 40) == []


def test_very_much_that_was_asked_is_forgotten_piece_by_piece_and_the_newest_kept(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ground.jobs.table.FORGOTTEN_MAX", 3)
    for k in range(10):
        job = jobs.add("what_if", str(k), {}, k)
        jobs.finish(claimed(jobs, job, k), f"r{k}", k)
    assert jobs.forget("what_if", 0) == jobs.forget("what_if", 0, 10) == []
    assert [jobs.forget("what_if", 0, 4) for _ in range(3)] == [["r0", "r1", "r2"],
                                                                ["r3", "r4", "r5"], []]  # fmt: skip
    assert jobs.forget("what_if", 8) == ["r6", "r7"]


def test_a_conclusion_that_fails_leaves_the_job_as_it_was(jobs: Jobs) -> None:
    running = claimed(jobs, add(jobs), 0)

    def conclude(_db: object, _job: Job) -> None:
        raise Rejected("no", "test")

    with pytest.raises(Rejected):
        jobs.finish(running, "ab" * 32, 1, conclude)
    assert state(jobs, running) == ("running", 1)


def test_a_failure_is_tried_again_after_a_growing_wait_and_then_dead_with_its_reason(
    jobs: Jobs,
) -> None:
    job, now_ns, waits = add(jobs), 0, []
    for _ in range(3):
        held = claimed(jobs, job, now_ns)
        assert jobs.fail(held, "no weather today", now_ns, again=True)
        found = jobs.get(job.id)
        assert found is not None
        waits.append((found.due_ns - now_ns) // S)
        assert jobs.claim(job.id, "w1", found.due_ns - 1) == "over"
        now_ns = found.due_ns
    assert waits[:2] == [2, 8]
    assert found is not None and (found.state, found.error) == ("dead", "no weather today")
    assert jobs.claim(job.id, "w1", now_ns + S) == "over"


def test_what_was_refused_is_not_tried_again_until_somebody_says_so(jobs: Jobs) -> None:
    job = add(jobs)
    jobs.fail(claimed(jobs, job, 0), "no such flight", 1, again=False)
    assert state(jobs, job) == ("failed", 1)
    again = jobs.retry(job.id, 5)
    assert (again.state, again.attempts, again.error) == ("queued", 0, "no such flight")
    with pytest.raises(Rejected, match="it is queued"):
        jobs.retry(job.id, 6)
    with pytest.raises(Rejected, match="no such job"):
        jobs.retry("0" * 16, 6)


def test_retry_makes_no_second_active_job_of_one_key(jobs: Jobs) -> None:
    job = add(jobs)
    jobs.fail(claimed(jobs, job, 0), "x", 1, again=False)
    other = add(jobs, now_ns=2)
    with pytest.raises(Rejected, match=f"job {other.id} does it"):
        jobs.retry(job.id, 3)


def test_a_job_that_kills_its_workers_is_dead_at_the_claim_after_its_last_try(jobs: Jobs) -> None:
    job = add(jobs)
    for k in range(3):
        claimed(jobs, job, 10 * k * S)
    assert jobs.claim(job.id, "w1", 30 * S) == "over"
    found = jobs.get(job.id)
    assert found is not None and found.state == "dead" and "went silent in try 3" in found.error


def test_a_job_of_a_lost_worker_and_a_lost_queue_is_reaped(jobs: Jobs) -> None:
    job = add(jobs)
    claimed(jobs, job, 0)
    assert jobs.reap(20 * S) == []
    assert [one.id for one in jobs.reap(20 * S + 1)] == [job.id]
    assert jobs.due(20 * S + 1, 10) == [("reconcile", job.id)]
    for start_s, ends in ((21, "queued"), (50, "dead")):
        claimed(jobs, job, start_s * S)
        assert jobs.reap((start_s + 21) * S)
        assert state(jobs, job)[0] == ends


def test_a_worker_that_stops_gives_its_job_back_without_counting_the_try(jobs: Jobs) -> None:
    job = add(jobs)
    assert jobs.give_back(claimed(jobs, job, 0), 1)
    assert state(jobs, job) == ("queued", 0)


def test_too_many_waiting_jobs_are_refused_by_name(jobs: Jobs) -> None:
    for k in range(3):
        add(jobs, f"k{k}")
    with pytest.raises(Rejected, match="3 jobs wait"):
        add(jobs, "k3")
    jobs.add("what_if", "k3", {}, 0)  # of another kind


@pytest.mark.parametrize(
    ("key", "payload", "named"), [("", {}, "key"), ("k" * 201, {}, "key"), ("k", {"x": "y" * (1 << 20)}, "cap")]
)  # fmt: skip
def test_keys_and_payloads_are_bounded(
    jobs: Jobs, key: str, payload: dict[str, str], named: str
) -> None:
    with pytest.raises(Rejected, match=named):
        jobs.add("reconcile", key, payload, 0)


def test_the_newest_job_of_a_prefix_is_found_whatever_stands_in_it(jobs: Jobs) -> None:
    add(jobs, "T_1/F/1", 1)
    newest = add(jobs, "T_1/F/2", 2)
    add(jobs, "TX1/F/3", 3)
    found = jobs.newest("reconcile", "T_1/F/")
    assert found is not None and found.id == newest.id
    assert jobs.newest("reconcile", "T_1/G/") is None


def test_a_database_that_others_hold_is_unreachable_and_nothing_is_half_done(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ground.database, "BUSY_MS", 50)
    impatient = Jobs(jobs.engine, jobs.reader, POLICY, KINDS)
    impatient.engine = open_writer(tmp_path / "control.db")
    with jobs.engine.begin(), pytest.raises(Unreachable, match="locked"):
        add(impatient)
    assert jobs.listed() == []
    impatient.engine.dispose()
