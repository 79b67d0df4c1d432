"""The recorder's side of the model worker: start it, ask it, outlive it.

In: mean values of signals once a step. Out: `ModelStep`s, or None when the answer is late.
Always holds: one question is outstanding at most; a question costs a write to a pipe and never
waits for the worker on the tick; a worker that crashed, hung or spoke nonsense is killed and
started again after a growing pause, with the set that was live; a set is taken as a whole or
not at all. Never imports onnxruntime.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from edge.models.confine import ENVIRONMENT
from edge.models.frames import Load, Loaded, Step, Stepped, body_size, frame, reply
from edge.models.step import Binding, ModelStep
from shared.bundle import SUFFIX, BundleFiles, unpack
from shared.errors import Rejected
from shared.log import event
from shared.profile import ModelBounds

STDERR_CHARS_MAX = 500
END_S = 1.0  # from end of output to a kill


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


class _Live:
    """One process and what it still owes an answer to."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.waiting: dict[int, asyncio.Future[Loaded | Stepped]] = {}
        self.failure = ""
        # By descriptor: Popen.kill polls first, which can reap the child before asyncio does
        # (its status is lost then), and a number could be another process by now.
        self._pidfd = os.pidfd_open(process.pid)
        self._closed = False

    def kill(self, why: str) -> None:
        if self._closed:
            return
        self.failure = self.failure or why
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it ended already

    async def end(self) -> int:
        """Its status, once it closed its output; it gets a moment to end by itself."""
        try:
            async with asyncio.timeout(END_S):
                return await self.process.wait()
        except TimeoutError:
            self.kill("closed its output")
            return await self.process.wait()

    def close(self) -> None:
        self._closed = True
        os.close(self._pidfd)


