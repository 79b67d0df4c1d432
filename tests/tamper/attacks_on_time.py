"""Attacks on what time it is, and clocks that are wrong without anybody's doing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.tamper.attack import (
    TAKEN,
    Attack,
    Changes,
    attacks_into,
    forget_metadata,
    on_day2,
    see_day2,
)
from tests.tamper.fleet import in_days
from tests.tamper.scene import Scene

ATTACKS: list[Attack] = []
attack = attacks_into(ATTACKS)
Y1970, Y2017 = datetime(1970, 1, 2, tzinfo=UTC), datetime(2017, 3, 1, tzinfo=UTC)


@attack("expired everything", "the aircraft was away for ten years", "expired")
def _ten_years(scene: Scene) -> None:
    scene.clock.now = in_days(3650)


@attack("clock forward", "the aircraft's clock runs ten years ahead", "expired")
def _clock_forward(scene: Scene) -> None:
    on_day2(scene)
    scene.clock.now = in_days(3652)


@attack("clock forward", "the same, and the ground says what time it is", TAKEN)
def _clock_forward_ground(scene: Scene) -> Changes:
    on_day2(scene)
    ground_ns = scene.clock.wall_ns()
    scene.clock.now = in_days(3652)
    return {"ground_time_ns": ground_ns}


@attack("clock forward", "it ran ten years ahead once, and is right again", TAKEN)
def _clock_was_forward(scene: Scene) -> None:
    on_day2(scene)
    scene.clock.now = in_days(3652)
    scene.refused()
    scene.clock.now = in_days(2)


@attack("clock forward", "the ground says 2100 once, and is right again", TAKEN)
def _ground_forward(scene: Scene) -> None:
    on_day2(scene)
    scene.refused(ground_time_ns=4_102_444_800 * 10**9)
    scene.refused(ground_time_ns=(1 << 63) - 1)


@attack("clock back", "the clock goes back ten years, frozen metadata is served", "no_trusted_time")
def _clock_back(scene: Scene) -> None:
    see_day2(scene)
    scene.serve(scene.fleet.day0)
    forget_metadata(scene)
    scene.clock.now = Y2017


@attack("clock back", "the clock goes back ten years, all else is honest", "no_trusted_time")
def _clock_back_honest(scene: Scene) -> None:
    see_day2(scene)
    scene.clock.now = Y2017


@attack("clock back", "the same, and the ground says what time it is", TAKEN)
def _clock_back_ground(scene: Scene) -> Changes:
    see_day2(scene)
    ground_ns = scene.clock.wall_ns()
    scene.clock.now = Y2017
    return {"ground_time_ns": ground_ns}


@attack("clock back", "by so little that it counts, frozen metadata is served", "expired")
def _clock_back_little(scene: Scene) -> None:
    see_day2(scene)
    scene.serve(scene.fleet.day0)
    forget_metadata(scene)
    scene.clock.now = in_days(2) - timedelta(minutes=30)


@attack("dead clock", "the clock is at its epoch, only a medium is there", "no_trusted_time")
def _dead(scene: Scene) -> None:
    on_day2(scene)
    scene.clock.now = Y1970


@attack("dead clock", "the bus says ten years ago", "no_trusted_time")
def _dead_bus_back(scene: Scene) -> Changes:
    see_day2(scene)
    scene.clock.now = Y1970
    return {"bus_utc_ns": int(Y2017.timestamp()) * 10**9}


@attack("dead clock", "the bus says the right time", TAKEN)
def _dead_bus(scene: Scene) -> Changes:
    on_day2(scene)
    bus_ns = scene.clock.wall_ns()
    scene.clock.now = Y1970
    return {"bus_utc_ns": bus_ns}


@attack("freeze", "the bus clock lies, the aircraft's own is right", "expired")
def _bus_lies(scene: Scene) -> Changes:
    bus_ns = scene.clock.wall_ns()
    scene.clock.now = in_days(2)
    return {"bus_utc_ns": bus_ns}
