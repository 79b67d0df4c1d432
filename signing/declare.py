"""What a bundle file declares of itself: its name, release and applicability.

In: a bundle (`.tar.zst`). Out: a `Declared` for the repository, or Rejected.
Always holds: nothing is unpacked to disk, and no more is decoded than the caps allow.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import msgspec
import zstandard

from shared.errors import Rejected, Unreachable
from shared.topics import check_identifier
from signing.publish import Declared
from signing.verify import Applicability, check_applicability

MANIFEST = "bundle.json"
MANIFEST_BYTES_MAX = 1 << 20
DECODED_BYTES_MAX = 256 << 20
MEMBERS_MAX = 16
WINDOW_LOG_MAX = 27  # 128 MB, what zstd itself takes by default


class _Manifest(msgspec.Struct, frozen=True):
    """The part of `bundle.json` that is signed as `custom` too; admission reads the rest."""

    name: str
    applicability: Applicability
    release: int | None = None


def declare(
    file: Path, release: int | None = None, applicability: Applicability | None = None
) -> Declared:
    """The declaration of one bundle; arguments override what the bundle says."""
    where = str(file)
    manifest = _read_manifest(file)
    check_identifier(manifest.name, f"{where}: name")
    counter = release if release is not None else manifest.release
    if counter is None:
        raise Rejected("the bundle says no release counter", where, "give --release")
    who = check_applicability(applicability or manifest.applicability, where)
    return Declared(file=file, name=manifest.name, release=counter, applicability=who)


def read_applicability(path: Path) -> Applicability:
    """From a JSON file of its own, for `--applicability`."""
    try:
        data = path.read_bytes()[: MANIFEST_BYTES_MAX + 1]
        return check_applicability(msgspec.json.decode(data, type=Applicability), str(path))
    except OSError as error:
        raise Unreachable(f"cannot read: {error.strerror}", str(path), "check the path") from None
    except msgspec.DecodeError as error:
        raise Rejected(
            str(error), str(path), '{"types": […], "part_numbers": […], "esns": […], "tails": […]}'
        ) from None


def _read_manifest(file: Path) -> _Manifest:
    where = f"{file}: {MANIFEST}"
    try:
        with (
            file.open("rb") as raw,
            zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG_MAX).stream_reader(raw) as z,
            tarfile.open(fileobj=_Capped(z), mode="r|") as tar,
        ):
            for count, member in enumerate(tar):
                if count >= MEMBERS_MAX:
                    break
                if member.name == MANIFEST and member.isfile():
                    return _decode_manifest(tar, member, where)
    except OSError as error:
        raise Unreachable(
            f"cannot read: {error.strerror or error}", str(file), "check the path"
        ) from None
    except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
        raise Rejected(f"not a .tar.zst: {error}", str(file), "pack the bundle again") from None
    raise Rejected("not in the bundle", where, "pack the bundle again")


def _decode_manifest(tar: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> _Manifest:
    stream = tar.extractfile(member)
    if stream is None or member.size > MANIFEST_BYTES_MAX:
        raise Rejected(f"over {MANIFEST_BYTES_MAX} bytes", where, "pack the bundle again")
    try:
        return msgspec.json.decode(stream.read(), type=_Manifest)
    except msgspec.DecodeError as error:
        raise Rejected(str(error), where, "pack the bundle again") from None


class _Capped(io.RawIOBase):
    """A reader that ends with an error where the cap is."""

    def __init__(self, stream: zstandard.ZstdDecompressionReader) -> None:
        self._stream, self._left = stream, DECODED_BYTES_MAX

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # RawIOBase's buffer
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise tarfile.ReadError(f"over {DECODED_BYTES_MAX} bytes decoded")
        buffer[: len(data)] = data
        return len(data)
