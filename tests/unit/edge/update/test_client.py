"""The TUF client as a process, and the seams of python-tuf that it rests on."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tuf.ngclient import Updater
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet

from edge.update.child import FetchChild
from edge.update.client import provision
from edge.update.disk import PosixDisk
from edge.update.floor import BUILT_NS, TimeFloor
from edge.update.lock import Lock
from edge.update.slots import Slots
from edge.update.verified import FetchFailure, VerifiedBundle
from shared.errors import Corrupt, Rejected, Unreachable
from tests.unit.edge.update.stand import AIRCRAFT, Aboard, Server, Shop, clock_at, later, serving

ROOT = Path(__file__).parents[4]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    from datetime import UTC, datetime

    return Shop(tmp_path, now=datetime.now(UTC))


@pytest.fixture
def server(shop: Shop) -> Iterator[Server]:
    with serving(shop.folder) as server:
        yield server


@pytest.fixture
def trust(tmp_path: Path, shop: Shop) -> Path:
    trust = tmp_path / "state" / "tuf" / "image"
    provision(trust, shop.root())
    return trust


def published(shop: Shop, release: int, content: bytes | None = None) -> str:
    from datetime import UTC, datetime

    return shop.publish(release, now=datetime.now(UTC), content=content)


def test_python_tuf_still_has_the_seams_that_the_wrapper_uses() -> None:
    """An upgrade that moves them has to be read, not discovered aboard."""
    assert list(inspect.signature(Updater._persist_file).parameters) == ["self", "filename", "data"]
    for method in (Updater._persist_metadata, Updater._persist_root):
        assert "self._persist_file(" in inspect.getsource(method)
    source = inspect.getsource(TrustedMetadataSet)
    assert "self.reference_time = " in source
    assert "is_expired()" not in source and "is_expired(self.reference_time)" in source
    assert "self._trusted_set = TrustedMetadataSet(" in inspect.getsource(Updater.__init__)
    assert "self._trusted_set.update_root(data)" in inspect.getsource(Updater._load_root)


def test_the_child_fetches_and_its_answer_can_be_installed(
    tmp_path: Path, shop: Shop, server: Server, trust: Path
) -> None:
    target = published(shop, 1)
    answer = asyncio.run(FetchChild(trust, server.url, AIRCRAFT)(target, {}))
    assert isinstance(answer, VerifiedBundle), answer
    assert (answer.name, answer.release, answer.target) == ("egt", 1, target)
    live = Slots(tmp_path / "state").install_first([answer])
    assert live.path(live.bundles[0]).read_bytes() == (tmp_path / "egt-1.0.0.tar.zst").read_bytes()


def test_the_child_says_why_not(shop: Shop, server: Server, trust: Path) -> None:
    target = published(shop, 3)
    child = FetchChild(trust, server.url, AIRCRAFT)
    answer = asyncio.run(child(target, {"egt": 4}))
    assert answer == FetchFailure(
        kind="rejected", code="release_back", text="release 3 of egt is behind 4"
    )
    answer = asyncio.run(FetchChild(trust, server.url, AIRCRAFT, bytes_max=10)(target, {}))
    assert isinstance(answer, FetchFailure) and answer.code == "too_large"


def test_a_cancelled_fetch_leaves_no_child(shop: Shop, server: Server, trust: Path) -> None:
    target = published(shop, 1)
    server.drips, server.drip_s = "timestamp", 1.0
    pids: list[int] = []

    async def drive() -> None:
        started = asyncio.create_subprocess_exec

        async def noted(*args: object, **options: object) -> asyncio.subprocess.Process:
            process = await started(*args, **options)  # type: ignore[arg-type]
            pids.append(process.pid)
            return process

        asyncio.create_subprocess_exec = noted  # type: ignore[assignment]
        try:
            child = FetchChild(trust, server.url, AIRCRAFT)
            task = asyncio.create_task(child(target, {}))  # type: ignore[arg-type]
            while not server.asked:
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        finally:
            asyncio.create_subprocess_exec = started

    asyncio.run(drive())
    assert pids and not Path(f"/proc/{pids[0]}").exists()


def test_a_child_that_drips_is_left_at_the_deadline(
    shop: Shop, server: Server, trust: Path
) -> None:
    target = published(shop, 1)
    server.drips, server.drip_s = "timestamp", 0.05
    start = time.monotonic()
    answer = asyncio.run(FetchChild(trust, server.url, AIRCRAFT, deadline_s=0.5)(target, {}))
    assert isinstance(answer, FetchFailure) and answer.code == "deadline"
    assert time.monotonic() - start < 5.0


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
    child = FetchChild(trust, "http://127.0.0.1:1", AIRCRAFT, deadline_s=0.1, command=command)
    answer = asyncio.run(child("egt/egt-1.tar.zst", {}))
    assert isinstance(answer, FetchFailure) and answer.code == code


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
               {"tuf", "securesystemslib", "urllib3", "cryptography"}])
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == b"[]"


def test_a_second_update_at_a_time_is_told_so(trust: Path, shop: Shop, server: Server) -> None:
    target = published(shop, 1)
    with Lock(trust / "lock"):
        answer = asyncio.run(FetchChild(trust, server.url, AIRCRAFT)(target, {}))
        assert isinstance(answer, FetchFailure) and answer.code == "busy"
        with pytest.raises(Unreachable, match="another update"), Lock(trust / "lock"):
            pass


def test_a_ground_that_is_not_there_is_unreachable(trust: Path, shop: Shop) -> None:
    answer = asyncio.run(FetchChild(trust, "http://127.0.0.1:1", AIRCRAFT)("egt/e-1.tar.zst", {}))
    assert isinstance(answer, FetchFailure) and (answer.kind, answer.code) == (
        "unreachable", "network",
    )  # fmt: skip


def test_an_aircraft_without_a_root_trusts_nobody(tmp_path: Path, server: Server) -> None:
    child = FetchChild(tmp_path / "nothing", server.url, AIRCRAFT)
    answer = asyncio.run(child("egt/e-1.tar.zst", {}))
    assert isinstance(answer, FetchFailure) and (answer.kind, answer.code) == ("corrupt", "no_root")


def test_provisioning_twice_is_harmless_and_never_changes_the_root(
    tmp_path: Path, trust: Path, shop: Shop
) -> None:
    provision(trust, shop.root())
    (tmp_path / "other").mkdir()
    with pytest.raises(Rejected, match="another root is trusted"):
        provision(trust, Shop(tmp_path / "other").root())


def test_the_time_floor_only_grows_and_is_remembered(tmp_path: Path) -> None:
    floor = TimeFloor(tmp_path / "floor.json", PosixDisk())
    assert floor.ns == BUILT_NS
    assert floor.reference(0).timestamp() * 1e9 == BUILT_NS
    day_5_ns = int(later(5).timestamp()) * 10**9
    floor.raise_to(day_5_ns)
    floor.raise_to(day_5_ns - 10**9)
    again = TimeFloor(tmp_path / "floor.json", PosixDisk())
    assert again.ns == day_5_ns
    assert again.reference(clock_at(later(1)).wall_ns()) == later(5)
    assert again.reference(clock_at(later(9)).wall_ns()) == later(9)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"floor_ns": "x"}', b"x" * 5000])
def test_a_time_floor_that_cannot_be_read_judges_nothing(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "floor.json").write_bytes(data)
    with pytest.raises(Corrupt):
        TimeFloor(tmp_path / "floor.json", PosixDisk())


def test_several_bundles_can_be_fetched_before_one_set_is_made_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.update.client.FETCHED_MAX", 6)
    shop = Shop(tmp_path)
    with serving(shop.folder) as server:
        aboard = Aboard(tmp_path, shop, server)
        answers = [aboard.fetch(shop.publish(1, name=f"m{n}")) for n in range(9)]
    kept = [a for a in answers if isinstance(a, VerifiedBundle) and a.file.exists()]
    assert kept == answers[-6:]


def test_a_cached_target_is_not_fetched_again(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    with serving(shop.folder) as server:
        aboard = Aboard(tmp_path, shop, server)
        target = shop.publish(2)
        first = aboard.fetch(target)
        server.asked.clear()
        assert aboard.fetch(target) == first
        assert not [path for path in server.asked if path.startswith("targets/")]


def test_threads_of_the_deadline_do_not_outlive_the_session(tmp_path: Path) -> None:
    before = threading.active_count()
    shop = Shop(tmp_path)
    with serving(shop.folder) as server:
        Aboard(tmp_path, shop, server)
    assert threading.active_count() <= before + 1
