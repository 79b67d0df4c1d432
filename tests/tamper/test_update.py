"""Invariant 7: no unverified byte becomes a session. Each attack leaves the live set as it was."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from edge.update.client import provision
from edge.update.disk import PosixDisk
from edge.update.floor import TimeFloor
from edge.update.verified import FetchFailure, VerifiedBundle
from shared.errors import Rejected
from signing.publish import Repository
from signing.verify import Aircraft, Applicability
from tests.unit.edge.update.stand import (
    AIRCRAFT,
    FITS,
    NOW,
    Aboard,
    Server,
    Shop,
    later,
    serving,
    settle,
)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def server(shop: Shop) -> Iterator[Server]:
    with serving(shop.folder) as server:
        yield server


@pytest.fixture
def aboard(tmp_path: Path, shop: Shop, server: Server) -> Aboard:
    return Aboard(tmp_path, shop, server)


def refused(aboard: Aboard, target: str) -> FetchFailure:
    """Offer it as the daemon would; the failure recorded, after nothing was activated."""
    before = (aboard.state / "active").read_bytes()

    async def offer() -> None:
        client = aboard.client()
        client.offer(target)
        await settle(client, lambda: bool(aboard.decisions))

    asyncio.run(offer())
    assert (aboard.state / "active").read_bytes() == before
    assert aboard.live_release() == 1
    (decision,) = aboard.decisions
    assert (decision.step, decision.decision) == ("download", "failed")
    answer = aboard.fetch(target)
    assert isinstance(answer, FetchFailure), answer
    assert decision.reasons[0].code == answer.code
    left = list((aboard.trust / "targets").glob("*.tar.zst"))
    assert not left, "unverified bytes lie under a final name"
    return answer


def target_path(shop: Shop, target: str) -> str:
    folder, _, name = target.rpartition("/")
    (file,) = (shop.folder / "targets" / folder).glob(f"*.{name}")
    return f"targets/{folder}/{file.name}"


def test_an_honest_repository_is_taken(aboard: Aboard, shop: Shop) -> None:
    """The same path that the attacks take, so that they cannot pass for another reason."""

    async def offer(target: str) -> None:
        client = aboard.client()
        assert client.offer(target) is None
        await settle(client, lambda: aboard.live_release() == 2)

    asyncio.run(offer(shop.publish(2)))
    assert aboard.said() == [("download", "fetched"), ("swap", "activated")]


def test_a_target_with_one_bit_turned(aboard: Aboard, shop: Shop, server: Server) -> None:
    target = shop.publish(2)
    path = target_path(shop, target)
    data = bytearray((shop.folder / path).read_bytes())
    data[100] ^= 1
    server.lies[path] = bytes(data)
    assert refused(aboard, target).code == "length_or_hash"


@pytest.mark.parametrize("extra", [b"x", b"x" * 100_000])
def test_a_target_that_is_too_long(
    aboard: Aboard, shop: Shop, server: Server, extra: bytes
) -> None:
    target = shop.publish(2)
    path = target_path(shop, target)
    server.lies[path] = (shop.folder / path).read_bytes() + extra
    assert refused(aboard, target).code == "length_or_hash"


def test_a_target_that_is_too_short(aboard: Aboard, shop: Shop, server: Server) -> None:
    target = shop.publish(2)
    path = target_path(shop, target)
    server.lies[path] = (shop.folder / path).read_bytes()[:-1]
    assert refused(aboard, target).code == "length_or_hash"


def altered(data: bytes, change: Any) -> bytes:
    content = json.loads(data)
    change(content["signed"])
    return json.dumps(content).encode()


@pytest.mark.parametrize("role", ["timestamp.json", "3.snapshot.json", "3.targets.json"])
def test_metadata_changed_after_it_was_signed(
    aboard: Aboard, shop: Shop, server: Server, role: str
) -> None:
    target = shop.publish(2)

    def later_expiry(signed: dict[str, Any]) -> None:
        signed["expires"] = "2039-01-01T00:00:00Z"

    server.lies[f"metadata/{role}"] = altered(shop.metadata(role).read_bytes(), later_expiry)
    assert refused(aboard, target).code in {"signature", "length_or_hash"}


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 10_000, b"\xff\xfe", b'{"signed": 1}'])
def test_metadata_that_is_none(aboard: Aboard, shop: Shop, server: Server, content: bytes) -> None:
    target = shop.publish(2)
    server.lies["metadata/timestamp.json"] = content
    assert refused(aboard, target).code == "metadata"


def test_metadata_without_an_end(aboard: Aboard, shop: Shop, server: Server) -> None:
    target = shop.publish(2)
    server.lies["metadata/timestamp.json"] = b" " * 1_000_000
    assert refused(aboard, target).code == "length_or_hash"


def test_an_older_timestamp_played_back(aboard: Aboard, shop: Shop, server: Server) -> None:
    old = shop.metadata("timestamp.json").read_bytes()
    target = shop.publish(2)
    assert isinstance(aboard.fetch(target), VerifiedBundle)
    server.lies["metadata/timestamp.json"] = old
    for file in (aboard.trust / "targets").iterdir():
        file.unlink()
    assert refused(aboard, target).code == "rollback"


def test_rollback_protection_survives_losing_everything_that_was_not_synced(
    aboard: Aboard, shop: Shop, server: Server
) -> None:
    """What an `_persist_file` without fsync would leave after a power cut is an empty file; the
    next session then forgets what it had seen. Ours is never empty: it is synced aside."""
    old = shop.metadata("timestamp.json").read_bytes()
    target = shop.publish(2)
    assert isinstance(aboard.fetch(target), VerifiedBundle)
    kept = (aboard.trust / "metadata" / "timestamp.json").read_bytes()
    assert kept == shop.metadata("timestamp.json").read_bytes()
    assert not list((aboard.trust / "metadata").glob(".*"))
    server.lies["metadata/timestamp.json"] = old
    assert isinstance(aboard.fetch(target), FetchFailure)


def test_expired_metadata(aboard: Aboard, shop: Shop) -> None:
    target = shop.publish(2)
    aboard.clock.advance_s(2 * 86_400)
    assert refused(aboard, target).kind == "expired"


def test_expired_metadata_with_the_wall_clock_turned_back(aboard: Aboard, shop: Shop) -> None:
    """Frozen metadata is kept alive by turning the clock back; the floor remembers later."""
    target = shop.publish(2)
    answer = aboard.fetch(target, ground_time_ns=int(later(5).timestamp()) * 10**9)
    assert isinstance(answer, FetchFailure) and answer.code == "expired"
    aboard.clock.advance_s(-30 * 86_400)
    assert refused(aboard, target).code == "expired"


def test_the_floor_learns_from_what_offline_keys_signed(
    aboard: Aboard, shop: Shop, server: Server
) -> None:
    """Seen: metadata made on day 5. Then the clock goes back and a mirror of day 0 is offered:
    even with no rollback to see (its state is wiped), day 0's timestamp is over."""
    target = shop.publish(2)
    frozen = {f"metadata/{p.name}": p.read_bytes() for p in shop.folder.glob("metadata/*.json")}
    shop.publish(3, now=later(5))
    aboard.clock.advance_s(5 * 86_400)
    assert isinstance(aboard.fetch(target), VerifiedBundle)
    for file in [*aboard.trust.glob("metadata/*.json"), *aboard.trust.glob("targets/*")]:
        file.unlink()
    aboard.clock.advance_s(-5 * 86_400)
    server.lies.update(frozen)
    assert refused(aboard, target).code == "expired"


