"""Time that can be believed: wrong clocks neither open nor brick anything."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata

from edge.update.disk import PosixDisk
from edge.update.floor import BUILT_NS, FILE, TIME_NS_MAX, Anchor, TimeFloor
from edge.update.trustedtime import SKEW_NS, trusted_time
from edge.update.verified import VerifiedSet
from shared.errors import Corrupt, Rejected
from signing.verify.resets import check_reset, encode_reset, new_reset, parse_reset, reset_path
from tests.unit.edge.update.stand import (
    NOW,
    TAIL,
    Aboard,
    Shop,
    clock_at,
    later,
    serving,
)

TEN_YEARS = timedelta(days=3650)
DAY_NS = 86_400 * 10**9
HERE = later(5)
"""What time it really is. The metadata is as new as that, and the floor knows of day 4."""


def ns(at: datetime) -> int:
    return round(at.timestamp()) * 10**9


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def aboard(tmp_path: Path, shop: Shop) -> Aboard:
    return Aboard(tmp_path, shop)


def set_wall(aboard: Aboard, at: datetime) -> None:
    aboard.clock.advance_s((ns(at) - aboard.clock.wall_ns()) / 1e9)


def seen_day_4(aboard: Aboard, shop: Shop) -> None:
    """The floor learns day 4 of metadata that offline keys signed; then it is day 5."""
    set_wall(aboard, later(4))
    shop.offer(2, later(4))
    aboard.taken()
    assert floor(aboard).ns == ns(later(4))
    shop.refresh(HERE)
    set_wall(aboard, HERE)


def floor(aboard: Aboard) -> TimeFloor:
    return TimeFloor(aboard.trust / FILE, PosixDisk())


# (wall clock, ground, bus) to what becomes of a session; None is a set.
WALLS = {
    "ten years back": HERE - TEN_YEARS, "right": HERE, "ten years ahead": HERE + TEN_YEARS,
    "stuck where it was made": later(0),
}  # fmt: skip
BUSES = {"none": None, "good": ns(HERE), "behind": ns(HERE - TEN_YEARS)}


def expected(wall: str, ground: bool, bus: str) -> str | None:
    """The bus only stands in for a clock that is behind the floor: anybody may speak there."""
    if ground or wall == "right":
        return None
    if wall == "ten years ahead":
        return "expired"
    return None if bus == "good" else "no_trusted_time"


@pytest.fixture(scope="module")
def day_5(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Aboard, dict[str, str]]]:
    """An aircraft on day 5, and its sources; tests copy it and leave the sources as they are."""
    folder = tmp_path_factory.mktemp("day5")
    shop = Shop(folder)
    aboard = Aboard(folder, shop)
    seen_day_4(aboard, shop)
    with serving(shop.folder) as server:
        yield aboard, {"net": server.url, "media": shop.url}


@pytest.mark.parametrize("source", ["net", "media"])
@pytest.mark.parametrize("bus", BUSES)
@pytest.mark.parametrize("ground", [True, False])
@pytest.mark.parametrize("wall", WALLS)
def test_a_wrong_clock_neither_opens_nor_bricks(
    tmp_path: Path, day_5: tuple[Aboard, dict[str, str]], wall: str, ground: bool, bus: str,
    source: str,
) -> None:  # fmt: skip
    aboard = day_5[0].copied(tmp_path)
    aboard.sources = (day_5[1][source],)
    set_wall(aboard, WALLS[wall])
    before = floor(aboard).ns
    answer = aboard.fetch(ground_time_ns=ns(HERE) if ground else None, bus_utc_ns=BUSES[bus])
    code = None if isinstance(answer, VerifiedSet) else answer.code
    assert code == expected(wall, ground, bus)
    assert floor(aboard).ns - before in ((0, DAY_NS) if ground else (0,))
    if code is not None:
        assert not isinstance(answer, VerifiedSet) and answer.may_pass
        set_wall(aboard, HERE)  # the clock is mended, and nothing else
        assert isinstance(aboard.fetch(), VerifiedSet)


def reset_for(aboard: Aboard, shop: Shop, now: datetime, *names: str, days: float = 2.0) -> None:
    """On the medium: a reset for this aircraft's nonce, signed by these."""
    reset = new_reset(TAIL, floor(aboard).nonce(), now, days)
    path = shop.folder / reset_path(TAIL)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encode_reset(reset, [shop.keys.load(name) for name in names]))


