"""The model host against the real worker process."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.models.host import HostTimes, ModelHost
from shared.bundle import pack
from shared.bundlefile import pack_declared, reference
from shared.profile import ModelBounds
from tests.fakes.bundles import bundle, model_of, packed, selftest_of

BOUNDS = ModelBounds()
ESNS = {1: "ESN1", 2: "ESN2"}
VALUES = {
    "AIR_MACH": 0.5, "AIR_ALT": 20000.0, "AIR_TAT": -5.0, "ENG1_N1": 80.0, "ENG2_N1": 81.0,
    "ENG1_BLEED": 1.0, "ENG2_BLEED": 0.0, "ENG1_EGT": 600.0, "ENG2_EGT": 610.0,
    "ENG1_FF": 1000.0, "ENG2_FF": 1100.0,
}  # fmt: skip
QUICK = HostTimes(deadline_s=0.3, hang_s=0.6, pause_first_s=0.05)


def place(folder: Path, release: int = 1) -> tuple[Path, str]:
    name, data = packed(release)
    path = folder / name
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


async def wait_state(host: ModelHost, *states: str) -> None:
    async with asyncio.timeout(20):
        while host.status.state not in states:
            await asyncio.sleep(0.005)


def with_host(
    body: Callable[[ModelHost], Awaitable[None]],
    esns: dict[int, str] = ESNS,
    bounds: ModelBounds = BOUNDS,
    **options: Any,
) -> None:
    async def run() -> None:
        host = ModelHost(bounds, esns, options.pop("times", QUICK), **options)
        task = asyncio.create_task(host.run())
        try:
            await body(host)
        finally:
            pid = host.status.pid
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if pid is not None:
                with pytest.raises(ProcessLookupError):
                    os.kill(pid, 0)

    asyncio.run(run())


def test_step_gives_what_the_reference_gives(tmp_path: Path) -> None:
    async def body(host: ModelHost) -> None:
        assert await host.load([place(tmp_path)]) == ""
        await wait_state(host, "running")
        steps = await host.step(7, VALUES, ("eng1", 3))
        assert steps is not None
        (step,) = steps
        wanted = reference(bundle(), step.inputs.astype("<f4"))
        assert step.predicted == pytest.approx(wanted, abs=0.02)
        assert step.deviation[1, 0] == pytest.approx(610.0 - wanted[1, 0], abs=0.02)
        assert step.reasons == ("", "") and step.trigger == ("eng1", 3) and step.t_ns == 7
        assert step.label.startswith("egt_rom-1.0.0-") and host.status.bundles == (step.label,)

    with_host(body)


@pytest.mark.parametrize(
    ("changes", "esns", "why"),
    [
        ({"ENG2_N1": 300.0}, ESNS, "n1 300 % is outside 20 to 105"),
        ({"ENG2_N1": float("nan")}, ESNS, "no n1"),
        ({}, {1: "ESN1"}, "no ESN is known at position 2"),
        ({}, {1: "ESN1", 2: "ESN9"}, "ESN ESN9 at position 2, made for ESN2"),
    ],
)
def test_engine_without_right_input_or_esn_has_no_prediction_and_says_so(
    tmp_path: Path, changes: dict[str, float], esns: dict[int, str], why: str
) -> None:
    async def body(host: ModelHost) -> None:
        await host.load([place(tmp_path)])
        await wait_state(host, "running")
        steps = await host.step(7, VALUES | changes)
        assert steps is not None
        assert steps[0].reasons == ("", why)
        assert steps[0].predicted[1] != pytest.approx(steps[0].predicted[1])  # NaN
        assert steps[0].predicted[0, 0] == pytest.approx(steps[0].predicted[0, 0])

    with_host(body, esns)


def test_hanging_worker_is_late_then_killed_and_started_again(tmp_path: Path) -> None:
    async def body(host: ModelHost) -> None:
        await host.load([place(tmp_path)])
        await wait_state(host, "running")
        pid = host.status.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        started = time.monotonic()
        assert await host.step(1, VALUES) is None
        assert time.monotonic() - started < 0.5
        assert await host.step(2, VALUES) is None  # at once: one question is outstanding
        assert time.monotonic() - started < 0.55
        await wait_state(host, "down")
        assert host.status.last_failure == "hangs" and host.status.late == 2
        await wait_state(host, "running")
        assert host.status.restarts == 1 and host.status.pid != pid
        assert await host.step(3, VALUES) is not None

    with_host(body)


def test_crashed_worker_is_started_again_with_the_live_set(tmp_path: Path) -> None:
    async def body(host: ModelHost) -> None:
        await host.load([place(tmp_path)])
        await wait_state(host, "running")
        assert host.status.pid is not None
        os.kill(host.status.pid, signal.SIGSEGV)
        await wait_state(host, "down")
        assert await host.step(1, VALUES) is None
        await wait_state(host, "running")
        assert await host.step(1, VALUES) is not None
        assert "status -11" in host.status.last_failure

    with_host(body)


def test_set_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    async def body(host: ModelHost) -> None:
        first = place(tmp_path)
        await host.load([first])
        await wait_state(host, "running")
        model = b"\x08\x0a"  # admission would have refused it; the worker must survive it
        data = pack(bundle(2), model, selftest_of(bundle(2)))
        bad = tmp_path / "bad.tar.zst"
        bad.write_bytes(data)
        reason = await host.load([first, (bad, hashlib.sha256(data).hexdigest())])
        assert "no session" in reason
        steps = await host.step(1, VALUES)
        assert steps is not None and len(steps) == 1 and steps[0].bundle.release == 1
        assert await host.load([place(tmp_path, release=2)]) == ""
        steps = await host.step(1, VALUES)
        assert steps is not None and steps[0].bundle.release == 2
        assert host.status.restarts == 0

    with_host(body)


def test_file_with_another_hash_is_refused_by_host_and_worker(tmp_path: Path) -> None:
    async def body(host: ModelHost) -> None:
        path, digest = place(tmp_path)
        assert "sha-256" in await host.load([(path, "0" * 64)])
        assert await host.load([(path, digest)]) == ""
        await wait_state(host, "running")
        path.write_bytes(packed(release=2)[1])  # changed behind our back
        assert host.status.pid is not None
        os.kill(host.status.pid, signal.SIGKILL)
        await wait_state(host, "down")
        async with asyncio.timeout(20):
            while "cannot load the live set" not in host.status.last_failure:
                await asyncio.sleep(0.01)
        assert "sha-256" in host.status.last_failure

    with_host(body)


def test_without_a_set_there_is_nothing_to_predict(tmp_path: Path) -> None:
    async def body(host: ModelHost) -> None:
        await wait_state(host, "empty")
        assert await host.step(1, VALUES) == []
        assert await host.load([place(tmp_path)]) == ""
        assert host.status.state == "running"
        assert host.signals == frozenset(VALUES)

    with_host(body)


def test_worker_without_memory_is_tried_again_and_never_runs(tmp_path: Path) -> None:
    async def body(host: ModelHost) -> None:
        await host.load([place(tmp_path)])
        async with asyncio.timeout(20):
            while host.status.restarts < 2:
                assert host.status.state in ("down", "starting")
                await asyncio.sleep(0.01)
        assert host.status.last_failure

    with_host(body, bounds=msgspec.structs.replace(BOUNDS, worker_address_space_mb=60))


def test_step_does_not_hold_the_event_loop(tmp_path: Path) -> None:
    """The tick shares the loop: while a step waits, other work runs."""

    async def body(host: ModelHost) -> None:
        await host.load([place(tmp_path)])
        await wait_state(host, "running")
        assert host.status.pid is not None
        os.kill(host.status.pid, signal.SIGSTOP)
        question = asyncio.create_task(host.step(1, VALUES))
        turns = 0
        while not question.done():
            await asyncio.sleep(0.01)
            turns += 1
        assert turns > 15

    with_host(body)


def test_worker_that_grows_is_ended_told_and_started_again(tmp_path: Path) -> None:
    told = list[tuple[str, str]]()
    fake = Path(__file__).parents[3] / "fakes" / "leaky_worker.py"

    async def body(host: ModelHost) -> None:
        await host.load([place(tmp_path)])
        await wait_state(host, "running")
        pid = host.status.pid
        async with asyncio.timeout(20):
            while not told:
                await host.step(1, VALUES)
                await asyncio.sleep(0.02)
        kind, text = told[0]
        assert kind == "growth" and "over 20 MB" in text
        await wait_state(host, "running")
        assert host.status.pid != pid and host.status.failures == 1
        assert host.status.last_kind == "growth"
        assert await host.step(3, VALUES) is not None

    with_host(
        body,
        bounds=msgspec.structs.replace(BOUNDS, worker_growth_mb=20),
        times=msgspec.structs.replace(QUICK, watch_s=0.05),
        on_failure=lambda kind, text: told.append((kind, text)),
        program=[str(fake)],
    )


def test_worker_that_answers_what_nobody_asked_is_ended() -> None:
    """Each such answer costs the recorder time: a flood of them would cost it its ticks."""
    told = list[tuple[str, str]]()
    fake = Path(__file__).parents[3] / "fakes" / "babbling_worker.py"

    async def body(host: ModelHost) -> None:
        async with asyncio.timeout(20):
            while not told:
                await asyncio.sleep(0.02)
        assert told[0] == ("answer", "an answer to no question")

    with_host(body, program=[str(fake)], on_failure=lambda kind, text: told.append((kind, text)))


def test_worker_that_does_not_grow_is_left_alone(tmp_path: Path) -> None:
    async def body(host: ModelHost) -> None:
        await host.load([place(tmp_path)])
        await wait_state(host, "running")
        for i in range(300):
            assert await host.step(i, VALUES) is not None
        await asyncio.sleep(0.1)
        assert host.status.failures == 0
        resident_mb = host.status.resident_mb
        assert resident_mb is not None and 20 < resident_mb < 120

    with_host(
        body,
        bounds=msgspec.structs.replace(BOUNDS, worker_growth_mb=2),
        times=msgspec.structs.replace(QUICK, watch_s=0.02),
    )


def test_crash_and_hang_are_told_by_kind(tmp_path: Path) -> None:
    told = list[tuple[str, str]]()

    async def body(host: ModelHost) -> None:
        await host.load([place(tmp_path)])
        for sign, kind in ((signal.SIGKILL, "crash"), (signal.SIGSTOP, "hang")):
            await wait_state(host, "running")
            assert host.status.pid is not None
            os.kill(host.status.pid, sign)
            await host.step(1, VALUES)
            await wait_state(host, "down")
            assert told[-1][0] == kind == host.status.last_kind
        assert told == [("crash", "ended with status -9"), ("hang", "hangs")]

    with_host(body, on_failure=lambda kind, text: told.append((kind, text)))


def test_running_worker_is_filtered_and_may_gain_no_privileges(tmp_path: Path) -> None:
    async def body(host: ModelHost) -> None:
        await host.load([place(tmp_path)])
        await wait_state(host, "running")
        status = Path(f"/proc/{host.status.pid}/status").read_text()
        assert "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status
        assert await host.step(1, VALUES) is not None

    with_host(body)


def test_each_rate_is_stepped_for_itself(tmp_path: Path) -> None:
    """Two rates, two graphs; a step names the rate and gets the bundles of that rate only."""

    async def body(host: ModelHost) -> None:
        fast = msgspec.structs.replace(bundle(), name="fast_rom", rate_hz=10.0)
        name, data = pack_declared(fast)
        (tmp_path / name).write_bytes(data)
        files = [place(tmp_path), (tmp_path / name, hashlib.sha256(data).hexdigest())]
        assert await host.load([*files, place(tmp_path, release=2)]) == ""
        await wait_state(host, "running")
        assert host.rates == (1.0, 10.0)
        for rate, names in ((10.0, ["fast_rom"]), (1.0, ["egt_rom"] * 2), (5.0, [])):
            steps = await host.step(1, VALUES, rate_hz=rate)
            assert steps is not None and [x.bundle.name for x in steps] == names
        both = await asyncio.gather(*(host.step(1, VALUES, rate_hz=x) for x in (1.0, 10.0, 10.0)))
        assert [x and len(x) for x in both] == [2, 1, None]  # one question a rate
        every = await host.step(1, VALUES)
        assert every is not None
        assert [x.bundle.name for x in every] == ["egt_rom", "fast_rom", "egt_rom"]
        assert every[0].predicted == pytest.approx(every[1].predicted)

    with_host(body)


def test_set_whose_selftest_fails_in_the_fused_graph_is_not_taken(tmp_path: Path) -> None:
    async def body(host: ModelHost) -> None:
        wrong = msgspec.structs.replace(selftest_of(bundle()), outputs=bytes(64 * 2 * 2 * 4))
        data = pack(bundle(), model_of(bundle()), wrong)
        path = tmp_path / "wrong.tar.zst"
        path.write_bytes(data)
        await wait_state(host, "empty")
        reason = await host.load([place(tmp_path), (path, hashlib.sha256(data).hexdigest())])
        assert "self-test: egt of ESN ESN1 at step 0" in reason
        assert host.status.bundles == ()

    with_host(body)


def test_worker_that_reaches_for_the_network_is_ended_by_its_filter(tmp_path: Path) -> None:
    told = list[tuple[str, str]]()

    async def body(host: ModelHost) -> None:
        await host.load([place(tmp_path)])
        await wait_state(host, "running")
        assert await host.step(1, VALUES) is None
        await wait_state(host, "down", "starting")
        assert told == [("crash", "ended by its system call filter")]

    fake = Path(__file__).parents[3] / "fakes" / "curious_worker.py"
    with_host(
        body, program=[str(fake)], on_failure=lambda kind, text: told.append((kind, text)),
        times=msgspec.structs.replace(QUICK, pause_first_s=0.5),
    )  # fmt: skip
