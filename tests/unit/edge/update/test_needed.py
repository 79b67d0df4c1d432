"""Away for long: the set goes on running, and what is needed is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge.update.floor import BUILT_NS, FILE
from edge.update.needed import what_is_needed
from edge.update.recheck import recheck
from tests.unit.edge.update.stand import Aboard, Shop, clock_at, later
from tests.unit.edge.update.test_recheck import request


@pytest.fixture
def aboard(tmp_path: Path) -> Aboard:
    return Aboard(tmp_path, Shop(tmp_path))


def test_nothing_is_needed_while_everything_is_in_time(aboard: Aboard) -> None:
    assert what_is_needed(aboard.trust, clock_at(later(0.5)).wall_ns()) == ()


def test_each_role_that_expired_is_named_with_who_has_to_sign(aboard: Aboard) -> None:
    needed = what_is_needed(aboard.trust, clock_at(later(400)).wall_ns())
    assert any(t.startswith("timestamp of the image repository expired 2027-03-02") for t in needed)
    assert any("tail-B737-33102 of the director" in t and "refresh" in t for t in needed)
    assert any(t.startswith("targets of the image") and "offline" in t for t in needed)
    assert recheck(request(aboard), judge_contents=False) == []  # and all that takes nothing away


def test_a_clock_that_cannot_be_believed_is_said_with_the_nonce_of_a_reset(aboard: Aboard) -> None:
    (text,) = what_is_needed(aboard.trust, BUILT_NS)
    assert "no trusted time" in text and "nonce" in text
    (aboard.trust / FILE).write_bytes(b"{")
    (text,) = what_is_needed(aboard.trust, BUILT_NS)
    assert "unreadable" in text


def test_an_aircraft_without_roots_is_told_how_to_get_them(tmp_path: Path) -> None:
    (text,) = what_is_needed(tmp_path, 0)
    assert "tailtwin-edge init" in text


def test_damaged_metadata_is_passed_over(aboard: Aboard) -> None:
    path = aboard.trust / "image" / "metadata" / "timestamp.json"
    for data in (b"", b"{}", b"[" * 99_999, b'{"signed": {"expires": "soon"}}'):
        path.write_bytes(data)
        needed = what_is_needed(aboard.trust, clock_at(later(400)).wall_ns())
        assert not any("timestamp of the image" in text for text in needed)


def test_it_carries_no_tuf() -> None:
    program = "import sys, edge.update.needed; print('tuf' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert said.stdout.strip() == b"False"