TWO = ("image-root-1", "image-root-3")


@pytest.mark.parametrize("wall", ["ten years back", "ten years ahead", "stuck where it was made"])
def test_a_reset_on_the_medium_cures_a_dead_clock_for_as_long_as_it_says(
    aboard: Aboard, shop: Shop, wall: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen_day_4(aboard, shop)
    set_wall(aboard, WALLS[wall])
    refusal = aboard.refused()
    nonce = floor(aboard).nonce()
    assert nonce in refusal.text or refusal.code == "expired"
    reset_for(aboard, shop, HERE, *TWO)
    aboard.taken()
    assert floor(aboard).nonce() != nonce
    aboard.taken()  # the reset is used up, and its time goes on
    monkeypatch.setattr("edge.update.session._boot", lambda: "another boot")
    assert aboard.refused().code in ("no_trusted_time", "expired")


def test_a_reset_counts_once(aboard: Aboard, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    seen_day_4(aboard, shop)
    set_wall(aboard, WALLS["ten years back"])
    reset_for(aboard, shop, HERE, *TWO)
    aboard.taken()
    monkeypatch.setattr("edge.update.session._boot", lambda: "another boot")
    refusal = aboard.refused()
    assert refusal.code == "no_trusted_time" and "another nonce" in refusal.text


def test_a_reset_lowers_a_floor_that_was_pushed_too_far(aboard: Aboard, shop: Shop) -> None:
    """Offline keys once signed a date of ten years ahead."""
    seen_day_4(aboard, shop)
    floor(aboard).raise_to(ns(HERE + TEN_YEARS))
    answer = aboard.refused(ground_time_ns=ns(HERE))
    assert answer.code == "no_trusted_time"  # even the ground is behind it
    reset_for(aboard, shop, HERE, *TWO)
    aboard.taken()
    assert floor(aboard).ns == ns(HERE)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("image-root-1",), "1 of 2 root keys"),
        (("image-root-1", "image-targets", "image-snapshot"), "1 of 2 root keys"),
        (("director-root-1", "director-root-2"), "0 of 2 root keys"),
    ],
)
def test_a_reset_that_too_few_root_keys_signed_is_no_help(
    aboard: Aboard, shop: Shop, names: tuple[str, ...], why: str
) -> None:
    seen_day_4(aboard, shop)
    set_wall(aboard, WALLS["ten years back"])
    reset_for(aboard, shop, HERE, *names)
    refusal = aboard.refused()
    assert refusal.code == "no_trusted_time" and why in refusal.text
    assert floor(aboard).ns == ns(later(4))


def test_a_reset_of_another_tail_or_of_another_time_is_none(shop: Shop) -> None:
    signers = [shop.keys.load(name) for name in TWO]
    root = Metadata.from_bytes(shop.roots()[0]).signed
    nonce = "0" * 32
    good = encode_reset(new_reset(TAIL, nonce, NOW), signers)
    assert check_reset(good, root, TAIL, nonce).time_ns == ns(NOW)
    for data, tail, named, why in (
        (good, "B737-1", nonce, "this is B737-1"), (good, TAIL, "1" * 32, "another nonce"),
        (good.replace(b"2027-03-01", b"2026-03-01"), TAIL, nonce, "too far apart|0 of 2"),
        (good[:-5], TAIL, nonce, "unreadable"), (b"[" * 9999, TAIL, nonce, "unreadable"),
        (b" " * 99_999, TAIL, nonce, "too large"),
    ):  # fmt: skip
        with pytest.raises(Rejected, match=why):
            check_reset(data, root, tail, named)
    with pytest.raises(Rejected, match="at most 31"):
        new_reset(TAIL, nonce, NOW, 40)


