"""The program that fetches, as a process of its own, and the seams of python-tuf it rests on."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from tuf.ngclient import Updater
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet

from edge.update.child import START_S_MAX, FetchChild
from edge.update.lock import Lock
from edge.update.provision import provision
from edge.update.slots import Slots, SlotsView
from edge.update.verified import (
    BUNDLES_MAX,
    MESSAGE_BYTES_MAX,
    FetchFailure,
    FetchRequest,
    VerifiedBundle,
    VerifiedSet,
)
from shared.errors import Unreachable
from signing.verify import RELEASE_MAX
from tests.fakes.attested import POLICY
from tests.unit.edge.update.stand import MODEL, MODEL_AIRCRAFT, Server, Shop, serving

ROOT = Path(__file__).parents[4]
NOTHING = SlotsView()


@pytest.fixture(scope="module")
def now() -> datetime:
    """Of this machine: the child has no other clock."""
    return datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def shop(tmp_path: Path, now: datetime) -> Shop:
    return Shop(tmp_path, now)


@pytest.fixture
def trust(tmp_path: Path, shop: Shop) -> Path:
    trust = tmp_path / "state" / "tuf"
    provision(trust, *shop.roots())
    return trust


@pytest.fixture
def server(shop: Shop) -> Iterator[Server]:
    with serving(shop.folder) as server:
        yield server


def offered(shop: Shop, release: int, now: datetime) -> str:
    return shop.offer(release, now, name="egt_rom", who=MODEL, content=shop.model(release))


def child(trust: Path, source: str, **changes: object) -> FetchChild:
    asked = FetchRequest(
        folder=str(trust), sources=(source,), aircraft=MODEL_AIRCRAFT, attestation=POLICY,
        deadline_s=20.0, staging_may_be_memory=True,
    )  # fmt: skip
    return FetchChild(msgspec.structs.replace(asked, **changes))


def test_python_tuf_still_has_the_seams_that_the_wrapper_uses() -> None:
    """An upgrade that moves them has to be read, not discovered aboard."""
    assert list(inspect.signature(Updater._persist_file).parameters) == ["self", "filename", "data"]
    for method in (Updater._persist_metadata, Updater._persist_root):
        assert "self._persist_file(" in inspect.getsource(method)
    source = inspect.getsource(TrustedMetadataSet)
    assert "self.reference_time = " in source
    assert "is_expired()" not in source and "is_expired(self.reference_time)" in source
    for adding in (TrustedMetadataSet.update_root, TrustedMetadataSet.update_delegated_targets):
        assert "self._add(" in inspect.getsource(adding).rpartition("raise")[2]  # checked before
    assert "self._trusted_set = TrustedMetadataSet(" in inspect.getsource(Updater.__init__)
    loading = inspect.getsource(Updater._load_root)
    assert loading.index("self._trusted_set.update_root(data)") < loading.index("_persist_root")
    loading = inspect.getsource(Updater._load_targets)
    assert loading.rindex("update_delegated_targets") < loading.index("self._persist_metadata")
    assert "self._load_targets(role_name, parent_role)" in inspect.getsource(
        Updater._preorder_depth_first_walk
    )
    link = inspect.getsource(Updater._update_root_symlink)
    assert '"root_history"' in link and '"root.json"' in link


def test_the_child_fetches_and_its_answer_can_be_installed(
    tmp_path: Path, shop: Shop, trust: Path, now: datetime
) -> None:
    """A real bundle, attested: nothing inside is passed over in the child."""
    target = offered(shop, 1, now)
    answer = asyncio.run(child(trust, shop.url)(target, NOTHING))
    assert isinstance(answer, VerifiedSet), answer
    (bundle,) = answer.bundles
    assert (bundle.name, bundle.release, bundle.target) == ("egt_rom", 1, target)
    live = Slots(tmp_path / "state").install_first(answer.bundles)
    assert live.path(live.bundles[0]).read_bytes() == shop.model()
    assert live.id == answer.id


def test_the_child_says_why_not(shop: Shop, trust: Path, now: datetime) -> None:
    target = offered(shop, 1, now)
    behind = SlotsView(releases={"egt_rom": 4})
    answer = asyncio.run(child(trust, shop.url)(target, behind))
    assert isinstance(answer, FetchFailure) and answer.code == "release_back"
    assert "release 1 of egt_rom is behind 4" in answer.text and not answer.may_pass


def test_a_cancelled_fetch_leaves_no_child(
    shop: Shop, server: Server, trust: Path, now: datetime
) -> None:
    target = offered(shop, 1, now)
    server.drips, server.drip_s = "timestamp", 1.0
    pids: list[int] = []

    async def drive() -> None:
        started = asyncio.create_subprocess_exec

        async def noted(*args: object, **options: object) -> asyncio.subprocess.Process:
            process = await started(*args, **options)  # type: ignore[arg-type]
            pids.append(process.pid)
            return process

        asyncio.create_subprocess_exec = noted
        try:
            task = asyncio.create_task(child(trust, server.url)(target, NOTHING))
            while not server.asked:
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        finally:
            asyncio.create_subprocess_exec = started

    asyncio.run(drive())
    assert pids and not Path(f"/proc/{pids[0]}").exists()


def test_a_child_that_drips_is_left_at_the_deadline(
    shop: Shop, server: Server, trust: Path, now: datetime
) -> None:
    target = offered(shop, 1, now)
    server.drips, server.drip_s = "timestamp", 0.05
    start = time.monotonic()
    answer = asyncio.run(child(trust, server.url, deadline_s=0.5)(target, NOTHING))
    assert isinstance(answer, FetchFailure) and answer.code == "deadline" and answer.may_pass
    assert time.monotonic() - start < 0.5 + START_S_MAX + 1.0  # it may start slowly, no more


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("import sys; sys.exit(3)", "child_died"),
        ("print('nonsense')", "child_died"),
        ("print('x' * 10_000_000)", "child_died"),
        ("import os; os.kill(os.getpid(), 9)", "child_died"),
        ("import time; time.sleep(60)", "deadline"),
    ],
)
def test_a_child_that_breaks_has_fetched_nothing(
    trust: Path, program: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.update.child.START_S_MAX", 0.3)
    command = (sys.executable, "-c", f"import sys; sys.stdin.read()\n{program}")
    if code == "child_died":
        monkeypatch.setattr("edge.update.child.START_S_MAX", 10.0)
    asked = FetchRequest(
        folder=str(trust), sources=("http://127.0.0.1:1",), aircraft=MODEL_AIRCRAFT, deadline_s=0.1
    )
    answer = asyncio.run(FetchChild(asked, command=command)("egt/egt-1.tar.zst", NOTHING))
    assert isinstance(answer, FetchFailure) and answer.code == code and answer.may_pass


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff", b'{"folder": "/", "x": 1}'])
def test_the_program_refuses_a_request_that_is_none(data: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge.update.client"], input=data, capture_output=True, cwd=ROOT
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["code"] == "request"


def test_the_recorder_does_not_carry_tuf() -> None:
    """Everything of updates that the recorder imports, in a process of its own."""
    program = textwrap.dedent(
        """
        import sys
        import edge.update.child, edge.update.gate, edge.update.slots, edge.update.updates
        print([m for m in sys.modules if m.split(".")[0] in
               {"tuf", "securesystemslib", "urllib3", "cryptography", "onnx", "onnxruntime"}])
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == b"[]"


