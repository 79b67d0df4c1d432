"""The wiring of a profile: does what it names answer, and can its gate ever open?

In: a profile and its signal set. Out: findings. Always holds: an address is tried once, for at
most CONNECT_S; the gate's own rule judges, on the best inputs that the bound roles could give.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from edge.acquire.sources import Arinc429Udp, MqttBus, OpcUaServer, SourceConfig
from edge.checkup import Finding
from edge.config import Profile
from edge.update.gate import GATE_ROLES, GateInputs, Observation, violations
from shared.phases import Phase
from shared.quality import Quality
from shared.signals import SignalSet

CONNECT_S = 3.0
OPCUA_PORT = 4840  # registered for it
PHASE_ROLES = ("altitude_ft", "airspeed_kt", "ground_speed_kt", "wow_left", "wow_right", "n1_1")
AT_THE_STAND = {
    "wow_left": 1.0, "wow_right": 1.0, "ground_speed_kt": 0.0, "parking_brake": 1.0,
    "external_power": 1.0, "apu_power": 1.0, "battery_only": 0.0,
    "fuel_cutoff_1": 1.0, "fuel_cutoff_2": 1.0, "n2_1": 0.0, "n2_2": 0.0,
    "oil_pressure_1": 0.0, "oil_pressure_2": 0.0, "eec_power_1": 1.0, "eec_power_2": 1.0,
    "altitude_ft": 0.0, "airspeed_kt": 0.0,
}  # fmt: skip
"""What an aircraft reads whose gate may open."""


def roles(profile: Profile, signals: SignalSet) -> Iterator[Finding]:
    """Which inputs of gate and phase nobody gives."""
    against = gate_never(profile, signals)
    if profile.update is None:
        yield Finding("gate", "ok", "no [update]: this computer takes none")
    elif against:
        yield Finding("gate", "fail", "can never open: " + "; ".join(against),
                      "bind these roles in the signal set, or set the type's rule in [gate]")  # fmt: skip
    else:
        yield Finding("gate", "ok", "every input that its rule asks for is bound")
    missing = [role for role in PHASE_ROLES if role not in signals.roles]
    if missing:
        yield Finding("phase", "warn", f"not bound: {', '.join(missing)}",
                      "phase is known at lower confidence, or not at all")  # fmt: skip
    else:
        yield Finding("phase", "ok", "height, speed, wheels and engines are bound")


def gate_never(profile: Profile, signals: SignalSet) -> list[str]:
    """What stands against the gate even where all that is bound is as it should be."""
    best, age_max_ns = {}, {}
    for role in GATE_ROLES:
        name = signals.roles.get(role)
        if name is not None:
            group = signals.position[name][0]
            best[role] = Observation(AT_THE_STAND.get(role, 0.0), Quality.GOOD, group.period_ns)
        age_max_ns[role] = 3_000_000_000
        if name is not None:
            age_max_ns[role] = min(age_max_ns[role], group.age_max_ns(signals.signal(name)))
    inputs = GateInputs(**best)
    return [r.text for r in violations(profile.gate, age_max_ns, inputs, Phase.PARKED)]


def libraries(profile: Profile) -> tuple[str, ...]:
    """What this profile imports beyond the edge's own set."""
    opcua = any(isinstance(source, OpcUaServer) for source in profile.source)
    return (
        *(("asyncua",) if opcua else ()),
        *(("tpm2_pytss",) if profile.seal.kind == "tpm" else ()),
    )


def addresses(profile: Profile, folder: Path) -> Iterator[Finding]:
    """Buses and links, each tried once. folder: of the profile, for the files that it names."""
    for number, source in enumerate(profile.source):
        yield _source(f"source {number + 1}", source, folder)
    yield _reach("air link", profile.air.host, profile.air.port, "nothing to do in a hangar")
    if profile.stand is not None:
        yield _reach(
            "stand link", profile.stand.host, profile.stand.port, "nothing to do away from it"
        )


def _source(name: str, source: SourceConfig, folder: Path) -> Finding:
    if isinstance(source, MqttBus):
        return _reach(name, source.host, source.port, "is the bus powered, and its address right?")
    if isinstance(source, OpcUaServer):
        url = urlsplit(source.url)
        return _reach(name, url.hostname or "", url.port or OPCUA_PORT, "does the server run?")
    if isinstance(source, Arinc429Udp):
        return _listen(name, source.host, source.port)
    there = (folder / source.path).exists()
    said = f"{source.path} {'there' if there else 'missing'}"
    return Finding(name, "ok" if there else "warn", said, "put the recording there")


def _listen(name: str, host: str, port: int) -> Finding:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((host, port))
        return Finding(name, "ok", f"{host}:{port} is free to listen on")
    except OSError as error:
        return Finding(name, "warn", f"cannot listen on {host}:{port}: {error.strerror}",
                       "is that this machine's address, and does the edge run already?")  # fmt: skip


def _reach(name: str, host: str, port: int, remedy: str) -> Finding:
    try:
        with socket.create_connection((host, port), CONNECT_S):
            return Finding(name, "ok", f"{host}:{port} answers")
    except OSError as error:
        why = error.strerror or str(error)
        return Finding(name, "warn", f"{host}:{port} does not answer: {why}", remedy)
