"""End to end: the real programs fly a short hop, and something goes wrong.

Each test names the invariants of docs/architecture.md that it shows on the whole. Every run
compares all samples published with all in the lake, bit by bit.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from pathlib import Path
from typing import Any, TypeAlias

import nats
import pytest

from edge.outbox.devicekey import load_keyring
from edge.outbox.recovery import Copy
from hil.bench import Bench
from tests.e2e.runs import Event, Expect, Phase, failed, fly, hop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(170)]
Ledgers: TypeAlias = "list[dict[str, int]]"


def test_cut_links_lose_nothing_and_a_bundle_is_refused_in_the_air_and_taken_at_the_stand(
    tmp_path: Path,
) -> None:
    """Invariants 2, 3, 4, 5, 7, 8, 10."""
    report = fly(
        hop(
            Event(phase=Phase.TAXI_OUT, after_s=5, action="cut", for_s=60),
            Event(phase=Phase.CLIMB, after_s=5, action="offer", bundle="egt_rom_v2"),
            Event(phase=Phase.APPROACH, after_s=20, action="cut", for_s=60),
            rate=10.0,
            parked_s=110.0,  # at 20 x a loaded machine has too little of the stand
            expect=Expect(refused=("egt_rom_v2",), activated=("egt_rom_v2",)),
        ),
        tmp_path,
    )
    assert failed(report) == []
    assert len(report["link"]["outages_s"]) == 2


@pytest.fixture(scope="module")
def killed_twice(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One flight for two tests: the edge dies in the climb, and again while it rolls in, to be back
    when it is parked."""
    return fly(
        hop(
            Event(phase=Phase.CLIMB, after_s=20, action="kill_edge"),
            Event(phase=Phase.TAXI_IN, after_s=5, action="kill_edge", for_s=45),
            rate=10.0,
            parked_s=80.0,
            expect=Expect(outages=2),
        ),
        tmp_path_factory.mktemp("killed"),
    )


def test_the_edge_killed_in_the_air_loses_only_what_it_names(killed_twice: dict[str, Any]) -> None:
    """Invariants 1, 2, 5."""
    assert failed(killed_twice) == []
    flight = next(f for f in killed_twice["flights"] if f["kind"] == "flight")
    assert flight["closure"]["state"] == "gaps"
    assert {gap["cause"] for gap in flight["closure"]["gaps"]} == {"recorder_down"}


def test_power_cut_at_the_stand_before_the_manifest_still_closes_the_flight(
    killed_twice: dict[str, Any],
) -> None:
    """Invariants 1, 2."""
    flight = next(f for f in killed_twice["flights"] if f["kind"] == "flight")
    assert flight["closure"]["state"] != "open"
    assert flight["oooi"]["in"] is not None


@pytest.fixture(scope="module")
def ground_killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Ledgers]:
    """One flight for two tests: programs of the ground die in it; what it left behind is then sent
    again. With the ledger before and after that."""
    found: Ledgers = []

    async def meddle(bench: Bench) -> None:
        found.append(_ledger(bench))
        await _send_again(bench)
        found.append(_ledger(bench))

    report = fly(
        hop(
            Event(phase=Phase.TAXI_OUT, after_s=10, action="kill_ground", program="ingest"),
            Event(phase=Phase.CLIMB, after_s=10, action="kill_ground", program="nats"),
            Event(phase=Phase.DESCENT, after_s=20, action="kill_ground", program="ingest"),
        ),
        tmp_path_factory.mktemp("ground"),
        after=meddle,
    )
    return report, found


def test_ingest_killed_mid_flight_and_the_broker_restarted_empty_cost_nothing(
    ground_killed: tuple[dict[str, Any], Ledgers],
) -> None:
    """Invariants 4, 5: acks follow commits, and durability is at the two ends, not in the broker."""
    assert failed(ground_killed[0]) == []


def test_records_again_in_any_order_and_garbage_change_nothing(
    ground_killed: tuple[dict[str, Any], Ledgers],
) -> None:
    """Invariants 5, 12: what the tail's own credentials can send, doubled, reversed and mutated."""
    before, after = ground_killed[1]
    assert before == after and before["records"] > 50


def test_a_daemon_started_in_flight_records_from_there(tmp_path: Path) -> None:
    """Invariant 11: unknown until proved; the flight has neither out nor off."""
    report = fly(hop(start_phase=Phase.CLIMB), tmp_path)
    assert failed(report) == []
    flight = next(f for f in report["flights"] if f["kind"] == "flight")
    assert flight["oooi"]["out"] is None and flight["oooi"]["on"] is not None


async def _send_again(bench: Bench) -> None:
    sealed = _sealed(bench)
    assert len(sealed) > 50
    rng = random.Random(4)
    async with _as_tail(bench) as client:
        for cls, data in [*reversed(sealed), *sealed]:
            await client.publish(f"aero.v1.OPX.B737-28001.{cls}", data)
            broken = bytearray(data)
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
            await client.publish(f"aero.v1.OPX.B737-28001.{cls}", bytes(broken))
        for size in (0, 1, 7, 300, 100_000):
            await client.publish("aero.v1.OPX.B737-28001.block", rng.randbytes(size))
            await client.publish("aero.v1.OPX.B737-28001.hello", rng.randbytes(size))
        await client.flush()
    await asyncio.sleep(2.0)


def _sealed(bench: Bench) -> list[tuple[str, bytes]]:
    """(class, sealed bytes) of every record the stopped edge still holds as cache."""
    state = bench.rig.edge_state
    with Copy(state / "outbox.db", load_keyring(state / "identity")) as copy:
        return [(held.cls, data) for held, data in copy.records()]


def _ledger(bench: Bench) -> dict[str, int]:
    with sqlite3.connect(f"file:{bench.rig.ground_state / 'ledger.db'}?mode=ro", uri=True) as db:
        return {
            table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
            for table in ("records", "forks", "closures")
        }


class _as_tail:
    """A NATS connection with the tail's own credentials."""

    def __init__(self, bench: Bench) -> None:
        import tomllib

        text = (bench.rig.edge_state / "identity" / "enrolment.toml").read_text()
        self._given = tomllib.loads(text)
        self._url = f"nats://127.0.0.1:{bench.rig.stand.port}"

    async def __aenter__(self) -> nats.NATS:
        self._client = await nats.connect(
            self._url, user=self._given["user"], password=self._given["password"],
            inbox_prefix="_INBOX_none",
        )  # fmt: skip
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()
