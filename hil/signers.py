"""The people who sign, each with keys of their own, and both repositories.

In: bundles, tails, sets. Out: `repo/` with `image/` and `director/`, and keys in one folder for each
person or desk. Always holds: a command gets the folders of keys that it needs and no other; the
root keys, two of three for each root, are used once, at the beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hil.processes import program, run_once
from shared.errors import Unreachable

ROOT = Path(__file__).resolve().parents[1]
BUILDER = "https://tailtwin.example/builder/bench"
"""As the bench's profile names it; `.example` resolves nowhere."""
HOLDERS = {
    "root-1": ("image-root-1", "director-root-1"),
    "root-2": ("image-root-2", "director-root-2"),
    "root-3": ("image-root-3", "director-root-3"),
    "release": ("image-targets", "director-targets"),
    "attestor": ("attestor-1",),
    "desk": ("calibration",),
    "online": ("image-snapshot", "image-timestamp", "director-tails", "director-snapshot",
               "director-timestamp"),
}  # fmt: skip
"""Folder of keys to the keys in it. Those of root, release and attestor are offline keys."""


class Signers:
    """`init` once; then bundles are attested and published, tails added, sets assigned."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.repo, self._keys, self._log = folder / "repo", folder / "keys", log

    @property
    def image_root(self) -> Path:
        return self.repo / "image" / "metadata" / "1.root.json"

    @property
    def director_root(self) -> Path:
        return self.repo / "director" / "metadata" / "1.root.json"

    async def init(self) -> None:
        """Keys and both repositories; then everybody takes what is theirs."""
        made = self._keys / "made"
        await self._sign("init", *self._repo(), "--keys", str(made))
        for holder, names in HOLDERS.items():
            (self._keys / holder).mkdir(mode=0o700)
            for name in names:
                for file in made.glob(f"{name}.*"):
                    file.rename(self._keys / holder / file.name)
        left = [file.name for file in made.iterdir()]
        if left:
            raise Unreachable(f"nobody holds {', '.join(left)}", str(made), "see hil/signers.py")
        made.rmdir()

    async def attest(self, *bundles: Path) -> list[Path]:
        """The bundles with an attestation each, in a folder of their own; in the same order."""
        out = bundles[0].parent / "attested"
        out.mkdir()
        said = await self._attest("--out", str(out), *map(str, bundles))
        return [Path(line) for line in said.splitlines()[-len(bundles) :]]

    async def publish(self, bundles: Sequence[Path]) -> None:
        """Under the image targets key."""
        await self._sign(
            "publish", *self._repo(), *self._held("release", "online"), *map(str, bundles)
        )

    async def attest_request(self, request: Path) -> None:
        """The candidate in a signing request, which then names the attested file."""
        await self._attest("--request", str(request))

    async def publish_calibration(self, request: Path) -> None:
        """Under the key of the calibration desk."""
        await self._sign("publish", *self._repo(), *self._held("desk", "online"), "--role",
                         "calibration", "--request", str(request))  # fmt: skip

    async def add_tail(self, tail: str) -> None:
        await self._sign("add-tail", *self._repo(), *self._held("release", "online"), tail)

    async def assign(self, tail: str, targets: Sequence[str]) -> None:
        """What the tail should run: the whole set. Online keys alone."""
        await self._sign("assign", *self._repo(), *self._held("online"), "--tail", tail, *targets)

    async def _attest(self, *what: str) -> str:
        """By the bench's word where this is no git work tree, as in an archive of it."""
        known = (ROOT / ".git").exists()
        source = ("--source", str(ROOT)) if known else ("--source-commit", "0" * 40)
        return await self._sign("attest", *self._held("attestor"), "--key", "attestor-1",
                                "--builder", BUILDER, *source, *what)  # fmt: skip

    def _repo(self) -> tuple[str, str]:
        return "--repo", str(self.repo)

    def _held(self, *holders: str) -> list[str]:
        return [word for holder in holders for word in ("--keys", str(self._keys / holder))]

    async def _sign(self, command: str, *rest: str) -> str:
        return await run_once(program("tailtwin-sign"), command, *rest, log=self._log)
