"""Keys in a TPM, on swtpm: one board signs with one, and wrong PINs lock it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import ConfigError, Corrupt, Rejected, TailTwinError, Unreachable
from signing.keys import KeyFolder, tpm
from signing.keys.device import TpmKey
from tests.fakes.swtpm import Board, boards
from tests.unit.ground.synthetic import free_ports

PIN = "tail-7391"


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    monkeypatch.setenv("TSS2_LOG", "all+none")
    with boards(tmp_path) as power_up:
        yield power_up


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    return KeyFolder(tmp_path / "keys", pin=lambda _: PIN)


def moved(keys: KeyFolder, name: str, tcti: str) -> None:
    """The file, told where that TPM is reached today."""
    path = keys.folder / f"{name}.toml"
    lines = [f'tcti = "{tcti}"' if line.startswith("tcti") else line
             for line in path.read_text().splitlines()]  # fmt: skip
    path.write_text("\n".join(lines))


def test_a_key_outlives_a_power_cycle_and_is_of_no_other_board(
    board: Board, keys: KeyFolder
) -> None:
    made = keys.create("tails", f"tpm:{board('desk')}")
    moved(keys, "tails", board("desk"))
    made.public_key.verify_signature(keys.load("tails").sign(b"x"), b"x")
    moved(keys, "tails", board("thief"))
    with pytest.raises(Rejected, match="another TPM"):
        keys.load("tails")


def test_the_object_can_be_taken_to_no_other_tpm(board: Board, keys: KeyFolder) -> None:
    import tpm2_pytss as t

    signer = keys.create("tails", f"tpm:{board('desk')}")
    assert isinstance(signer, tpm.TpmSigner)
    public = t.TPM2B_PUBLIC.unmarshal(bytes.fromhex(signer.place.public))[0].publicArea
    flags = t.TPMA_OBJECT
    for wanted in (flags.FIXEDTPM, flags.FIXEDPARENT, flags.SENSITIVEDATAORIGIN,
                   flags.USERWITHAUTH, flags.SIGN_ENCRYPT):  # fmt: skip
        assert public.objectAttributes & wanted
    for unwanted in (flags.NODA, flags.DECRYPT, flags.RESTRICTED):
        assert not public.objectAttributes & unwanted
    assert public.parameters.eccDetail.curveID == t.TPM2_ECC.NIST_P256


def test_wrong_pins_are_counted_down_and_lock_the_tpm(board: Board, keys: KeyFolder) -> None:
    """swtpm locks after three, by its default; the manufacturer of a chip sets its own."""
    keys.create("tails", f"tpm:{board('desk')}")
    guesser = KeyFolder(keys.folder, pin=lambda _: "0000")
    said: list[str] = []
    for _ in range(4):
        with pytest.raises(Rejected) as error:
            guesser.load("tails")
        said.append(error.value.what)
    assert said == [
        "wrong PIN; tries left: 2", "wrong PIN; tries left: 1", "wrong PIN; tries left: 0",
        "the TPM is locked after wrong PINs",
    ]  # fmt: skip
    with pytest.raises(Rejected, match="locked"):
        keys.load("tails")


@pytest.mark.parametrize("pin", ["", "123", "p" * 33])
def test_a_pin_that_a_tpm_cannot_take_is_refused_before_it_is_asked(
    tmp_path: Path, pin: str
) -> None:
    with pytest.raises(Rejected, match="the PIN has"):
        KeyFolder(tmp_path, pin=lambda _: pin).create("tails", "tpm:nowhere")
    assert not list(tmp_path.iterdir())


def test_a_tpm_that_does_not_answer_is_said(
    board: Board, keys: KeyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.tpm.PAUSE_S", 0.0)
    with pytest.raises(Unreachable, match="does not answer"):
        keys.create("tails", f"tpm:swtpm:host=127.0.0.1,port={free_ports(1)[0]}")
    assert not list(keys.folder.iterdir())


def test_a_damaged_object_is_said(board: Board, keys: KeyFolder) -> None:
    signer = keys.create("tails", f"tpm:{board('desk')}")
    assert isinstance(signer, tpm.TpmSigner)
    place = signer.place
    flipped = place.private[:-2] + f"{int(place.private[-2:], 16) ^ 1:02x}"
    for bad in ("", "zz", place.private[:40], flipped):
        damaged = tpm.TpmSigner(
            TpmKey(place.tcti, place.public, bad), signer.public_key, lambda _: PIN, "tails"
        )
        with pytest.raises(TailTwinError):
            damaged.sign(b"x")
    other = keys.create("others", f"tpm:{place.tcti}")
    swapped = tpm.TpmSigner(place, other.public_key, lambda _: PIN, "tails")
    with pytest.raises(Corrupt, match="another key"):
        swapped.sign(b"x")


def test_without_the_library_the_remedy_names_the_extra(
    keys: KeyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tpm2_pytss", None)
    with pytest.raises(ConfigError, match="no TPM library"):
        keys.create("tails", "tpm:")
