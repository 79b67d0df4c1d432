"""A device key in a TPM 2.0: only this board's gives it back. Runs on swtpm, where there is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from edge.outbox import tpm
from edge.outbox.devicekey import load_keyring
from edge.outbox.keyring import Keyring, make_recovery_key
from edge.outbox.store import Outbox
from shared.clock import ManualClock
from tests.fakes.swtpm import Board, boards
from tests.unit.ground.synthetic import free_ports


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    """Power up the named board, the one before it being down; how its TPM is reached."""
    monkeypatch.setenv("TSS2_LOG", "all+none")
    with boards(tmp_path) as power_up:
        yield power_up


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    pem, public = make_recovery_key()
    folder = tmp_path / "identity"
    folder.mkdir()
    (folder / "recovery.pub").write_bytes(public)
    (tmp_path / "fleet.key").write_bytes(pem)
    return folder


def open_outbox(path: Path, keyring: Keyring | None) -> Outbox:
    return Outbox.open(
        path, operator="op", tail="n1", clock=ManualClock(), keyring=keyring, random=os.urandom,
        bytes_max=8 << 20,
    )  # fmt: skip


def test_the_key_comes_back_on_the_same_board_and_on_no_other(board: Board, identity: Path) -> None:
    tcti = board("left")
    first = load_keyring(identity, "tpm", tcti)
    again = load_keyring(identity, "tpm", tcti)
    later = load_keyring(identity, "tpm", board("left"))  # after a power cycle
    assert first and again and later
    assert first.device_key_id == again.device_key_id == later.device_key_id != ""
    assert not (identity / "storage.key").exists()
    assert first.wrap(1, b"o", b"k" * 32).for_device not in (identity / "storage.tpm").read_bytes()
    other = load_keyring(identity, "tpm", board("right"))
    assert other and other.device_key_id not in ("", first.device_key_id)
    assert (identity / "storage.tpm.lost").exists()


def test_a_clone_of_the_disk_on_another_board_opens_nothing_and_the_recovery_key_all(
    board: Board, identity: Path, tmp_path: Path
) -> None:
    outbox = open_outbox(tmp_path / "outbox.db", load_keyring(identity, "tpm", board("left")))
    outbox.append("kpi", b"x", schema="t/1", flight="f", t_event_ns=1, t_quality=1)
    outbox.close()
    stolen = open_outbox(tmp_path / "outbox.db", load_keyring(identity, "tpm", board("right")))
    assert stolen.opened.locked == 1 and stolen.epoch != outbox.epoch
    stolen.close()
    rescued = open_outbox(tmp_path / "outbox.db", Keyring.from_recovery(tmp_path / "fleet.key"))
    assert rescued.opened.locked == 0
    rescued.close()


def test_a_tpm_that_does_not_answer_leaves_a_recorder_that_seals_for_recovery(
    board: Board, identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.tpm.PAUSE_S", 0.0)
    board("left")
    nowhere = f"swtpm:host=127.0.0.1,port={free_ports(1)[0]}"
    keyring = load_keyring(identity, "tpm", nowhere)
    assert keyring is not None and keyring.device_key_id == ""
    outbox = open_outbox(tmp_path / "outbox.db", keyring)
    outbox.append("kpi", b"x", schema="t/1", flight="f", t_event_ns=1, t_quality=1)
    assert len(outbox.pending("kpi", [outbox.epoch], {}, 9)) == 1
    outbox.close()


def test_a_disk_that_was_in_another_computer_opens_again_in_its_own(
    identity: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With boards that are only names, so that it runs everywhere."""

    def unseal(device: str, data: bytes) -> bytes:
        if not data.startswith(device.encode()):
            raise tpm.Foreign("of another board")
        return data.removeprefix(device.encode())

    monkeypatch.setattr(tpm, "connect", nullcontext)
    monkeypatch.setattr(tpm, "seal", lambda device, secret: device.encode() + secret)
    monkeypatch.setattr(tpm, "unseal", unseal)
    boards = ("left", "right", "middle")
    first = [load_keyring(identity, "tpm", name) for name in boards]
    again = [load_keyring(identity, "tpm", name) for name in boards]
    ids = [keyring and keyring.device_key_id for keyring in first]
    assert len({*ids}) == 3
    assert [keyring and keyring.device_key_id for keyring in again] == ids