def test_a_second_update_at_a_time_is_told_so(shop: Shop, trust: Path) -> None:
    with Lock(trust / "lock"):
        answer = asyncio.run(child(trust, shop.url)("", NOTHING))
        assert isinstance(answer, FetchFailure) and answer.code == "busy" and answer.may_pass
        with pytest.raises(Unreachable, match="another update"), Lock(trust / "lock"):
            pass


def test_nobody_waits_for_a_child_that_the_kernel_holds(
    trust: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read of a dying disk cannot be ended, not even by SIGKILL."""
    killed: list[bool] = []

    class Held:
        returncode, pid = None, 0

        async def communicate(self, data: bytes) -> tuple[bytes, bytes]:
            await asyncio.Event().wait()
            raise AssertionError

        def kill(self) -> None:
            killed.append(True)

        async def wait(self) -> None:
            await asyncio.Event().wait()

    async def start(*_: object, **__: object) -> Held:
        return Held()

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    monkeypatch.setattr("edge.update.child.give_way", lambda pid: None)
    monkeypatch.setattr("edge.update.child.START_S_MAX", 0.0)
    monkeypatch.setattr("edge.update.child.GONE_S_MAX", 0.05)
    asked = FetchRequest(
        folder=str(trust),
        sources=("file:///media/dying",),
        aircraft=MODEL_AIRCRAFT,
        deadline_s=0.05,
    )

    async def fetch() -> object:
        async with asyncio.timeout(5):
            return await FetchChild(asked)("", SlotsView())

    answer = asyncio.run(fetch())
    assert isinstance(answer, FetchFailure) and answer.code == "deadline" and killed == [True]


def test_the_answer_for_the_largest_set_fits_into_a_message() -> None:
    """Whatever a bundle declares: a thousand tails by name would not."""
    name = "n" * 32
    file = f"{name}-{'9' * 67}-{'a' * 12}.tar.zst"
    one = VerifiedBundle(
        target=f"cal/{name}/{name}/{file}", name=name, release=RELEASE_MAX, sha256="a" * 64,
        length=1, path=f"/{'p' * 255}/{'a' * 64}.{file}", parent=f"/{'p' * 255}/{'a' * 64}.{file}",
        parent_sha256="b" * 64, parent_release=RELEASE_MAX,
    )  # fmt: skip
    answer = VerifiedSet(bundles=(one,) * BUNDLES_MAX, withdrawn=("c" * 64,) * 2 * BUNDLES_MAX)
    assert len(msgspec.json.encode(answer)) < MESSAGE_BYTES_MAX
