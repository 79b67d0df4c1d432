"""Ingest as a process behind a real broker: acks, refusals, kills, late records."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select

from ground.database import open_reader
from ground.ingest import schema
from ground.ingest.segments import Place, SegmentReader
from ground.lake.records import Records
from shared.identity import Signer, verify
from shared.messages import Closure, Coverage
from shared.topics import subject
from tests.contract.ground_site import Link, Site, linked
from tests.unit.ground.synthetic import EPOCH, FLIGHT, OPERATOR, TAIL, Tail, wait_for


@pytest.fixture
def tail() -> Tail:
    return Tail()


@pytest.fixture
def site(tmp_path: Path, tail: Tail) -> Iterator[Site]:
    one = Site(tmp_path)
    one.enrol(tail)
    one.start_broker()
    one.start("ingest")
    yield one
    one.stop()


class Read:
    """The ledger from outside."""

    def __init__(self, site: Site) -> None:
        self.engine = open_reader(site.paths.ledger)
        self.reader = SegmentReader(site.paths.segments)
        self.records = Records(self.engine, self.reader)

    def __enter__(self) -> "Read":
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.dispose()
        self.reader.close()

    def count(self, table: object) -> int:
        with self.engine.begin() as db:
            return db.scalar(select(func.count()).select_from(table)) or 0  # type: ignore[arg-type]

    def sealed(self) -> dict[tuple[str, int], bytes]:
        with self.engine.begin() as db:
            return {(row.stream, row.seq): self.reader.read(
                Place(row.segment, row.offset, row.length))
                for row in db.execute(select(schema.records))}  # fmt: skip

    def closure(self) -> Closure | None:
        return self.records.closure(TAIL, FLIGHT)


def test_a_hello_is_answered_with_its_nonce_and_what_is_held(site: Site, tail: Tail) -> None:
    async def go() -> None:
        async with linked(site, tail) as link:
            first = await link.greet(b"first nonce")
            assert first.received == {} and first.epoch == EPOCH
            await link.send(tail.signal_set(), tail.block("engine", 0, 30))
            await link.wait_received("block-engine", 1)
            second = await link.greet(b"second nonce")
            assert second.received == {"state": Coverage(1, []), "block-engine": Coverage(1, [])}
            assert second.safe == second.received
            assert second.ledger == first.ledger

    asyncio.run(go())


def test_duplicates_and_disorder_are_counted_once_and_acknowledged(site: Site, tail: Tail) -> None:
    messages = [tail.signal_set(), *(tail.block("engine", 30 * i, 30) for i in range(60))]

    async def go() -> None:
        async with linked(site, tail) as link:
            await link.greet(b"n")
            many = messages * 3
            random.Random(3).shuffle(many)
            await link.send(*many)
            await link.wait_received("block-engine", 60)

    asyncio.run(go())
    with Read(site) as read:
        assert read.count(schema.records) == 61
        assert set(read.sealed().values()) == {data for _, data in messages}


def test_bad_messages_are_refused_and_the_good_ones_between_them_kept(
    site: Site, tail: Tail
) -> None:
    bad_name = subject(OPERATOR, TAIL, "block")
    noise = random.Random(5)
    forger = Signer(Ed25519PrivateKey.generate())

    async def go() -> None:
        async with linked(site, tail) as link:
            await link.greet(b"n")
            for i in range(30):
                _, sealed = tail.block("engine", 30 * i, 30)
                flipped = bytearray(sealed)
                flipped[noise.randrange(len(flipped))] ^= 1 << noise.randrange(8)
                await link.send(
                    (bad_name, noise.randbytes(noise.randrange(2000))),
                    (bad_name, sealed[: noise.randrange(len(sealed))]),
                    (bad_name, b"\x00" * 900_000),
                    (bad_name, bytes(flipped)),
                    (subject(OPERATOR, TAIL, "alert"), sealed),
                    (subject(OPERATOR, TAIL, "hello"), noise.randbytes(50)),
                    (bad_name, sealed),
                )
            await link.send(tail.manifest(signer=forger))
            await link.wait_received("block-engine", 30)
            ack = await link.greet(b"still there")
            assert "manifest" not in ack.received

    asyncio.run(go())
    with Read(site) as read:
        assert read.count(schema.manifests) == 0
        # A flipped bit in an unhashed field of the envelope makes another identity or a fork;
        # neither may cost a sound record.
        held = read.sealed()
        assert {("block-engine", i) for i in range(30)} <= set(held)


def test_killed_again_and_again_it_holds_everything_once(site: Site, tail: Tail) -> None:
    messages = [tail.signal_set(), *(tail.block("engine", 30 * i, 30) for i in range(400))]
    noise = random.Random(11)

    async def resend(link: Link) -> None:
        """What a tail does: everything not acknowledged, again and again."""
        while True:
            held = link.acks[-1].received if link.acks else {}
            up_to = held.get("block-engine", Coverage(0, [])).up_to
            has_set = held.get("state", Coverage(0, [])).up_to == 1
            if up_to == 400 and has_set:
                return
            await link.send(*messages[:1], *messages[1 + up_to : 1 + up_to + 80])
            await asyncio.sleep(0.05)

    async def go() -> None:
        async with linked(site, tail) as link:
            sending = asyncio.create_task(resend(link))
            for _ in range(4):
                process = site.processes[-1]
                count = len(link.acks)
                await wait_for(lambda n=count: len(link.acks) > n or sending.done())  # type: ignore[misc]
                await asyncio.sleep(noise.random() * 0.05)
                process.kill()
                process.wait()
                site.start("ingest")
            await asyncio.wait_for(sending, 30)

    asyncio.run(go())
    with Read(site) as read:
        sealed = read.sealed()
        assert len(sealed) == 401
        assert set(sealed.values()) == {data for _, data in messages}
        assert read.count(schema.forks) == 0
        assert read.count(schema.blocks) == 400


def test_a_fork_is_acknowledged_kept_and_missing_in_the_closure(site: Site, tail: Tail) -> None:
    block, other = tail.block("engine", 0, 30), tail.block("engine", 30, 30, seq=0)
    tail_set = tail.signal_set()

    async def go() -> None:
        async with linked(site, tail) as link:
            await link.greet(b"n")
            await link.send(tail_set, block, tail.manifest())
            await link.wait_received("manifest", 1)
            with Read(site) as read:
                await wait_for(lambda: read.closure() is not None)
                await link.send(other)
                await wait_for(lambda: (c := read.closure()) is not None and c.revision == 2)
                closure = read.closure()
                assert closure is not None
                assert (closure.state, closure.records_missing) == ("gaps", 1)
                assert read.count(schema.forks) == 1

    asyncio.run(go())


def test_late_records_revise_a_signed_closure(site: Site, tail: Tail) -> None:
    messages = [tail.signal_set(), *(tail.block("engine", 30 * i, 30) for i in range(6))]
    manifest = tail.manifest()

    async def go() -> None:
        async with linked(site, tail) as link:
            await link.greet(b"n")
            with Read(site) as read:
                await link.send(manifest, *messages[:4])
                await wait_for(lambda: read.closure() is not None)
                first = read.closure()
                assert first is not None and first.state == "gaps"
                assert [(g.low, g.high) for g in first.gaps] == [(3, 6)]
                await link.send(*messages[4:])
                await wait_for(lambda: (c := read.closure()) is not None and c.revision == 2)
                found = read.records.signed_closure(TAIL, FLIGHT)
                assert found is not None and found[0].state == "complete"
                assert verify("closure", found[1], site.ground_pub, "test")

    asyncio.run(go())


def test_a_broker_that_restarts_empty_costs_nothing(site: Site, tail: Tail) -> None:
    messages = [tail.signal_set(), *(tail.block("engine", 30 * i, 30) for i in range(20))]

    async def go() -> None:
        async with linked(site, tail) as link:
            await link.greet(b"before")
            await link.send(*messages[:10])
            await link.wait_received("block-engine", 9)
        broker = site.processes[0]
        broker.terminate()
        broker.wait(10)
        for path in sorted(site.paths.nats_store.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        site.start_broker()
        async with linked(site, tail) as link:
            ack = await link.greet(b"after the restart")
            assert ack.received["block-engine"] == Coverage(9, [])
            await link.send(*messages)
            await link.wait_received("block-engine", 20)

    asyncio.run(go())
    with Read(site) as read:
        assert read.count(schema.records) == 21
