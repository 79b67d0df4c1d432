"""Every key, every pair of keys, and all online keys together, in the hands of a thief.

What each may do is written here by hand, from the design. A thief then tries every goal with the
keys, against an aircraft's own session; what it reaches has to be what is written, no more and no
less. Letters: `docs/security.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest

from signing.repositories import ONLINE
from tests.tamper.fleet import MAKER, Fleet
from tests.tamper.scene import Scene
from tests.tamper.thefts import GOALS, Attempt, Stolen, restore, runs_new_code_bluntly, used

Tried = Callable[[Attempt, Stolen], bool]

ROLES: dict[str, tuple[str, ...]] = {
    "image root, one of three": ("image-root-3",),
    "image root, two of three": ("image-root-1", "image-root-2"),
    "image targets": ("image-targets",),
    "maker": (MAKER,),
    "calibration": ("calibration",),
    "image snapshot": ("image-snapshot",),
    "image timestamp": ("image-timestamp",),
    "director root, one of three": ("director-root-3",),
    "director root, two of three": ("director-root-1", "director-root-2"),
    "director targets": ("director-targets",),
    "director tails": ("director-tails",),
    "director snapshot": ("director-snapshot",),
    "director timestamp": ("director-timestamp",),
    "attestor": ("attestor-1",),
}

ALONE: dict[str, str] = {
    "image root, two of three": "W",
    "director root, two of three": "DF",
    "director timestamp": "F",
}
"""What one role's keys reach. Every other role alone reaches nothing."""

TOGETHER: dict[tuple[str, str], str] = {
    ("image root, two of three", "director root, two of three"): "CN",
}
"""What a pair reaches beyond what each of the two does."""

IMAGE_ROOTS = ("image-root-1", "image-root-2")
IMAGE_ONLINE = ("image-snapshot", "image-timestamp")
DIRECTOR_ROOTS = ("director-root-1", "director-root-2")
DIRECTOR_ONLINE = ("director-snapshot", "director-timestamp")

DIRECTS: tuple[tuple[str, ...], ...] = (
    DIRECTOR_ROOTS,
    ("director-targets", *DIRECTOR_ONLINE),
    ("director-tails", *DIRECTOR_ONLINE),
)
"""What it takes to choose for a tail."""

WINNING: dict[str, tuple[tuple[str, ...], ...]] = {
    "C": tuple(
        (*image, *director)
        for image in (
            IMAGE_ROOTS,
            ("image-targets", *IMAGE_ONLINE, "attestor-1"),
            (MAKER, *IMAGE_ONLINE, "attestor-1"),
        )
        for director in DIRECTS
    ),
    "N": tuple(
        (*image, *director)
        for image in (("image-targets", *IMAGE_ONLINE), ("calibration", *IMAGE_ONLINE))
        for director in DIRECTS
    ),
    "D": DIRECTS,
    "F": (("director-timestamp",), DIRECTOR_ROOTS),
    "W": (IMAGE_ROOTS, ("image-targets", *IMAGE_ONLINE), (MAKER, *IMAGE_ONLINE)),
}
"""Minimal sets: all of one win, and with any key less the goal is out of reach."""

TOGETHER_ONLINE: dict[str, tuple[tuple[str, ...], str]] = {
    "all online keys": (ONLINE, "DF"),
    "all online keys and the calibration key": ((*ONLINE, "calibration"), "NDF"),
    "all online keys and every attestor": ((*ONLINE, "attestor-1"), "DF"),
    "all online keys, the calibration key and every attestor": (
        (*ONLINE, "calibration", "attestor-1"), "NDF",
    ),
}  # fmt: skip


def expected(*roles: str) -> str:
    """Letters, in the order of the goals."""
    reached = "".join(ALONE.get(role, "") for role in roles) + TOGETHER.get(
        (roles[0], roles[-1]), ""
    )
    return "".join(letter for letter in GOALS if letter in reached)


@pytest.fixture(scope="module")
def scene(fleet: Fleet, template: Path, memory: Path) -> Scene:
    (memory / "thefts").mkdir()
    return Scene(fleet, memory / "thefts", template)


@pytest.fixture(scope="module")
def tried(scene: Scene, template: Path) -> Tried:
    """Whether an attempt works with these keys; when it does not, the aircraft has to be as it was.
    The same keys are not tried twice."""

    @cache
    def with_used(attempt: Attempt, stolen: Stolen) -> bool:
        restore(scene, template)
        if attempt(scene, stolen):
            return True
        scene.assert_unharmed()
        return False

    return lambda attempt, stolen: with_used(attempt, used(attempt, stolen))


def reached(tried: Tried, stolen: Stolen) -> str:
    letters = "".join(letter for letter, attempt in GOALS.items() if tried(attempt, stolen))
    assert "C" in letters or not tried(runs_new_code_bluntly, stolen)
    return letters


@pytest.mark.parametrize("role", ROLES)
def test_one_stolen_role_reaches_what_is_written_and_no_more(tried: Tried, role: str) -> None:
    assert reached(tried, frozenset(ROLES[role])) == expected(role)


@pytest.mark.parametrize("pair", list(combinations(ROLES, 2)), ids=" + ".join)
def test_two_stolen_roles_reach_what_is_written_and_no_more(
    tried: Tried, pair: tuple[str, str]
) -> None:
    stolen = frozenset(ROLES[pair[0]] + ROLES[pair[1]])
    assert reached(tried, stolen) == expected(*pair)


@pytest.mark.parametrize("what", TOGETHER_ONLINE)
def test_online_keys_together_make_nothing_new_run(tried: Tried, what: str) -> None:
    stolen, letters = TOGETHER_ONLINE[what]
    assert "C" not in letters
    assert reached(tried, frozenset(stolen)) == letters


@pytest.mark.parametrize(
    ("goal", "keys"), [(goal, keys) for goal, sets in WINNING.items() for keys in sets]
)
def test_a_winning_set_wins_and_with_one_key_less_does_not(
    tried: Tried, goal: str, keys: tuple[str, ...]
) -> None:
    assert tried(GOALS[goal], frozenset(keys))
    for key in keys:
        assert not tried(GOALS[goal], frozenset(keys) - {key}), key
