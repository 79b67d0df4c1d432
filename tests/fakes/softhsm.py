"""PKCS#11 tokens by SoftHSM. Skips where there is none."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm.so",
           "/usr/local/lib/softhsm/libsofthsm2.so")  # fmt: skip
PIN, SO_PIN = "7391-tokens", "security-officer"


@contextmanager
def tokens(folder: Path, labels: Sequence[str]) -> Iterator[str]:
    """Tokens of these labels, all with PIN; the path of the module that gives them."""
    module = next((path for path in MODULES if Path(path).exists()), "")
    if not module or not shutil.which("softhsm2-util"):
        pytest.skip("needs softhsm2 (Debian: apt install softhsm2)")
    if importlib.util.find_spec("pkcs11") is None:
        pytest.skip("needs python-pkcs11 (pip install tailtwin[signing-hsm])")
    import pkcs11

    (folder / "tokens").mkdir()
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(config))
        for label in labels:
            subprocess.run(
                ["softhsm2-util", "--init-token", "--free", "--label", label,
                 "--pin", PIN, "--so-pin", SO_PIN],
                check=True, capture_output=True, timeout=30,
            )  # fmt: skip
        try:
            yield module
        finally:
            pkcs11.unload(module)
