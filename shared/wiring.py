"""How a bus carries a signal: the part of the signal set that only a source reads.

In: sub-tables of a signal. Out: frozen locations.
Always holds: bits are counted as the buses' own documents count them, from 1, the least
significant first; a location that cannot be is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Need = Callable[[bool, str, str, str], None]
Kind = Literal["bnr", "bcd", "discrete"]
SsmState = Literal["normal", "no_data", "failure", "test", "plus", "minus"]
SSM: dict[Kind, tuple[SsmState, SsmState, SsmState, SsmState]] = {
    # ARINC 429 part 1, 2.1.5: what bits 31 and 30 mean, by type of word, for 00, 01, 10, 11
    "bnr": ("failure", "no_data", "test", "normal"),
    "bcd": ("plus", "no_data", "test", "minus"),
    "discrete": ("normal", "no_data", "test", "failure"),
}


class Arinc429(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where in an ARINC 429 word; the signal's `bus`, `label` and `sdi` say in which word."""

    kind: Kind = "bnr"
    lsb: Annotated[int, Meta(ge=9, le=29)] = 11
    msb: Annotated[int, Meta(ge=9, le=29)] = 29
    """The sign bit included."""
    signed: bool | None = None
    """Two's complement; default: of `bnr` yes. The sign of `bcd` is in its SSM."""
    ssm: tuple[SsmState, ...] = ()
    """What SSM 00, 01, 10, 11 mean here; default: by `kind`, as the specification says."""


class LowBits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bits of another word of the same subframe that continue a value downwards."""

    word: Annotated[int, Meta(ge=2, le=1024)]
    lsb: Annotated[int, Meta(ge=1, le=12)] = 1
    msb: Annotated[int, Meta(ge=1, le=12)] = 12


class Arinc717(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where in an ARINC 717 frame. Several words of one subframe are several samples."""

    words: tuple[Annotated[int, Meta(ge=2, le=1024)], ...]
    """Word 1 is the sync word."""
    subframes: tuple[Annotated[int, Meta(ge=1, le=4)], ...] = (1, 2, 3, 4)
    frame: Annotated[int, Meta(ge=0, le=16)] = 0
    """Of a superframe of 16 frames: only in this one, by the source's frame counter; 0 is all."""
    kind: Kind = "bnr"
    lsb: Annotated[int, Meta(ge=1, le=12)] = 1
    msb: Annotated[int, Meta(ge=1, le=12)] = 12
    signed: bool = False
    """Two's complement."""
    low: tuple[LowBits, ...] = ()
    """Of a value of more than 12 bits: the rest of it, most significant first."""


class OpcUa(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which variable of an OPC UA server."""

    node: str
    """Node id in the source's namespace: `s=ENG1.N1`, `i=17`; or with its own: `nsu=URI;s=…`."""
    deadband: Annotated[float, Meta(ge=0)] = 0.0
    """The server tells no change smaller than this, in the signal's unit; 0 tells every one."""
    sampling_s: Annotated[float, Meta(ge=0, le=60)] | None = None
    """How often the server looks; default: the period of the group."""


def check_arinc429(
    wire: Arinc429, encoding: str, label: str, sdi: str, key: str, need: Need
) -> None:
    """Refuse a location that no word has."""
    octal = len(label) <= 3 and bool(label) and all(c in "01234567" for c in label)
    need(octal and int(label, 8) <= 0o377, f"label {label!r}", key, "octal text, 000 to 377")
    need(sdi in ("", "00", "01", "10", "11"), f"sdi {sdi!r}", key, 'bits 10 and 9 as text: "01"')
    need(wire.lsb <= wire.msb, "lsb above msb", key, "bit numbers of the word, 9 to 29")
    need(encoding in ("int", "enum"), f"encoding {encoding}", key, "a word holds an int or an enum")
    need(len(wire.ssm) in (0, 4), "ssm has not 4 entries", key, "for 00, 01, 10 and 11")
    need(not (wire.signed and wire.kind == "bcd"), "bcd cannot be signed", key, "its SSM says it")


def check_arinc717(wire: Arinc717, encoding: str, key: str, need: Need) -> None:
    """Refuse a location that no frame has."""
    need(bool(wire.words) and len(set(wire.words)) == len(wire.words), "no words, or one twice",
         key, "word numbers from 2")  # fmt: skip
    need(bool(wire.subframes) and len(set(wire.subframes)) == len(wire.subframes),
         "no subframes, or one twice", key, "of 1 to 4")  # fmt: skip
    need(wire.lsb <= wire.msb, "lsb above msb", key, "bit numbers of the word, 1 to 12")
    need(encoding in ("int", "enum"), f"encoding {encoding}", key, "a word holds an int or an enum")
    need(all(part.lsb <= part.msb for part in wire.low), "lsb above msb", f"{key}: low", "1 to 12")
    need(not wire.low or len(wire.words) == 1, "several words with low bits", key,
         "one sample a subframe")  # fmt: skip
    bits = wire.msb - wire.lsb + 1 + sum(part.msb - part.lsb + 1 for part in wire.low)
    need(bits <= 32, f"{bits} bits", key, "at most 32")
    need(not (wire.signed and wire.kind != "bnr"), "only bnr can be signed", key, "leave it out")
