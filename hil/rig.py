"""The rig: everything a run needs, made fresh in its folder.

In: a scenario and an empty folder. Out: ports, folders, keys, bundles, a profile, and the
programs ready to be started.
Always holds: nothing outside the folder is touched but the flight cache; all ports are loopback.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from hil.bus.broker import broker_command
from hil.decided import Published
from hil.processes import Child, free_port, program, run_once
from hil.proxy import LinkEmulator
from hil.scenario import CALIBRATED, Scenario
from hil.signers import Signers
from hil.storm import with_limits
from shared.bundle import unpack
from shared.bundlefile import build_bundle
from shared.errors import ConfigError
from shared.profile import ModelBounds
from shared.signals import load_signal_set

PROFILES = Path(__file__).resolve().parent.parent / "firmware_profiles"
MODELS = PROFILES / "models"
BENCH_MODELS = Path(__file__).resolve().parent / "models"
"""Models that nobody should fly, for what the bench shows."""
ENGINES = PROFILES / "engines"
"""Baselines of engines as their maker or shop hands them over with the engine."""
MARKER = ".tailtwin-run"
ELSEWHERE = ("nice", "-n", "5")
"""The ground has another computer in life; here it gives way to the aircraft. At 30 x the gate's
inputs are stale when the recorder waits 67 ms for a core."""


@dataclass(slots=True)
class Rig:
    """One run's programs, folders and ports. published: what of the scenario's bundles is in the image
    repository, by declaration. assigned: declarations of the set that the tail should run."""

    folder: Path
    scenario: Scenario
    bus_port: int = 0
    http_port: int = 0
    air: LinkEmulator = field(default_factory=lambda: LinkEmulator("air", 0))
    stand: LinkEmulator = field(default_factory=lambda: LinkEmulator("stand", 0))
    stand_http: LinkEmulator = field(default_factory=lambda: LinkEmulator("stand http", 0))
    bus: Child = field(default_factory=lambda: Child("bus", [], Path()))
    ground: Child = field(default_factory=lambda: Child("ground", [], Path()))
    edge: Child = field(default_factory=lambda: Child("edge", [], Path()))
    published: dict[str, Published] = field(default_factory=dict)
    assigned: list[str] = field(default_factory=list)
    _lock: TextIO | None = None

    @property
    def edge_state(self) -> Path:
        return self.folder / "edge"

    @property
    def ground_state(self) -> Path:
        return self.folder / "ground"

    @property
    def profile(self) -> Path:
        return self.folder / "profile.toml"

    @property
    def signers(self) -> Signers:
        return Signers(self.folder, self.log)

    @property
    def repository(self) -> Path:
        return self.signers.repo

    @property
    def log(self) -> Path:
        return self.folder / "logs" / "rig.log"

    @property
    def signal_set(self) -> Path:
        """The airframe's, or with the limits of a storm put in, in this run's folder."""
        if self.scenario.storm:
            return self.folder / "signals.toml"
        return self.plain_signal_set

    @property
    def plain_signal_set(self) -> Path:
        return PROFILES / "signals" / f"{self.scenario.signal_set}.toml"

    @property
    def ground_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def make_folder(self) -> None:
        """An empty folder, with the signal set of a storm in it; ConfigError while a run uses it."""
        for name in self.bundle_names():
            find_declaration(name)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder.parent / f".{self.folder.name}.lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise ConfigError(
                "another run uses this folder", str(self.folder), "wait for it, or give --out"
            ) from None
        if self.folder.exists():
            if any(self.folder.iterdir()) and not (self.folder / MARKER).exists():
                self._lock.close()
                raise ConfigError(
                    "a folder that no run made; it would be emptied", str(self.folder),
                    "give an empty or a new folder",
                )  # fmt: skip
            shutil.rmtree(self.folder)
        (self.folder / "logs").mkdir(parents=True)
        (self.folder / MARKER).write_text("made by tailtwin-hil run; the next run empties this\n")
        if self.scenario.storm:
            plain = load_signal_set(self.plain_signal_set)
            text = with_limits(plain.text.decode(), plain, self.scenario.storm)
            self.signal_set.write_text(text)

    async def prepare(self) -> None:
        """Keys, repository, ground, identity, profile; then bus, ground and proxies running."""
        await self._publish_bundles()
        await self._provision()
        await self._start_bus_and_ground()
        self.profile.write_text(profile_text(self))
        await self.edge_once("install", "--profile", str(self.profile))
        self.edge = Child(
            "edge",
            [program("tailtwin-edge"), "run", "--profile", str(self.profile),
             "--state", str(self.edge_state)],
            self.folder / "logs" / "edge.log",
        )  # fmt: skip

    async def stop(self) -> None:
        """End everything that still runs, the ground in its own order."""
        for child in (self.edge, self.ground, self.bus):
            await child.stop()
        for link in (self.air, self.stand, self.stand_http):
            await link.stop()
        if self._lock is not None:
            self._lock.close()

    def first_set(self) -> list[str]:
        return [self.scenario.bundle, *self.scenario.beside]

    def bundle_names(self) -> list[str]:
        """Those of the first set and those that are offered or assigned, each once."""
        events = self.scenario.event + (self.scenario.again.event if self.scenario.again else ())
        named = [name for event in events for name in (event.bundle, *event.set)]
        wanted = [name for name in named if name and name != CALIBRATED]
        return list(dict.fromkeys([*self.first_set(), *wanted]))

    async def edge_once(self, command: str, *rest: str) -> str:
        """Run one short command of the edge on its state folder."""
        return await run_once(
            program("tailtwin-edge"), command, "--state", str(self.edge_state), *rest, log=self.log
        )

    async def assign(self, names: Sequence[str]) -> None:
        """Let the director say that the tail shall run these, whole."""
        targets = [self.published[name].target for name in names]
        await self.signers.assign(self.scenario.tail.tail, targets)
        self.assigned = list(names)

    async def offer(self, name: str) -> None:
        """Assign the last set with this bundle in the place of its namesake, and tell the tail."""
        model = self.published[name].name
        others = [x for x in self.assigned if self.published[x].name != model]
        await self.assign([*others, name])
        await self.notify(name)

    async def notify(self, name: str) -> None:
        """Let the ground tell the tail of a bundle, by notice."""
        await run_once(
            program("tailtwin-ground"), "offer", "--state", str(self.ground_state), "--tail",
            self.scenario.tail.tail, "--target", self.published[name].target, log=self.log,
        )  # fmt: skip

    def status(self) -> dict[str, Any]:
        """What the edge last said of itself; empty before it said anything."""
        try:
            said: dict[str, Any] = json.loads((self.edge_state / "status.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return said

    async def _publish_bundles(self) -> None:
        """Keys, both repositories, every bundle attested and published, the first set assigned."""
        await self.signers.init()
        built = await asyncio.to_thread(self.build)
        files = await self.signers.attest(*built.values())
        await self.signers.publish(files)
        for name, file in zip(built, files, strict=True):
            self.note_published(name, file)
        await self.signers.add_tail(self.scenario.tail.tail)
        await self.assign(self.first_set())

    def build(self) -> dict[str, Path]:
        """Bundle files of the declarations, by their names."""
        folder = self.folder / "bundles"
        folder.mkdir()
        found = {}
        for declaration in self.bundle_names():
            name, data = build_bundle(find_declaration(declaration))
            found[declaration] = folder / name
            found[declaration].write_bytes(data)
        return found

    def note_published(self, name: str, file: Path, of_tail: str = "") -> None:
        """of_tail: whose calibration it is, empty for a bundle of the type."""
        bundle = unpack(file.read_bytes(), ModelBounds(), str(file)).bundle
        folder = f"cal/{of_tail}/{bundle.name}" if of_tail else bundle.name
        target = f"{folder}/{file.name}"
        self.published[name] = Published(target, bundle.name, bundle.release)

    async def _provision(self) -> None:
        tail_file = self.folder / "tail.toml"
        tail_file.write_text(tail_text(self.scenario))
        ports = [free_port() for _ in range(3)]
        nats_port, mqtt_port, self.http_port = ports
        ground = program("tailtwin-ground")
        state = ("--state", str(self.ground_state))
        await run_once(
            ground, "init", *state, "--operator", self.scenario.tail.operator,
            "--nats-port", str(nats_port), "--mqtt-port", str(mqtt_port),
            "--http-port", str(self.http_port), log=self.log,
        )  # fmt: skip
        await self.edge_once(
            "init", "--tail-file", str(tail_file), "--image-root", str(self.signers.image_root),
            "--director-root", str(self.signers.director_root),
        )  # fmt: skip
        enrolment = self.folder / "enrolment.toml"
        await run_once(
            ground, "enroll", *state, "--tail-file", str(tail_file),
            "--device-pub", str(self.edge_state / "identity" / "device.pub"),
            "--out", str(enrolment), log=self.log,
        )  # fmt: skip
        await self.edge_once("enroll", "--file", str(enrolment))
        for engine in self.scenario.tail.engines:
            baseline = ENGINES / f"{engine.esn}.json"
            if baseline.exists():
                await run_once(
                    ground, "baseline", "approve", *state, "--esn", engine.esn, "--event",
                    "installation", "--file", str(baseline), "--by", "bench", "--reason",
                    "delivered with the engine", log=self.log,
                )  # fmt: skip
        cap = self.scenario.air_bytes_per_s
        self.air = LinkEmulator("air", mqtt_port, cap)
        self.stand = LinkEmulator("stand", nats_port)
        self.stand_http = LinkEmulator("stand http", self.http_port)

    async def _start_bus_and_ground(self) -> None:
        for link in (self.air, self.stand, self.stand_http):
            await link.start()
        self.bus_port = free_port()
        logs = self.folder / "logs"
        self.bus = Child(
            "bus", broker_command(self.folder / "bus", free_port(), self.bus_port), logs / "bus.log"
        )
        self.ground = Child(
            "ground",
            [*ELSEWHERE, program("tailtwin-ground"), "up", "--state", str(self.ground_state),
             "--tuf-repo", str(self.repository)],
            logs / "ground.log",
        )  # fmt: skip
        await self.bus.start()
        await self.ground.start()
        await self.bus.wait_port(self.bus_port)
        await self.ground.wait_port(self.http_port, timeout_s=30.0)


def find_declaration(name: str) -> Path:
    """The declaration of a model in firmware_profiles/models or hil/models."""
    for folder in (MODELS, BENCH_MODELS):
        if (folder / f"{name}.json").exists():
            return folder / f"{name}.json"
    found = [path.stem for folder in (MODELS, BENCH_MODELS) for path in folder.glob("*.json")]
    raise ConfigError(
        f"no model {name!r}", f"{MODELS}, {BENCH_MODELS}", f"one of {', '.join(sorted(found))}; "
        "`make fit` makes those of the type",
    )  # fmt: skip


def tail_text(scenario: Scenario) -> str:
    """identity/tail.toml of the scenario's aircraft."""
    tail = scenario.tail
    lines = [
        f'operator = "{tail.operator}"', f'tail = "{tail.tail}"', f'type = "{tail.type}"',
        f'registration = "{tail.registration}"',
    ]  # fmt: skip
    for engine in tail.engines:
        lines += ["", "[[engines]]", f"position = {engine.position}", f'esn = "{engine.esn}"',
                  f'part_number = "{engine.part_number}"']  # fmt: skip
    return "\n".join(lines) + "\n"


def profile_text(rig: Rig) -> str:
    """The bench profile with this run's ports and rate put in."""
    template = (PROFILES / "bench.toml").read_text()
    return template.format(
        signal_set=rig.signal_set.resolve(), bus_port=rig.bus_port, air_port=rig.air.port,
        air_bytes_per_s=rig.scenario.air_bytes_per_s, stand_port=rig.stand.port,
        http_port=rig.stand_http.port, flight_rate=rig.scenario.rate,
    )  # fmt: skip
