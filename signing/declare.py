"""What a bundle file declares of itself: its name, release and applicability.

In: a bundle (`.tar.zst`). Out: a `Declared` for the repository, or Rejected.
Always holds: what is declared is what the bundle says, so that admission aboard finds the two
equal; only the applicability may be given from outside. The file is read once.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from shared.bundle import unpack
from shared.errors import Rejected, Unreachable
from shared.profile import ModelBounds
from signing.verify import Applicability, check_applicability

JSON_BYTES_MAX = 1 << 20


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle, and what its signers declare of it. data: the bytes that were judged, which are
    those that are signed: the file is not read again. file: where they came from. parent, tail: of
    a calibration, the sha-256 of the bundle whose numbers it changes and the tail it is for."""

    file: Path
    data: bytes
    name: str
    release: int
    applicability: Applicability
    parent: str = ""
    tail: str = ""


def declare(
    file: Path, applicability: Applicability | None = None, tail: str = "", parent: str = ""
) -> Declared:
    """The declaration of one bundle file; Rejected when it is none, or is not named as one."""
    where = str(file)
    bounds = ModelBounds()
    data = _read(file, bounds.bundle_bytes_max)
    files = unpack(data, bounds, where)
    if file.name != files.filename:
        raise Rejected("not the name of this bundle", where, f"rename it to {files.filename}")
    bundle = files.bundle
    fields = msgspec.structs.asdict(bundle.applicability)
    who = check_applicability(applicability or Applicability(**fields), where)
    return Declared(
        file=file, data=data, name=bundle.name, release=bundle.release, applicability=who,
        parent=parent, tail=tail,
    )  # fmt: skip


def read_applicability(path: Path) -> Applicability:
    """From a JSON file of its own, for `--applicability`."""
    try:
        who = msgspec.json.decode(_read(path, JSON_BYTES_MAX), type=Applicability)
    except msgspec.DecodeError as error:
        raise Rejected(
            str(error), str(path), '{"types": […], "part_numbers": […], "esns": […], "tails": […]}'
        ) from None
    return check_applicability(who, str(path))


def _read(path: Path, bytes_max: int) -> bytes:
    """One byte beyond the bound is read, and refused by whoever decodes."""
    try:
        with path.open("rb") as file:
            return file.read(bytes_max + 1)
    except OSError as error:
        raise Unreachable(f"cannot read: {error.strerror}", str(path), "check the path") from None