def test_a_stolen_online_key_cannot_push_the_floor_past_what_offline_keys_signed(
    aboard: Aboard, shop: Shop
) -> None:
    shop.publish(2)
    metadata = Metadata.from_file(str(shop.metadata("timestamp.json")))
    metadata.signed.version += 1
    metadata.signed.expires = later(3650)
    metadata.signed.unrecognized_fields["x-tailtwin-issued"] = "2036-01-01T00:00:00Z"
    metadata.sign(shop.keys.load("timestamp"))
    metadata.to_file(str(shop.metadata("timestamp.json")))
    target = "egt/egt-2.0.0.tar.zst"
    assert isinstance(aboard.fetch(target), VerifiedBundle)
    floor_ns = json.loads((aboard.trust / "time_floor.json").read_bytes())["floor_ns"]
    assert floor_ns <= later(7).timestamp() * 1e9  # the snapshot's expiry


def test_a_wrong_ground_time_is_not_remembered_past_the_next_metadata(
    aboard: Aboard, shop: Shop
) -> None:
    """One signed ack says 2100. Metadata made an hour later is taken all the same."""
    target = shop.publish(2)
    aboard.fetch("egt/egt-1.0.0.tar.zst")
    for y2100_ns in (4_102_444_800 * 10**9, (1 << 62) - 1, 1 << 63):
        answer = aboard.fetch(target, ground_time_ns=y2100_ns)
        assert isinstance(answer, FetchFailure) and answer.code == "expired"
    aboard.clock.advance_s(3600)
    shop.at(later(1 / 24)).refresh(shop.keys)
    assert isinstance(aboard.fetch(target), VerifiedBundle)


