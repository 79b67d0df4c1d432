"""A behavioural model as its author writes it: one TOML file.

In: the file. Out: a frozen `Declaration`.
Always holds: unknown keys are refused by name and the file is bounded. That it reads says
nothing about its equations: `shared/behaviour/examine.py` does.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.behaviour.dynamics import Port
from shared.behaviour.model import Behaviour, Model
from shared.errors import Rejected
from shared.topics import check_identifier

BYTES_MAX = 1 << 20
PORTS_MAX = 64
"""As many as a bundle takes."""

Text = Annotated[str, Meta(min_length=1, max_length=2000)]
PortList = Annotated[tuple[Port, ...], Meta(min_length=1, max_length=PORTS_MAX)]


class Declaration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model, its ports, and where its numbers come from."""

    name: str
    version: str
    summary: Text
    rate_hz: Annotated[float, Meta(gt=0, le=50)]
    """As a bundle's: one step is 1 / rate_hz."""
    instances: Annotated[int, Meta(ge=1, le=64)] = 1
    calibration: Text
    """Source of the calibration: a test, a data sheet, or that it is an assumption."""
    inputs: PortList
    outputs: PortList
    behaviour: Behaviour

    @property
    def model(self) -> Model:
        return Model(self.behaviour, self.inputs, self.outputs, self.rate_hz, self.instances)


def load_declaration(path: Path) -> Declaration:
    """The declaration at `path`; Rejected names file and key."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Rejected(f"cannot read: {error.strerror}", str(path), "check the path") from None
    return parse_declaration(data, str(path))


def parse_declaration(data: bytes, where: str) -> Declaration:
    """A declaration from the bytes of its file."""
    if len(data) > BYTES_MAX:
        raise Rejected(f"{len(data)} bytes", where, f"at most {BYTES_MAX}")
    try:
        found = msgspec.convert(tomllib.loads(data.decode()), Declaration)
    except (
        ValueError,
        OverflowError,
        RecursionError,
    ) as error:  # TOML, UTF-8, msgspec: all are ValueError
        raise Rejected(str(error), where, "see docs/behavioural-models.md") from None
    check_identifier(found.name, f"{where}: name")
    for kind, ports in (("input", found.inputs), ("output", found.outputs)):
        names = [x.name for x in ports]
        for name in names:
            check_identifier(name, f"{where}: {kind} {name[:40]!r}")
            if names.count(name) > 1:
                raise Rejected(f"{kind} {name!r} is declared twice", where)
    return found