def test_people_sign_a_reset_one_after_another(shop: Shop) -> None:
    first, second = (shop.keys.load(name) for name in TWO)
    root = Metadata.from_bytes(shop.roots()[0]).signed
    reset = new_reset(TAIL, "0" * 32, NOW)
    one = encode_reset(reset, [first])
    assert parse_reset(one) == reset
    check_reset(encode_reset(reset, [second], one), root, TAIL, "0" * 32)
    with pytest.raises(Rejected, match="another reset"):
        encode_reset(new_reset(TAIL, "1" * 32, NOW), [second], one)


def test_a_source_a_little_behind_the_floor_is_the_floor() -> None:
    floor_ns = ns(NOW)
    time = trusted_time(floor_ns, ground_ns=floor_ns - SKEW_NS)
    assert time is not None and (time.ns, time.source) == (floor_ns, "ground")
    time = trusted_time(floor_ns, ground_ns=floor_ns - SKEW_NS - 1, wall_ns=floor_ns + 1)
    assert time is not None and (time.ns, time.source) == (floor_ns + 1, "wall")
    assert trusted_time(floor_ns) is None


def test_the_time_floor_only_grows_and_is_remembered(tmp_path: Path) -> None:
    floor = TimeFloor(tmp_path / FILE, PosixDisk())
    assert floor.ns == BUILT_NS
    assert floor.reference(0).timestamp() * 1e9 == BUILT_NS
    floor.raise_to(ns(later(5)))
    floor.raise_to(ns(later(5)) - 10**9)
    again = TimeFloor(tmp_path / FILE, PosixDisk())
    assert again.ns == ns(later(5))
    assert again.reference(clock_at(later(1)).wall_ns()) == later(5)
    assert again.reference(clock_at(later(9)).wall_ns()) == later(9)


def test_a_reset_outlives_neither_its_end_nor_its_boot(tmp_path: Path) -> None:
    floor = TimeFloor(tmp_path / FILE, PosixDisk())
    nonce = floor.nonce()
    assert TimeFloor(tmp_path / FILE, PosixDisk()).nonce() == nonce
    anchor = Anchor(boot="one", mono_ns=100, time_ns=ns(NOW), until_ns=ns(NOW) + 50)
    floor.reset(ns(NOW), anchor)
    again = TimeFloor(tmp_path / FILE, PosixDisk())
    assert again.nonce() != nonce and again.anchor == anchor and again.ns == ns(NOW)
    assert anchor.now_ns("one", 150) == ns(NOW) + 50
    assert anchor.now_ns("one", 151) is None
    assert anchor.now_ns("one", 99) is None
    assert anchor.now_ns("two", 120) is None


@pytest.mark.parametrize("data", [b"", b"{}", b'{"floor_ns": "x"}', b"\xff", b"x" * 5000])
def test_a_time_floor_that_cannot_be_read_judges_nothing(
    aboard: Aboard, shop: Shop, data: bytes
) -> None:
    (aboard.trust / FILE).write_bytes(data)
    with pytest.raises(Corrupt):
        floor(aboard)
    assert aboard.refused().code == "corrupt"


def test_a_wrong_ground_time_is_not_remembered_past_the_next_metadata(
    aboard: Aboard, shop: Shop
) -> None:
    """One signed ack says 2100. Metadata made an hour later is taken all the same."""
    for y2100_ns in (4_102_444_800 * 10**9, TIME_NS_MAX - 1, 1 << 63):
        assert aboard.refused(ground_time_ns=y2100_ns).code == "expired"
    aboard.clock.advance_s(3600)
    shop.refresh(later(1 / 24))
    aboard.taken()