def test_online_keys_that_were_stolen_do_not_leave_a_floor_behind(
    aboard: Aboard, shop: Shop
) -> None:
    target = shop.publish(2)
    Repository(shop.folder, later(3000), {"timestamp": 1, "snapshot": 1}).refresh(shop.keys)
    assert isinstance(aboard.fetch(target), VerifiedBundle)
    assert TimeFloor(aboard.trust / "time_floor.json", PosixDisk()).ns <= later(0).timestamp() * 1e9
    shop.at(later(1 / 24)).refresh(shop.keys)
    assert isinstance(aboard.fetch(target), VerifiedBundle)


def rotated(shop: Shop, *, threshold: int, signers: list[CryptoSigner]) -> bytes:
    metadata: Metadata[Root] = Metadata.from_bytes(shop.root())
    metadata.signed.version = 2
    metadata.signed.roles["root"].threshold = threshold
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def test_a_new_root_that_nobody_signed(aboard: Aboard, shop: Shop, server: Server) -> None:
    target = shop.publish(2)
    server.lies["metadata/2.root.json"] = rotated(shop, threshold=2, signers=[])
    assert refused(aboard, target).code == "signature"


def test_a_new_root_that_one_of_three_signed(aboard: Aboard, shop: Shop, server: Server) -> None:
    target = shop.publish(2)
    one = [shop.keys.load("root-1")]
    server.lies["metadata/2.root.json"] = rotated(shop, threshold=2, signers=one)
    assert refused(aboard, target).code == "signature"


def test_a_new_root_that_one_of_three_could_replace(
    aboard: Aboard, shop: Shop, server: Server
) -> None:
    target = shop.publish(2)
    two = [shop.keys.load("root-1"), shop.keys.load("root-3")]
    server.lies["metadata/2.root.json"] = rotated(shop, threshold=1, signers=two)
    assert refused(aboard, target).code == "rejected"
    assert not (aboard.trust / "metadata" / "root_history" / "2.root.json").exists()


def test_a_new_root_that_two_of_three_signed_is_followed(
    aboard: Aboard, shop: Shop, server: Server
) -> None:
    target = shop.publish(2)
    two = [shop.keys.load("root-1"), shop.keys.load("root-3")]
    server.lies["metadata/2.root.json"] = rotated(shop, threshold=2, signers=two)
    assert isinstance(aboard.fetch(target), VerifiedBundle)
    assert (aboard.trust / "metadata" / "root_history" / "2.root.json").exists()


def test_a_first_root_with_a_threshold_of_one(tmp_path: Path, shop: Shop) -> None:
    metadata: Metadata[Root] = Metadata.from_bytes(shop.root())
    metadata.signed.roles["root"].threshold = 1
    metadata.sign(shop.keys.load("root-1"))
    with pytest.raises(Rejected, match="threshold is 1"):
        provision(tmp_path / "other", metadata.to_bytes())


def test_a_first_root_that_does_not_sign_itself(tmp_path: Path, shop: Shop) -> None:
    with pytest.raises(Rejected, match="not a trustworthy root"):
        provision(tmp_path / "other", rotated(shop, threshold=2, signers=[]))


