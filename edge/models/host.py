"""The recorder's side of the model worker: start it, ask it, outlive it.

In: mean values of signals once a step. Out: `ModelStep`s, or None when the answer is late.
Always holds: one question is outstanding at most, or one a rate; a question costs a write to a
pipe and never waits for the worker on the tick; a worker that crashed, hung, grew or spoke
nonsense is killed and started again after a growing pause, with the set that was live, and the
failure is told; a set is taken as a whole or not at all. Never imports onnxruntime.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge.models.child import FailureKind, WorkerProcess, ending, last_words
from edge.models.confine import ENVIRONMENT
from edge.models.frames import (
    ALL_RATES,
    Load,
    Loaded,
    Named,
    Rows,
    Step,
    Stepped,
    body_size,
    frame,
    reply,
)
from edge.models.resident import resident_bytes
from edge.models.step import Binding, ModelStep
from shared.bundle import SUFFIX, unpack
from shared.errors import Rejected
from shared.log import event
from shared.profile import ModelBounds

BEAT_S = 1.0  # while a worker serves
WORKER = ("-m", "edge.models.worker")

OnFailure = Callable[[FailureKind, str], None]
"""Told once for each worker that failed: what kind of failure, and the whole reason."""


class HostTimes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Waits of the host, s of wall time; assumptions."""

    deadline_s: float = 0.5
    """A step's answer later than this is not used."""
    hang_s: float = 5.0
    """No answer to a step for so long: the worker hangs."""
    load_s: float = 20.0
    pause_first_s: float = 0.5
    pause_max_s: float = 30.0
    settled_s: float = 60.0
    """A worker that lived so long starts the pauses over."""
    watch_s: float = 5.0
    """Between two looks at the worker's memory."""


class HostStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the worker is doing. state: `starting`, `running`, `empty` (no set), `down`."""

    state: str
    pid: int | None
    restarts: int
    steps: int
    late: int
    last_failure: str
    bundles: tuple[str, ...]
    """Labels of the live set: `{name}-{version}-{hash}`."""
    failures: int = 0
    """Workers that failed."""
    last_kind: FailureKind | None = None
    resident_mb: float | None = None
    states_restarted: int = 0
    """Rows of a bundle whose states were not finite and started anew."""


@dataclass(frozen=True, eq=False)
class _Placed:
    """One bundle of the set: where its file is, what its bytes must be, what it is bound to."""

    path: Path
    sha256: str
    size: int
    binding: Binding


class ModelHost:
    """Owns the worker. `run` supervises it for as long as it is awaited."""

    def __init__(
        self,
        bounds: ModelBounds,
        esns: Mapping[int, str],
        times: HostTimes | None = None,
        on_failure: OnFailure | None = None,
        program: Sequence[str] = WORKER,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._beat = beat
        self._bounds, self._esns, self._times = bounds, dict(esns), times or HostTimes()
        self._on_failure, self._program = on_failure, tuple(program)
        self._set: list[_Placed] = []
        self._live: WorkerProcess | None = None
        self._ready = asyncio.Event()
        self._loading = asyncio.Lock()
        self._seq = self._steps = self._late = self._restarts = self._failures = 0
        self._states_restarted, self._resident = 0, 0
        self._asking = set[float]()
        self._state, self._last_failure = "down", ""
        self._last_kind: FailureKind | None = None

    @property
    def status(self) -> HostStatus:
        live = self._live
        return HostStatus(
            state=self._state, pid=live.process.pid if live else None, restarts=self._restarts,
            steps=self._steps, late=self._late, last_failure=self._last_failure,
            bundles=tuple(x.binding.label for x in self._set), failures=self._failures,
            last_kind=self._last_kind,
            resident_mb=self._resident / 1e6 if live and self._resident else None,
            states_restarted=self._states_restarted,
        )  # fmt: skip

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """The live set, bound to this aircraft."""
        return tuple(x.binding for x in self._set)

    @property
    def rates(self) -> tuple[float, ...]:
        """Rates of the live set, Hz; the bundles of one are stepped together."""
        return tuple(sorted({x.binding.bundle.rate_hz for x in self._set}))

    @property
    def signals(self) -> frozenset[str]:
        """Signals that the live set reads."""
        return self.signals_of(ALL_RATES)

    def signals_of(self, rate_hz: float) -> frozenset[str]:
        """Signals that the bundles of one rate read."""
        return frozenset().union(
            *(x.binding.signals for x in self._set
              if rate_hz in (ALL_RATES, x.binding.bundle.rate_hz))
        )  # fmt: skip

    async def run(self) -> None:
        """Keep a worker alive until cancelled; then end it."""
        loop, pause_s = asyncio.get_running_loop(), self._times.pause_first_s
        while True:
            self._beat()
            started = loop.time()
            try:
                await self._serve_one()
            except OSError as error:
                self._fail("start", f"cannot start: {error.strerror}")
            if loop.time() - started >= self._times.settled_s:
                pause_s = self._times.pause_first_s
            self._restarts += 1
            event("worker.down", why=self._last_failure, pause_s=pause_s)
            await self._pause(pause_s)
            pause_s = min(2 * pause_s, self._times.pause_max_s)

    async def _pause(self, pause_s: float) -> None:
        """Wait, and beat meanwhile: waiting is no hang."""
        loop = asyncio.get_running_loop()
        end = loop.time() + pause_s
        while (left := end - loop.time()) > 0:
            self._beat()
            await asyncio.sleep(min(left, BEAT_S))

    async def load(self, bundles: Sequence[tuple[Path, str]]) -> str:
        """Replace the live set by these (path, sha-256 in hex); the reason why not, or empty.

        Without a worker the set is kept and loaded when one is up. Files must stay in place
        while they are live. The caller admitted them.
        """
        async with self._loading:
            try:
                fresh = [await asyncio.to_thread(self._place, *item) for item in bundles]
            except Rejected as error:
                return f"{error.where}: {error.what}"
            if self._live is not None and self._ready.is_set():
                reason = await self._ask_load(self._live, fresh)
                if reason:
                    return reason
            self._set = fresh
            if self._ready.is_set():
                self._state = "running" if fresh else "empty"
            return ""

    async def step(
        self,
        t_ns: int,
        values: Mapping[str, float],
        trigger: tuple[str, int] | None = None,
        rate_hz: float = ALL_RATES,
    ) -> list[ModelStep] | None:
        """One step of the bundles of a rate, or of all; None when no answer came in time.

        t_ns: event time. values: mean engineering value by signal name; NaN or absent is none.
        """
        live = self._live
        bindings = [
            x.binding for x in self._set if rate_hz in (ALL_RATES, x.binding.bundle.rate_hz)
        ]
        if not bindings:
            return []
        if live is None or not self._ready.is_set() or self._is_busy(rate_hz):
            self._late += 1
            return None
        gathered = [x.gather(values) for x in bindings]
        rows = [Rows(x.rows(*g), x.usable(g[1])) for x, g in zip(bindings, gathered, strict=True)]
        answer = await self._ask_step(live, rate_hz, rows)
        if answer is None:
            self._late += 1
            return None
        self._states_restarted += len(answer.restarted)
        try:
            steps = [
                binding.finish(
                    t_ns, inputs, reasons, values, data, trigger,
                    restarted=[row for place, row in answer.restarted if place == i],
                )
                for i, (binding, (inputs, reasons), data) in enumerate(
                    zip(bindings, gathered, answer.outputs, strict=True)
                )
            ]  # fmt: skip
        except (ValueError, IndexError):
            live.kill("answer", "an answer of the wrong size")
            return None
        self._steps += 1
        return steps

    def _is_busy(self, rate_hz: float) -> bool:
        asked = self._asking if rate_hz == ALL_RATES else self._asking & {rate_hz, ALL_RATES}
        return self._loading.locked() or bool(asked)

    async def _ask_step(
        self, live: WorkerProcess, rate_hz: float, rows: list[Rows]
    ) -> Stepped | None:
        loop = asyncio.get_running_loop()
        self._asking.add(rate_hz)
        future = self._send(live, Step(self._next_seq(), rate_hz, rows))
        hang = loop.call_later(self._times.hang_s, live.kill, "hang", "hangs")

        def answered(_: asyncio.Future[Loaded | Stepped]) -> None:
            self._asking.discard(rate_hz)
            hang.cancel()

        future.add_done_callback(answered)
        done, _ = await asyncio.wait([future], timeout=self._times.deadline_s)
        if not done or future.cancelled():
            return None
        answer = future.result()
        return answer if isinstance(answer, Stepped) else None

    async def _ask_load(self, live: WorkerProcess, fresh: Sequence[_Placed]) -> str:
        """Send a set, its bytes read again and checked, one file at a time."""
        try:
            async with asyncio.timeout(self._times.load_s):
                return await self._send_set(live, fresh)
        except TimeoutError:
            live.kill("hang", "hangs while loading")
            return "the worker hangs while loading"
        except ConnectionError:
            return "the worker ended while loading"
        except Rejected as error:  # the worker waits for bytes that will not come
            live.kill("load", f"cannot load the live set: {error.where}: {error.what}")
            return f"{error.where}: {error.what}"

    async def _send_set(self, live: WorkerProcess, fresh: Sequence[_Placed]) -> str:
        names = [Named(x.path.name, x.sha256, x.size) for x in fresh]
        stdin = live.process.stdin
        assert stdin is not None
        future = self._send(live, Load(self._next_seq(), names, self._bounds))
        for placed in fresh:
            stdin.write(await asyncio.to_thread(self._read, placed.path, placed.sha256))
            await stdin.drain()
        await asyncio.wait([future])
        if future.cancelled():
            return f"the worker ended while loading: {live.failure}"
        answer = future.result()
        if not isinstance(answer, Loaded):
            return "the worker answers nonsense"
        if not answer.reason:
            live.baseline = 0  # that of another set
        return answer.reason

    def _send(self, live: WorkerProcess, message: Load | Step) -> asyncio.Future[Loaded | Stepped]:
        future = asyncio.get_running_loop().create_future()
        live.waiting[message.seq] = future
        assert live.process.stdin is not None
        live.process.stdin.write(frame(message))
        return future

    async def _serve_one(self) -> None:
        """Start a worker, give it the live set, read its answers until it ends."""
        self._state = "starting"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", *self._program, str(os.getpid()),
            msgspec.json.encode(self._bounds).decode(),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, env=ENVIRONMENT,
        )  # fmt: skip
        live = self._live = WorkerProcess(process)
        tasks = [
            asyncio.create_task(f(live)) for f in (self._read_answers, self._prepare, self._watch)
        ]
        said = asyncio.create_task(last_words(process))
        try:
            while not (await asyncio.wait(tasks[:1], timeout=BEAT_S))[0]:
                self._beat()
            await tasks[0]
            self._ready.clear()
            status = await live.end()
            words = await said
            failure = live.failure or ending(status)
            self._fail(live.kind, f"{failure}: {words}" if words else failure)
        finally:
            self._ready.clear()
            self._live, self._state = None, "down"
            live.kill("crash", "the host ends")
            for task in (*tasks, said):
                task.cancel()
            await asyncio.gather(*tasks, said, return_exceptions=True)
            for future in live.waiting.values():
                future.cancel()
            await process.wait()
            live.close()

    def _fail(self, kind: FailureKind, why: str) -> None:
        self._failures += 1
        self._last_kind, self._last_failure = kind, why
        if self._on_failure is not None:
            self._on_failure(kind, why)

    async def _prepare(self, live: WorkerProcess) -> None:
        """Load the live set into a fresh worker, then open it for steps."""
        async with self._loading:
            if self._set and (reason := await self._ask_load(live, self._set)):
                live.kill("load", f"cannot load the live set: {reason}")
                return
            self._ready.set()
            self._state = "running" if self._set else "empty"

    async def _watch(self, live: WorkerProcess) -> None:
        """Look at the worker's memory for as long as it lives; over its bound it is killed."""
        bound = self._bounds.worker_growth_mb * 1_000_000
        while True:
            await asyncio.sleep(self._times.watch_s)
            if not self._ready.is_set() or self._loading.locked():
                continue
            self._resident = resident_bytes(live.process.pid)
            live.baseline = live.baseline or self._resident
            grown = self._resident - live.baseline
            if grown > bound:
                live.kill("growth", f"grew by {grown / 1e6:.0f} MB, over {bound / 1e6:.0f} MB")
                return

    async def _read_answers(self, live: WorkerProcess) -> None:
        stdout = live.process.stdout
        assert stdout is not None
        try:
            while True:
                size = body_size(await stdout.readexactly(4))
                answer = reply(await stdout.readexactly(size))
                future = live.waiting.pop(answer.seq, None)
                if future is None:  # a flood of these would keep the recorder busy
                    raise Rejected("an answer to no question", "model worker")
                if not future.done():
                    future.set_result(answer)
        except asyncio.IncompleteReadError:
            return
        except Rejected as error:
            live.kill("answer", error.what)

    def _place(self, path: Path, sha256: str) -> _Placed:
        data = self._read(path, sha256)
        files = unpack(data, self._bounds, path.name)
        label = files.filename.removesuffix(SUFFIX)
        return _Placed(path, sha256, len(data), Binding(files.bundle, label, self._esns))

    def _read(self, path: Path, sha256: str) -> bytes:
        """The file's bytes; Rejected unless they have that hash."""
        try:
            with path.open("rb") as file:
                data = file.read(self._bounds.bundle_bytes_max + 1)
        except OSError as error:
            raise Rejected(f"cannot read: {error.strerror}", path.name) from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Rejected("its sha-256 is not the one named", path.name)
        return data

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq
