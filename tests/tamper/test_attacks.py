"""Each row of the attack table, made on a real pair of repositories: the error that is written
there, and last known good still live, still trusted, at the next start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.update.verified import VerifiedSet
from tests.tamper.attack import KINDS, TAKEN, Attack
from tests.tamper.attacks_on_reports import REPORTS, ReportAttack
from tests.tamper.fleet import in_days
from tests.tamper.scene import Scene
from tests.tamper.table import ATTACKS
from tests.unit.ground.stores import Store
from tests.unit.ground.synthetic import Tail
from tests.unit.ground.test_versions import runs, version


def test_an_honest_update_is_taken(scene: Scene) -> None:
    """The same path that the attacks take, so that they cannot fail for another reason."""
    scene.serve(scene.fleet.day2)
    scene.clock.now = in_days(2)
    answer = scene.look()
    assert isinstance(answer, VerifiedSet), answer
    assert sorted(b.target for b in answer.bundles) == scene.fleet.paths("bearing 1", "egt 2")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: f"{a.kind}: {a.how}")
def test_an_attack_is_refused_by_name_and_last_known_good_still_runs(
    scene: Scene, attack: Attack
) -> None:
    changes = attack.make(scene) or {}
    answer = scene.look(**changes)
    scene.assert_unharmed()
    assert (TAKEN if isinstance(answer, VerifiedSet) else answer.code) == attack.code, answer


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "ground")
    yield store
    store.close()


@pytest.mark.parametrize("attack", REPORTS, ids=lambda a: a.how)
def test_a_replayed_version_report_does_not_count_and_the_last_one_stands(
    store: Store, attack: ReportAttack
) -> None:
    tail = Tail()
    assert store.put(tail, version(tail, 1), version(tail, 2)).versions == []
    (refused,) = store.put(tail, attack.make(tail)).versions
    assert refused.reason == attack.code
    assert runs(store, tail) == 2


def test_the_table_leaves_no_kind_of_attack_out() -> None:
    assert {attack.kind for attack in ATTACKS} == set(KINDS)
