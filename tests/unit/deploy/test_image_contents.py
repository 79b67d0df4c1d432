"""What is in a built image, and that it runs. `make edge-image` builds one and runs this.

TAILTWIN_IMAGE names the folder with the image; the newest counts. Without it all of this skips.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import zstandard

ROOT = Path(__file__).parents[3]
FOLDER = os.environ.get("TAILTWIN_IMAGE", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="TAILTWIN_IMAGE is not set; try make edge-image")
UNPACKED_MB_MAX = 256  # assumption: a quarter of the storage that the reference architecture gives
NOT_ABOARD = ("ground", "hil", "tests", "bench", "deploy", "pip", "setuptools", "scipy", "pandas",
              "pydantic", "fastapi", "uvicorn", "jsbsim", "pytest")  # fmt: skip


@pytest.fixture(scope="module")
def image() -> Path:
    return max(Path(FOLDER).glob("*.tar.zst"), key=lambda path: path.stat().st_mtime)


@pytest.fixture(scope="module")
def tree(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    with (
        image.open("rb") as packed,
        zstandard.ZstdDecompressor().stream_reader(packed) as plain,
        tarfile.open(fileobj=plain, mode="r|") as tar,
    ):
        for member in tar:
            if member.name != "tailtwin-edge/bin/python":  # the computer's own; not ours to make
                tar.extract(member, folder, filter="data")
    return folder / "tailtwin-edge"


@pytest.fixture(scope="module")
def site(tree: Path) -> Path:
    return tree / "lib/python3.11/site-packages"


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """With this machine's Python in the place of the flight computer's."""
    if platform.machine() not in (tree / "sbom.cdx.json").read_text():
        pytest.skip("the image is for another machine")
    python = Path(os.path.realpath(sys.executable))
    link = tree / "bin/python"
    if not link.is_symlink():
        link.symlink_to(python)
        (tree / "pyvenv.cfg").write_text(f"home = {python.parent}\n")
    return subprocess.run(
        [str(link), "-I", *arguments], capture_output=True, text=True, timeout=120, cwd="/", env={},
        check=False,
    )  # fmt: skip


def test_of_our_code_only_edge_shared_and_the_verifier_are_aboard(site: Path) -> None:
    tops = {p.name for p in site.iterdir()}
    assert {"edge", "shared", "signing"} <= tops
    assert not tops & set(NOT_ABOARD)
    assert not [n for n in tops if n.endswith(".dist-info") and n.split("-")[0] in NOT_ABOARD]
    signing = {p.name for p in (site / "signing").glob("*.py")}
    assert signing == {"__init__.py"}
    folders = {p.name for p in (site / "signing").iterdir() if p.is_dir()}
    assert folders - {"__pycache__"} == {"verify"}


def test_no_publishing_or_key_code_of_ours_is_aboard(tree: Path) -> None:
    """Libraries that verify can also sign (securesystemslib, tuf, cryptography): without a key."""
    own = [
        p
        for part in ("edge", "shared", "signing")
        for p in tree.rglob(f"site-packages/{part}/**/*.py")
    ]
    for path in own:
        text = path.read_text()
        assert "signing.repositor" not in text and "signing.keys" not in text, path
    signing = {p.name for p in tree.rglob("site-packages/signing/**/*.py")}
    assert not signing & {"repository.py", "declare.py", "attest.py", "keyring.py"}
    assert not [p for p in tree.rglob("*") if p.suffix in (".pem", ".key")]


def test_no_tests_are_aboard(tree: Path) -> None:
    names = {p.name for p in tree.rglob("*")}
    assert not names & {"tests", "test", "conftest.py"}
    assert not [name for name in names if name.startswith("test_")]


def test_every_source_has_bytecode_and_none_names_this_checkout(site: Path) -> None:
    sources, compiled = list(site.rglob("*.py")), list(site.rglob("*.pyc"))
    assert len(sources) == len(compiled) > 300
    assert not [p for p in compiled if str(ROOT).encode() in p.read_bytes()]


def test_sums_and_the_hash_beside_the_image_are_right(tree: Path, image: Path) -> None:
    for line in (tree / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        if name != "pyvenv.cfg":  # `run` points it to this machine's Python
            assert hashlib.sha256((tree / name).read_bytes()).hexdigest() == digest, name
    said = image.with_name(image.name + ".sha256").read_text().split()[0]
    assert hashlib.sha256(image.read_bytes()).hexdigest() == said


def test_the_bill_of_materials_names_every_library_with_version_and_hash(
    tree: Path, site: Path
) -> None:
    bill = json.loads((tree / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    said = {(c["name"].lower().replace("-", "_"), c["version"]) for c in bill["components"]}
    there = {
        tuple(p.name.removesuffix(".dist-info").lower().split("-"))
        for p in site.glob("*.dist-info")
    }
    assert said == there
    for component in bill["components"]:
        assert component["hashes"][0]["content"] in (ROOT / "requirements/edge.txt").read_text()
        assert component["purl"].startswith("pkg:pypi/")


def test_profile_signal_set_and_unit_are_aboard(tree: Path) -> None:
    from edge.config import load_profile

    profile, _ = load_profile(tree / "profile/profile.toml")
    limits = (tree / "systemd/tailtwin-edge.service.d/profile.conf").read_text()
    assert f"MemoryMax={2 * profile.compute.memory_mb_max}M" in limits
    assert (tree / "systemd/tailtwin-edge.service").exists()


def test_its_size_is_bounded(tree: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unpacked_mb = sum(p.stat().st_size for p in tree.rglob("*") if p.is_file()) / 1e6
    with capsys.disabled():
        print(
            f"\n  {image.name}: {image.stat().st_size / 1e6:.1f} MB, unpacked {unpacked_mb:.1f} MB"
        )
    assert unpacked_mb < UNPACKED_MB_MAX


def test_it_answers_help_and_doctor(tree: Path) -> None:
    told = run(tree, "-m", "edge", "--help")
    assert told.returncode == 0 and "doctor" in told.stdout, told.stderr
    done = run(
        tree, "-m", "edge", "doctor", "--profile", str(tree / "profile/profile.toml"), "--json"
    )
    findings = {f["name"]: f for f in json.loads(done.stdout)}
    for name in ("profile", "python", "sqlite", "libraries", "bytecode", "gate"):
        assert findings[name]["level"] == "ok", findings[name]


def test_every_module_of_ours_imports(tree: Path, site: Path) -> None:
    """But sources and seals whose library is an extra that this image has not."""
    modules = sorted(
        ".".join(p.relative_to(site).with_suffix("").parts).removesuffix(".__init__")
        for part in ("edge", "shared", "signing") for p in (site / part).rglob("*.py")
        if p.name != "__main__.py"
    )  # fmt: skip
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        " try: importlib.import_module(name)\n"
        " except ModuleNotFoundError as e: print(e.name)\n"
    )
    done = run(tree, "-c", code, *modules)
    assert done.returncode == 0, done.stderr[-500:]
    assert set(done.stdout.split()) <= {"asyncua", "tpm2_pytss"}
