"""The compute profile: parsed strictly."""

from __future__ import annotations

import pytest

from shared.errors import ConfigError
from shared.profile import ModelBounds, compute_profile

SECTION = {"name": "bench", "arch": "x86_64"}


def test_defaults_are_the_budgets() -> None:
    profile = compute_profile(SECTION, "here")
    assert (profile.memory_mb_max, profile.storage_mb_max) == (256, 1000)
    assert profile.models == ModelBounds()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": "red"}, "colour"),
        ({"memory_mb_max": 0}, "memory_mb_max"),
        ({"memory_mb_max": "256"}, "memory_mb_max"),
        ({"models": {"nodes_max": -1}}, "nodes_max"),
        ({"models": {"nodes": 1}}, "nodes"),
        ({"name": None}, "name"),
    ],
)
def test_wrong_key_or_value_is_refused_by_name(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        compute_profile({**SECTION, **change}, "here")
