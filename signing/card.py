"""What people should know of a bundle: its model card, and how it was built.

In: an unpacked bundle. Out: lines of text, or a value for `--json`.
Always holds: everything shown is the bundle's or the builder's own word, and is shown printable and
bounded; whether signatures hold is said by whoever verified them, and by nobody else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from shared.bundle import Bundle, BundleFiles
from signing.verify.attested import parse_envelope
from signing.verify.statement import Claims, claims_of, trained_on

TEXT_MAX, ITEMS_MAX = 200, 40
UNSIGNED = "nobody: it has no attestation"


def card(files: BundleFiles, verified: str = "", claims: Claims | None = None) -> str:
    """verified: by whom the attestation was found good; "" where nobody looked. claims: what is
    about to be signed, in place of what was."""
    rows = [*_bundle(files), *_built(files, verified, claims)]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {_printable(text)}".rstrip() for name, text in rows)


def as_json(files: BundleFiles, verified: str = "", claims: Claims | None = None) -> dict[str, Any]:
    bundle = files.bundle
    made = msgspec.structs.asdict(bundle.calibration)
    found: dict[str, Any] = {
        "name": bundle.name, "version": bundle.version, "release": bundle.release,
        "sha256": files.sha256, "applicability": bundle.applicability, "ata": bundle.ata,
        "model_card": bundle.model_card, "full_fidelity": bundle.full_fidelity,
        "calibration": {k: v for k, v in made.items() if v is not msgspec.UNSET},
        "attestation": None,
    }  # fmt: skip
    said, signers = _attestation(files, claims)
    if said is not None:
        found["attestation"] = {"claims": said, "signed_by": signers, "verified": verified}
    return found


def _bundle(files: BundleFiles) -> Iterator[tuple[str, str]]:
    bundle, said = files.bundle, files.bundle.model_card
    whom = msgspec.structs.asdict(bundle.applicability)
    yield "bundle", f"{bundle.name} {bundle.version}, release {bundle.release}"
    yield "sha-256", files.sha256
    yield (
        "made for",
        "; ".join(f"{k.replace('_', ' ')} {', '.join(v)}" for k, v in whom.items() if v),
    )
    yield "purpose", said.purpose
    yield "method", said.method
    yield "limits", said.limits
    for name, figure in list(said.figures.items())[:ITEMS_MAX]:
        yield "  figure", f"{name} {figure:g}"
    yield from _speaks(bundle)
    yield "full fidelity", bundle.full_fidelity
    made = bundle.calibration
    yield "numbers from", made.source
    yield "  fitted by", made.fitted_by
    yield from _named("  data", {k: f"sha256:{v}" for k, v in trained_on(bundle).items()})
    if made.seeds:
        yield "  seeds", ", ".join(map(str, made.seeds))
    baselines = {} if isinstance(made.baselines, msgspec.UnsetType) else made.baselines
    for esn, sha256 in list(baselines.items())[:ITEMS_MAX]:
        yield "  baseline", f"ESN {esn} sha256:{sha256}"
    flights = () if isinstance(made.flights, msgspec.UnsetType) else made.flights
    if flights:
        yield "  flights", ", ".join(flights)


def _speaks(bundle: Bundle) -> Iterator[tuple[str, str]]:
    for port in bundle.inputs:
        yield "  input", f"{port.name} {port.valid[0]:g} to {port.valid[1]:g} {port.unit}"
    for output in bundle.outputs:
        valid = output.valid
        range_ = "any" if isinstance(valid, msgspec.UnsetType) else f"{valid[0]:g} to {valid[1]:g}"
        yield "  output", f"{output.name} {range_} {output.unit}, in steps of {output.lsb:g}"
    for monitor in bundle.monitors:
        yield "  monitor", f"{monitor.name}: onset {monitor.onset:g}, clear {monitor.clear:g}"
    bounds = bundle.calibratable
    if isinstance(bounds, msgspec.UnsetType):
        yield "calibratable", "nothing"
        return
    for name, limit in bounds.items():
        times = " times each number" if limit.of == "parent" else ""
        yield "calibratable", f"{name}: {limit.low:g} to {limit.high:g}{times}"


def _built(files: BundleFiles, verified: str, about_to: Claims | None) -> Iterator[tuple[str, str]]:
    claims, signers = _attestation(files, about_to)
    if claims is None:
        yield "attested by", UNSIGNED
        return
    yield "built by", claims.builder
    changes = " WITH CHANGES that no commit has" if claims.modified else ""
    yield "  from commit", claims.commit + changes
    if claims.parent:
        yield "  from bundle", f"sha256:{claims.parent}"
    yield from _named("  parameter", claims.parameters)
    yield from _named("  data", {k: f"sha256:{v}" for k, v in claims.data.items()})
    yield "attested by", ", ".join(x[:12] for x in signers) or "nobody yet"
    if signers:
        yield "verified", verified or "no: give --repo to ask the image root's attestors"


def _named(word: str, items: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, text in items.items():
        yield word, f"{name} {text}"


def _attestation(
    files: BundleFiles, about_to: Claims | None
) -> tuple[Claims | None, tuple[str, ...]]:
    """(claims, keyids of the signatures), unverified."""
    if not files.attestation:
        return about_to, ()
    envelope = parse_envelope(files.attestation, files.filename)
    return claims_of(envelope.payload, files), tuple(sorted(envelope.signatures))


def _printable(text: str) -> str:
    """Whoever made the bundle chose its texts: none may move the reader's cursor."""
    cut = text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX - 1]}…"
    return "".join(c if c.isprintable() else "?" for c in cut)
