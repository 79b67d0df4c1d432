"""Programs that the bench starts, and ends.

In: a command. Out: a child process with a log, its resource use, and its end.
Always holds: the bench ends only what it started, by pid; a child dies with the bench
(PR_SET_PDEATHSIG); every wait is bounded.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from shared.errors import Unreachable

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def free_port() -> int:
    """A loopback TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def program(name: str) -> str:
    """Path of one of our console scripts, beside this interpreter."""
    return str(Path(sys.executable).with_name(name))


def _die_with_parent() -> None:
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


async def run_once(*command: str, log: Path, timeout_s: float = 120.0) -> str:
    """Run a command to its end; its standard output. Unreachable with its words if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        preexec_fn=_die_with_parent,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(process.communicate(), timeout_s)
    except TimeoutError:
        process.kill()
        raise Unreachable(f"no end within {timeout_s:g} s", " ".join(command[:3])) from None
    except asyncio.CancelledError:
        process.kill()
        raise
    with log.open("ab") as file:
        file.write(f"$ {' '.join(command)}\n".encode() + out + err)
    if process.returncode:
        words = (err or out).decode(errors="replace").strip()[-800:]
        raise Unreachable(
            f"exit {process.returncode}: {words}", Path(command[0]).name, f"see {log}"
        )
    return out.decode(errors="replace")


@dataclass(slots=True)
class Child:
    """One long-running program. cpu_s and rss_peak_bytes cover its whole tree, sampled."""

    name: str
    command: list[str]
    log: Path
    process: asyncio.subprocess.Process | None = None
    started_mono_ns: int = 0
    cpu_s: float = 0.0
    rss_bytes: int = 0
    rss_peak_bytes: int = 0
    _cpu_by_pid: dict[tuple[int, float], float] = field(default_factory=dict)

    async def start(self, *, pipe: bool = False) -> None:
        """Start it; `pipe` gives standard input and output to the bench."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.PIPE if pipe else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if pipe else log, stderr=log,
                preexec_fn=_die_with_parent, limit=1 << 20,
                env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},
            )  # fmt: skip
        self.started_mono_ns = time.monotonic_ns()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def sample(self) -> None:
        """Add up CPU of the tree and note its memory."""
        if not self.is_alive:
            return
        rss = 0
        try:
            root = psutil.Process(self.pid)
            tree = [root, *root.children(recursive=True)]
        except psutil.Error:
            return
        for one in tree:
            try:
                with one.oneshot():
                    times = one.cpu_times()
                    rss += one.memory_info().rss
                    self._cpu_by_pid[one.pid, one.create_time()] = times.user + times.system
            except psutil.Error:
                continue
        self.cpu_s = sum(self._cpu_by_pid.values())
        self.rss_bytes = rss
        self.rss_peak_bytes = max(self.rss_peak_bytes, rss)

    async def kill(self) -> None:
        """SIGKILL the program itself, as a power cut of its process would; wait for its end."""
        if self.is_alive:
            assert self.process is not None
            self.sample()
            os.kill(self.pid, signal.SIGKILL)
            await self.process.wait()

    async def stop(self, timeout_s: float = 15.0) -> int:
        """SIGTERM, then SIGKILL after the time-out; its exit code."""
        if self.process is None:
            return 0
        if self.is_alive:
            self.sample()
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), timeout_s)
            except TimeoutError:
                await self.kill()
        return self.process.returncode or 0

    async def wait_port(self, port: int, timeout_s: float = 15.0) -> None:
        """Until something listens on a loopback port."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if not self.is_alive:
                raise Unreachable(f"{self.name} ended at start", str(self.log), "read its log")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            except OSError:
                await asyncio.sleep(0.05)
        raise Unreachable(f"nothing listens on {port} after {timeout_s:g} s", self.name)