class ModelHost:
    """Owns the worker. `run` supervises it for as long as it is awaited."""

    def __init__(
        self, bounds: ModelBounds, esns: Mapping[int, str], times: HostTimes | None = None
    ) -> None:
        self._bounds, self._esns, self._times = bounds, dict(esns), times or HostTimes()
        self._set: list[tuple[Path, BundleFiles]] = []
        self._bindings: list[Binding] = []
        self._live: _Live | None = None
        self._ready = asyncio.Event()
        self._loading = asyncio.Lock()
        self._seq = self._steps = self._late = self._restarts = 0
        self._asking = False
        self._state, self._last_failure = "down", ""

    @property
    def status(self) -> HostStatus:
        live = self._live
        return HostStatus(
            state=self._state, pid=live.process.pid if live else None, restarts=self._restarts,
            steps=self._steps, late=self._late, last_failure=self._last_failure,
            bundles=tuple(x.label for x in self._bindings),
        )  # fmt: skip

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """The live set, bound to this aircraft."""
        return tuple(self._bindings)

    @property
    def signals(self) -> frozenset[str]:
        """Signals that the live set reads."""
        return frozenset().union(*(x.signals for x in self._bindings))

    async def run(self) -> None:
        """Keep a worker alive until cancelled; then end it."""
        loop, pause_s = asyncio.get_running_loop(), self._times.pause_first_s
        while True:
            started = loop.time()
            try:
                await self._serve_one()
            except OSError as error:
                self._last_failure = f"cannot start: {error.strerror}"
            if loop.time() - started >= self._times.settled_s:
                pause_s = self._times.pause_first_s
            self._restarts += 1
            event("worker.down", why=self._last_failure, pause_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._times.pause_max_s)

    async def load(self, bundles: Sequence[tuple[Path, str]]) -> str:
        """Replace the live set by these (path, sha-256 in hex); the reason why not, or empty.

        Without a worker the set is kept and loaded when one is up. Files must stay in place
        while they are live. The caller admitted them.
        """
        async with self._loading:
            try:
                fresh = [await asyncio.to_thread(self._read, *item) for item in bundles]
            except Rejected as error:
                return f"{error.where}: {error.what}"
            if self._live is not None and self._ready.is_set():
                reason = await self._ask_load(self._live, fresh)
                if reason:
                    return reason
            self._take(fresh)
            return ""

    async def step(
        self,
        t_ns: int,
        values: Mapping[str, float],
        trigger: tuple[str, int] | None = None,
    ) -> list[ModelStep] | None:
        """One step of every bundle; None when there is no answer within the deadline.

        t_ns: event time. values: mean engineering value by signal name; NaN or absent is none.
        """
        live, bindings = self._live, list(self._bindings)
        if not bindings:
            return []
        if live is None or not self._ready.is_set() or self._loading.locked() or self._asking:
            self._late += 1
            return None
        gathered = [x.gather(values) for x in bindings]
        rows = [x.rows(*g) for x, g in zip(bindings, gathered, strict=True)]
        answer = await self._ask_step(live, rows)
        if answer is None:
            self._late += 1
            return None
        try:
            steps = [
                binding.finish(t_ns, inputs, reasons, values, data, trigger)
                for binding, (inputs, reasons), data in zip(
                    bindings, gathered, answer.outputs, strict=True
                )
            ]
        except ValueError:
            live.kill("an answer of the wrong size")
            return None
        self._steps += 1
        return steps

    async def _ask_step(self, live: _Live, rows: list[bytes]) -> Stepped | None:
        loop = asyncio.get_running_loop()
        self._asking = True
        future = self._send(live, Step(self._next_seq(), rows))
        hang = loop.call_later(self._times.hang_s, live.kill, "hangs")

        def answered(_: asyncio.Future[Loaded | Stepped]) -> None:
            self._asking = False
            hang.cancel()

        future.add_done_callback(answered)
        done, _ = await asyncio.wait([future], timeout=self._times.deadline_s)
        if not done or future.cancelled():
            return None
        answer = future.result()
        return answer if isinstance(answer, Stepped) else None

    async def _ask_load(self, live: _Live, fresh: list[tuple[Path, BundleFiles]]) -> str:
        names = [(str(path), files.sha256) for path, files in fresh]
        future = self._send(live, Load(self._next_seq(), names, self._bounds))
        done, _ = await asyncio.wait([future], timeout=self._times.load_s)
        if not done:
            live.kill("hangs while loading")
            return "the worker hangs while loading"
        if future.cancelled():
            return f"the worker ended while loading: {live.failure}"
        answer = future.result()
        return answer.reason if isinstance(answer, Loaded) else "the worker answers nonsense"

    def _send(self, live: _Live, message: Load | Step) -> asyncio.Future[Loaded | Stepped]:
        future = asyncio.get_running_loop().create_future()
        live.waiting[message.seq] = future
        assert live.process.stdin is not None
        live.process.stdin.write(frame(message))
        return future

    async def _serve_one(self) -> None:
        """Start a worker, give it the live set, read its answers until it ends."""
        self._state = "starting"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-m", "edge.models.worker", str(os.getpid()),
            str(self._bounds.worker_address_space_mb),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, env=ENVIRONMENT,
        )  # fmt: skip
        live = self._live = _Live(process)
        tasks = [asyncio.create_task(f(live)) for f in (self._read_answers, self._prepare)]
        said = asyncio.create_task(_last_words(process))
        try:
            await tasks[0]
            self._ready.clear()
            status = await live.end()
            words = await said
            failure = live.failure or f"ended with status {status}"
            self._last_failure = f"{failure}: {words}" if words else failure
        finally:
            self._ready.clear()
            self._live, self._state = None, "down"
            live.kill("the host ends")
            for task in (*tasks, said):
                task.cancel()
            await asyncio.gather(*tasks, said, return_exceptions=True)
            for future in live.waiting.values():
                future.cancel()
            await process.wait()
            live.close()

    async def _prepare(self, live: _Live) -> None:
        """Load the live set into a fresh worker, then open it for steps."""
        async with self._loading:
            if self._set and (reason := await self._ask_load(live, self._set)):
                live.kill(f"cannot load the live set: {reason}")
                return
            self._ready.set()
            self._state = "running" if self._set else "empty"

    async def _read_answers(self, live: _Live) -> None:
        stdout = live.process.stdout
        assert stdout is not None
        try:
            while True:
                size = body_size(await stdout.readexactly(4))
                answer = reply(await stdout.readexactly(size))
                future = live.waiting.pop(answer.seq, None)
                if future is not None and not future.done():
                    future.set_result(answer)
        except asyncio.IncompleteReadError:
            return
        except Rejected as error:
            live.kill(error.what)

    def _read(self, path: Path, sha256: str) -> tuple[Path, BundleFiles]:
        try:
            with path.open("rb") as file:
                data = file.read(self._bounds.bundle_bytes_max + 1)
        except OSError as error:
            raise Rejected(f"cannot read: {error.strerror}", path.name) from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Rejected("its sha-256 is not the one named", path.name)
        return path, unpack(data, self._bounds, path.name)

    def _take(self, fresh: list[tuple[Path, BundleFiles]]) -> None:
        self._set = fresh
        self._bindings = [
            Binding(files.bundle, files.filename.removesuffix(SUFFIX), self._esns)
            for _, files in fresh
        ]
        if self._ready.is_set():
            self._state = "running" if fresh else "empty"

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq


async def _last_words(process: asyncio.subprocess.Process) -> str:
    """The end of what the worker wrote to stderr; reads on, so that it never blocks."""
    stderr, tail = process.stderr, b""
    assert stderr is not None
    while chunk := await stderr.read(4096):
        tail = (tail + chunk)[-STDERR_CHARS_MAX:]
    return tail.decode(errors="replace").strip().splitlines()[-1] if tail.strip() else ""
