"""Which flights get a job, and that flight files are written once by several workers."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import insert

import ground.lake.flights
from ground.config import Paths
from ground.jobs.due import DueFlights, Flight
from ground.jobs.table import Jobs
from ground.lake.claims import Claims
from ground.lake.flights import FlightFiles
from ground.lake.records import Records
from ground.reconcile.request import request, why_none
from ground.reconcile.store import reconciliations
from ground.twins.control import Control, flight_files
from shared.errors import Rejected
from tests.unit.ground.stores import SETTLE_S, Store
from tests.unit.ground.synthetic import FLIGHT, TAIL, Tail

GROUND = f"{TAIL}-3f9a1c-G00001"


class Shop:
    """A ledger and a control.db, and what workers do with them."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        Control.open(folder / "control.db", write=True).engine.dispose()
        paths = Paths(folder)
        self.jobs = Jobs.open(paths)
        self.due = DueFlights(store.read_engine, self.jobs, store.clock)

    def files(self) -> FlightFiles:
        return FlightFiles(self.store.read_engine, self.jobs.engine, self.store.reader,
                           self.folder / "flights", self.store.clock)  # fmt: skip

    def close(self, after_s: float = SETTLE_S) -> None:
        self.store.close_due(after_s)
        files = self.files()
        while files.write_one_due():
            pass

    def queued(self) -> list[tuple[str, int]]:
        return [(one.flight, one.revision) for one in self.due.queue()]


@pytest.fixture
def shop(store: Store, tmp_path: Path) -> Iterator[Shop]:
    one = Shop(store, tmp_path)
    yield one
    one.jobs.engine.dispose()
    one.jobs.reader.dispose()


def test_a_closed_flight_gets_a_job_once_its_file_is_written_and_a_ground_period_none(
    shop: Shop, tail: Tail
) -> None:
    shop.store.put(tail, tail.signal_set(), tail.block("engine", 0, 30))
    shop.close()
    assert shop.queued() == []  # open
    shop.store.put(tail, tail.manifest())
    shop.store.put(tail, tail.manifest(GROUND, parts=[]))
    shop.store.close_due()
    assert shop.queued() == []  # closed, without a file
    shop.close()
    assert shop.queued() == [(FLIGHT, 1)]
    assert shop.queued() == []
    (job,) = shop.jobs.listed()
    assert (job.kind, job.key, job.state) == ("reconcile", f"{TAIL}/{FLIGHT}/1", "queued")
    assert job.payload == {"tail": TAIL, "flight": FLIGHT, "revision": 1}


def test_a_revised_closure_gets_another_job_and_the_one_that_waited_says_why_it_did_not_run(
    shop: Shop, tail: Tail
) -> None:
    blocks = [tail.block("engine", 30 * k, 30) for k in range(2)]
    shop.store.put(tail, tail.signal_set(), blocks[0], tail.manifest())
    shop.close()
    assert shop.queued() == [(FLIGHT, 1)]
    shop.store.put(tail, blocks[1])
    shop.close()
    assert shop.queued() == [(FLIGHT, 2)]
    newest, oldest = shop.jobs.listed()
    assert (newest.state, oldest.state) == ("queued", "failed")
    assert "revision 2 is next" in oldest.error


def test_an_abandoned_flight_is_reconciled_with_what_there_is(shop: Shop, tail: Tail) -> None:
    shop.store.put(tail, tail.signal_set(), tail.block("engine", 0, 30))
    with shop.store.engine.begin() as db:
        db.exec_driver_sql(
            "insert into closures select tail, flight, 1, 'abandoned', 'flight', 1, 0, 1, x'', x'' "
            "from flights"
        )
    assert shop.files().write_one_due()
    assert shop.queued() == [(FLIGHT, 1)]


def test_jobs_are_made_again_from_closures_and_files_but_not_where_there_is_a_result(
    shop: Shop, tail: Tail
) -> None:
    shop.store.put(tail, tail.signal_set(), tail.block("engine", 0, 30), tail.manifest())
    shop.close()
    assert shop.queued() == [(FLIGHT, 1)]
    with shop.jobs.engine.begin() as db:
        db.exec_driver_sql("delete from jobs")
    assert shop.queued() == [(FLIGHT, 1)]
    with shop.jobs.engine.begin() as db:
        db.exec_driver_sql("delete from jobs")
        db.execute(
            insert(reconciliations).values(
                tail=TAIL,
                flight=FLIGHT,
                number=1,
                closure_revision=1,
                closure_state="complete",
                inputs_sha256="",
                result="",
                bytes=0,
                job="j",
                verdicts="[]",
                t_ground_ns=0,
            )
        )
    assert shop.queued() == []


def test_two_workers_that_look_at_once_make_one_job(shop: Shop, tail: Tail) -> None:
    shop.store.put(tail, tail.signal_set(), tail.block("engine", 0, 30), tail.manifest())
    shop.close()
    others = [DueFlights(shop.store.read_engine, shop.jobs, shop.store.clock) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        queued = list(pool.map(lambda one: one.queue(), others))
    assert sorted(map(len, queued)) == [0, 0, 0, 1]
    assert len(shop.jobs.listed()) == 1


# -- by hand


def ground_of(shop: Shop) -> Paths:
    """The store's files where a ground has them."""
    paths = Paths(shop.folder)
    paths.ledger.symlink_to(shop.store.folder / "ledger.db")
    paths.segments.parent.mkdir(parents=True)
    paths.segments.symlink_to(shop.store.folder / "segments")
    return paths


def test_a_person_is_told_why_a_period_cannot_be_reconciled(shop: Shop, tail: Tail) -> None:
    paths = ground_of(shop)
    shop.store.put(tail, tail.signal_set(), tail.block("engine", 0, 30))
    for name, why in ((FLIGHT, "not closed"), ("NONE-F00001", "no such flight"), ("a b", "FLIGHT")):
        with pytest.raises(Rejected, match=why):
            request(paths, shop.jobs, name)
    shop.store.put(tail, tail.manifest())
    shop.store.put(tail, tail.manifest(GROUND, parts=[]))
    shop.store.close_due(SETTLE_S)
    with pytest.raises(Rejected, match="not written yet"):
        request(paths, shop.jobs, FLIGHT)
    with pytest.raises(Rejected, match="ground period"):
        request(paths, shop.jobs, GROUND)
    shop.close()
    job = request(paths, shop.jobs, FLIGHT)
    assert job.id == request(paths, shop.jobs, FLIGHT).id


def test_a_file_that_cannot_be_written_is_why_there_is_no_job(
    shop: Shop, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> int:
        raise Rejected("too many samples", "test")

    monkeypatch.setattr(ground.lake.flights, "write_flight", broken)
    shop.store.put(tail, tail.signal_set(), tail.block("engine", 0, 30), tail.manifest())
    shop.close()
    assert shop.queued() == []
    row = shop.store.records.flight(FLIGHT)
    assert row is not None and "too many samples" in why_none(shop.jobs, row)


def test_a_handler_refuses_what_is_not_there_or_not_of_that_revision(
    shop: Shop, tail: Tail
) -> None:
    from ground.reconcile.job import _need

    shop.store.put(tail, tail.signal_set(), tail.block("engine", 0, 30), tail.manifest())
    shop.store.put(tail, tail.manifest(GROUND, parts=[]))
    shop.store.close_due(SETTLE_S)
    records: Records = shop.store.records
    for flight, revision, why in (("NONE", 1, "no such closed"), (FLIGHT, 2, "of revision 1 now"),
                                  (GROUND, 1, "ground period")):  # fmt: skip
        with pytest.raises(Rejected, match=why):
            _need(records, TAIL, flight, revision)
    _need(records, TAIL, FLIGHT, 1)


# -- flight files


def test_two_workers_write_a_flight_file_once(
    shop: Shop, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.store.put(tail, tail.signal_set(), tail.block("engine", 0, 30), tail.manifest())
    shop.store.close_due()
    written, inside, go = [], threading.Event(), threading.Event()
    real = ground.lake.flights.write_flight

    def slow(records: Records, due: object, path: Path) -> int:
        written.append(path.name)
        inside.set()
        assert go.wait(10)
        return real(records, due, path)  # type: ignore[arg-type]  # passed on as it is

    monkeypatch.setattr(ground.lake.flights, "write_flight", slow)
    first, second = shop.files(), shop.files()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(first.write_one_due)
        assert inside.wait(10)
        assert not second.write_one_due()
        go.set()
        assert writing.result(10)
    assert not second.write_one_due()
    assert written == [f"{FLIGHT}.parquet"]
    with shop.jobs.engine.begin() as db:
        assert db.execute(flight_files.select()).one().attempts == 1


def test_what_a_killed_worker_left_beside_a_flight_file_is_removed(shop: Shop, tail: Tail) -> None:
    folder = shop.folder / "flights" / TAIL
    left, other = folder / f".writing-{FLIGHT}-abc", folder / ".writing-OTHER-abc"
    for one in (left, other):
        one.mkdir(parents=True)
        (one / "sorted.db").write_bytes(b"x")
    shop.store.put(tail, tail.signal_set(), tail.block("engine", 0, 30), tail.manifest())
    shop.close()
    assert not left.exists() and other.exists()


def test_a_claim_is_of_one_holder_and_free_when_it_ends(tmp_path: Path) -> None:
    one, two = Claims(tmp_path / "claims"), Claims(tmp_path / "claims")
    with one.claim("a") as held:
        assert held
        with two.claim("a") as again, two.claim("b") as other:
            assert not again and other
        with two.claim("a") as again:  # the refused one released nothing
            assert not again
    with two.claim("a") as held:
        assert held
        one.close()
        with Claims(tmp_path / "claims").claim("a") as again:
            assert not again
    two.close()


def test_keys_of_flights_sort_under_their_tail() -> None:
    one = Flight("T1", "T1-aa-F00001", 3)
    assert one.key == "T1/T1-aa-F00001/3" and one.key.startswith(one.prefix)
