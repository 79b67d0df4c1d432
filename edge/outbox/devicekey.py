"""The device key of this computer: from a file of the identity folder, or out of its TPM.

In: the identity folder, what the profile says. Out: a keyring, or None where the profile says
`none`. Always holds: recording never waits for a key. A key that is lost is made anew (what the
old one sealed is then for the recovery key, or for the computer that it comes back to); a TPM
that does not answer leaves a keyring that seals for the recovery key alone, so a profile with a
TPM demands one. A recovery key whose file is damaged is said, loudly, and recording goes on.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from edge.outbox import tpm
from edge.outbox.keyring import KEY_BYTES, Keyring, load_recovery_public
from shared.errors import ConfigError, Unreachable
from shared.files import write_durably
from shared.log import event

Kind = Literal["file", "tpm", "none"]
KEY_FILE, TPM_FILE, RECOVERY_FILE = "storage.key", "storage.tpm", "recovery.pub"
ASIDE_MAX = 8  # assumption: a disk sees fewer computers than that


def load_keyring(identity: Path, kind: Kind = "file", tpm_tcti: str = "") -> Keyring | None:
    """What the outbox of the state folder with this `identity` is sealed with."""
    if kind == "none":
        return None
    recovery_file = identity / RECOVERY_FILE
    recovery, is_damaged = _recovery(recovery_file)
    if kind == "file":
        if recovery is None:
            event("seal.no_recovery_key", file=str(recovery_file), level=logging.WARNING)
        return Keyring(_from_file(identity / KEY_FILE), recovery)
    if recovery is None and not is_damaged:
        raise ConfigError(
            "a TPM without a recovery key: a dead board would take its records along",
            str(recovery_file), "run init with --recovery-pub, or put the .pub file there",
        )  # fmt: skip
    try:
        return Keyring(_from_tpm(identity / TPM_FILE, tpm_tcti), recovery)
    except Unreachable as error:
        if recovery is None:
            raise
        event("seal.no_device_key", why=str(error), level=logging.ERROR)
        return Keyring(None, recovery)


def _recovery(path: Path) -> tuple[X25519PublicKey | None, bool]:
    """The fleet's key, and whether its file is damaged: then recording goes on without it."""
    try:
        return (load_recovery_public(path) if path.exists() else None), False
    except ConfigError as error:
        event("seal.recovery_key_damaged", why=str(error), level=logging.ERROR)
        return None, True


def _from_file(path: Path) -> bytes:
    try:
        key = bytes.fromhex(path.read_text())
        if len(key) == KEY_BYTES:
            return key
        raise ValueError(f"{len(key)} bytes")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", str(path), "check its owner") from None
    except ValueError as error:
        _put_aside(path, str(error))
    path.parent.mkdir(parents=True, exist_ok=True)
    key = os.urandom(KEY_BYTES)
    write_durably(path, key.hex().encode(), private=True)
    event("seal.device_key_made", file=str(path))
    return key


def _from_tpm(path: Path, tcti: str) -> bytes:
    with tpm.connect(tcti) as device:
        why = ""
        for file in (path, *_aside(path)):  # a disk that was in another computer comes back
            if file.exists():
                try:
                    key = tpm.unseal(device, file.read_bytes())
                    if len(key) == KEY_BYTES:
                        return key
                    raise tpm.Foreign(f"{len(key)} bytes")
                except tpm.Foreign as error:
                    why = why or str(error)
        if path.exists():
            _put_aside(path, why)
        key = os.urandom(KEY_BYTES)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, tpm.seal(device, key), private=True)
        event("seal.device_key_made", file=str(path))
        return key


def _put_aside(path: Path, why: str) -> None:
    """It may still open something, in hands that know how, or in the computer it is of."""
    event("seal.device_key_lost", file=str(path), why=why, level=logging.ERROR)
    path.replace(next((file for file in _aside(path) if not file.exists()), _aside(path)[-1]))


def _aside(path: Path) -> list[Path]:
    """Where keys that this computer could not use are kept: `.lost`, `.lost-1`, …"""
    ends = ["", *(f"-{number}" for number in range(1, ASIDE_MAX))]
    return [path.with_name(f"{path.name}.lost{end}") for end in ends]
