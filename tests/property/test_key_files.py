"""Whatever lies in a key folder: it is a key, or is refused by a typed error."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from hypothesis import example, given, settings
from hypothesis import strategies as st
from securesystemslib.signer import SSlibKey

from bench.fuzz.mutate import mutate
from shared.errors import TailTwinError
from signing.keys import KeyFolder
from signing.keys.device import TokenKey, TpmKey, read_device, write_device
from signing.keys.public import reserved

EXAMPLES = 120


def seeds(end: str) -> list[bytes]:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if end == "toml":
            write_device(folder / "a.toml", TokenKey("/lib/m.so", "desk", "root-1", "4711", "01ff"))
            write_device(folder / "b.toml", TpmKey("device:/dev/tpmrm0", "00" * 90, "01" * 126))
        else:
            keys = KeyFolder(folder)
            keys.create("a")
            keys.create("b", "composite")
            key = SSlibKey.from_crypto(generate_private_key(SECP256R1()).public_key())
            with reserved(folder, "c", "tpm", key):
                pass
        return [path.read_bytes() for path in sorted(folder.glob(f"*.{end}"))]


def load_public(folder: Path, data: bytes) -> None:
    (folder / "root-1.pub.json").write_bytes(data)
    keys = KeyFolder(folder)
    assert keys.public("root-1").keyid in data.decode()


def load_private(folder: Path, data: bytes) -> None:
    path = folder / "root-1.pem"
    path.write_bytes(data)
    path.chmod(0o600)
    KeyFolder(folder).load("root-1").sign(b"x")


def load_device(folder: Path, data: bytes) -> None:
    path = folder / "root-1.toml"
    path.write_bytes(data)
    path.chmod(0o600)
    read_device(path)


@pytest.mark.parametrize(
    ("end", "load"), [("pub.json", load_public), ("pem", load_private), ("toml", load_device)]
)
def test_any_bytes_in_a_key_folder_are_a_key_or_refused(
    tmp_path: Path, end: str, load: Callable[[Path, bytes], None]
) -> None:
    good = seeds(end)
    for seed in good:
        load(tmp_path, seed)

    @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True)
    @given(st.one_of(st.integers(0, 1 << 32), st.binary(max_size=300)))
    @example(b"")
    @example(b"[" * 9000)
    @example(b'{"kind":"tpm","keyid":"","key":{"keytype":1.5,"scheme":null,"keyval":[]}}')
    @example(b'{"kind":"tpm","keyid":"","key":' + b'{"a":' * 2500)
    @example(b'kind = "tpm"\ntcti = "x"\npublic = "0"\nprivate = "zz"\n')
    def each(drawn: int | bytes) -> None:
        if isinstance(drawn, int):
            drawn = mutate(good, random.Random(drawn), is_text=True)
        try:
            load(tmp_path, drawn)
        except TailTwinError:
            pass

    each()