def test_another_repository_of_the_same_shape(
    aboard: Aboard, tmp_path: Path, server: Server
) -> None:
    (tmp_path / "else").mkdir()
    other = Shop(tmp_path / "else")
    target = other.publish(2)
    server.folder = other.folder
    assert refused(aboard, target).code == "signature"


@pytest.mark.parametrize(
    "who",
    [
        Applicability(types=("A320",)),
        Applicability(types=("B737-800",), tails=("B737-33103",)),
        Applicability(types=("B737-800",), esns=("999999",)),
        Applicability(types=("B737-800",), part_numbers=("CFM56-7B26",)),
    ],
)
def test_a_bundle_made_for_another_aircraft(
    aboard: Aboard, shop: Shop, server: Server, who: Applicability
) -> None:
    target = shop.publish(2, who)
    server.asked.clear()
    assert refused(aboard, target).code == "inapplicable"
    assert not [path for path in server.asked if path.startswith("targets/")]


def test_a_bundle_for_an_engine_that_has_been_replaced(aboard: Aboard, shop: Shop) -> None:
    target = shop.publish(2)
    aboard.aircraft = Aircraft(tail=AIRCRAFT.tail, type=AIRCRAFT.type, esns=("700000",))
    assert refused(aboard, target).code == "inapplicable"


def test_a_release_counter_that_goes_back(aboard: Aboard, shop: Shop) -> None:
    """The repository cannot publish one; an old target that it still lists is one."""
    old = "egt/egt-1.0.0.tar.zst"

    async def offer(target: str) -> None:
        client = aboard.client()
        client.offer(target)
        await settle(client, lambda: aboard.live_release() == 2)

    asyncio.run(offer(shop.publish(2)))
    answer = aboard.fetch(old)
    assert isinstance(answer, FetchFailure) and answer.code == "release_back"
    assert aboard.slots.rollback(lambda: True)
    assert aboard.live_release() == 1
    answer = aboard.fetch(old)
    assert isinstance(answer, FetchFailure) and answer.code == "release_back"


def test_a_target_that_the_metadata_does_not_name(aboard: Aboard, shop: Shop) -> None:
    shop.publish(2)
    assert refused(aboard, "egt/egt-9.0.0.tar.zst").code == "no_target"


@pytest.mark.parametrize("drips", ["timestamp", "targets/"])
def test_a_peer_that_drips_is_left_at_the_deadline(
    aboard: Aboard, shop: Shop, server: Server, drips: str
) -> None:
    target = shop.publish(2)
    aboard.deadline_s, server.drip_s, server.drips = 0.4, 0.02, drips
    start = time.monotonic()
    assert refused(aboard, target).code == "deadline"
    assert time.monotonic() - start < 3.0


def test_a_redirect_is_not_followed(aboard: Aboard, shop: Shop, server: Server) -> None:
    target = shop.publish(2)
    server.lies[target_path(shop, target)] = 302
    assert refused(aboard, target).code == "http"


@pytest.mark.parametrize(
    "target",
    ["../x/y.tar.zst", "egt/../../active", "egt/set.json", "/etc/passwd", "egt", "", "a" * 999],
)
def test_a_notice_that_names_no_bundle(aboard: Aboard, target: str) -> None:
    async def offer() -> None:
        client = aboard.client()
        decision = client.offer(target)
        assert decision is not None and decision.decision == "refused"
        assert decision.reasons[0].code == "target_path"
        assert not client.pending

    asyncio.run(offer())


def test_bytes_changed_in_the_slot_are_not_called_live(aboard: Aboard) -> None:
    live = aboard.slots.live()
    assert live is not None
    path = live.path(live.bundles[0])
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(Exception, match="not the bytes that were verified"):
        aboard.slots.live()


def test_a_bundle_for_more_aircraft_than_this_one_fits_too(aboard: Aboard, shop: Shop) -> None:
    who = Applicability(types=("A320", "B737-800"), esns=("1", "802002"), tails=FITS.tails)
    assert isinstance(aboard.fetch(shop.publish(2, who, NOW)), VerifiedBundle)
