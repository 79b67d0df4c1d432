"""A signing request: what the ground asks the signers to sign, and why.

In: a folder with `request.json`, a bundle, its declaration and its parent's bundle. Out: a checked
`SigningRequest`.
Always holds: the files are those that the request names by sha-256, the declaration is what the
bundle says, and so is all of the request that a bundle says too; one that names a parent differs
from it in numbers only, within the parent's bounds. Tail, reason, model errors and notes are the
word of whoever made it. A request signs nothing and decides nothing.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.bundle import Bundle, BundleFiles, parse_bundle, unpack
from shared.errors import Rejected
from shared.files import read_bounded
from shared.profile import ModelBounds

FILE = "request.json"
VERSION = 1
REQUEST_BYTES_MAX = 1 << 20
NOT_OURS = "this is no request of ours"
_Text = Annotated[str, Meta(max_length=2000)]
_Name = Annotated[str, Meta(max_length=200, pattern=r"^[A-Za-z0-9_.-]+\Z")]
_Sha = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class ModelError(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Edge model minus full fidelity with this ESN's baseline, same inputs.

    rows: `flights`, those the envelope was drawn from; `held_out`, rows of them that were left out.
    n: rows at which both releases and the full-fidelity model speak.
    """

    esn: str
    output: str
    unit: str
    rows: Literal["flights", "held_out"]
    n: int
    before_rms: float
    after_rms: float
    before_worst: float
    after_worst: float


class SigningRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`request.json`."""

    v: int = VERSION
    name: str
    version: str
    release: int
    bundle: _Name
    """File in the folder."""
    bundle_sha256: _Sha
    declaration: _Name
    declaration_sha256: _Sha
    tail: str
    parent: Annotated[str, Meta(max_length=200, pattern=r"^[A-Za-z0-9_.-]*\Z")] = ""
    """File in the folder: the published bundle whose numbers this one changes; empty where it is a
    release of its own, for the offline signers."""
    parent_sha256: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")] = ""
    replaces: _Text
    """The release that flies, with the sha-256 of its bundle.json."""
    by: _Text
    reason: _Text
    made_ns: int
    full_fidelity: _Text
    baselines: dict[str, _Sha]
    """ESN to the sha-256 of its approved baseline."""
    flights: tuple[_Text, ...]
    """`FLIGHT#REVISION`."""
    model_error: tuple[ModelError, ...]
    notes: tuple[_Text, ...] = ()


def load_request(folder: Path) -> tuple[SigningRequest, BundleFiles]:
    """The request and its bundle; Rejected unless both files are what it names."""
    where = str(folder / FILE)
    try:
        data = read_bounded(folder / FILE, REQUEST_BYTES_MAX, NOT_OURS)
        request = msgspec.json.decode(data, type=SigningRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(f"no signing request: {error}", where, "see shared/request.py") from None
    if request.v != VERSION:
        raise Rejected(f"version {request.v}", where, f"this program reads version {VERSION}")
    bounds = ModelBounds()
    packed = _named(folder, request.bundle, request.bundle_sha256, bounds.bundle_bytes_max)
    files = unpack(packed, bounds, request.bundle)
    text = _named(folder, request.declaration, request.declaration_sha256, REQUEST_BYTES_MAX)
    declared = parse_bundle(text, request.declaration)
    _need(declared == files.bundle, "the declaration is not what the bundle says", where)
    _need(request.bundle == files.filename, "not the name of this bundle", request.bundle)
    said = (request.name, request.version, request.release)
    _need(said == (declared.name, declared.version, declared.release),
          "name, version or release differ from the bundle's", where)  # fmt: skip
    source = declared.calibration
    made_from = (request.full_fidelity, request.baselines, request.flights)
    _need(made_from == (declared.full_fidelity, source.baselines, source.flights),
          "full fidelity, baselines or flights differ from the bundle's", where)  # fmt: skip
    _check_parent(folder, request, files)
    return request, files


def read_parent(folder: Path, request: SigningRequest) -> bytes:
    """The parent's bundle file, b"" where there is none; Rejected unless it is the one named."""
    _need(bool(request.parent) == bool(request.parent_sha256), "a parent without its sha-256",
          str(folder / FILE))  # fmt: skip
    if not request.parent:
        return b""
    return _named(folder, request.parent, request.parent_sha256, ModelBounds().bundle_bytes_max)


def _check_parent(folder: Path, request: SigningRequest, files: BundleFiles) -> None:
    data = read_parent(folder, request)
    if not data:
        return
    from shared.calibration import against  # here: onnx, for those who read requests only

    reasons = against(files, unpack(data, ModelBounds(), request.parent))
    _need(not reasons, f"no calibration of its parent: {'; '.join(reasons[:4])}", request.bundle)


def summary(request: SigningRequest, bundle: Bundle) -> str:
    """What a signer should have read before signing."""
    units = {port.name: port.unit for port in bundle.outputs}
    lines = [
        f"{request.name} {request.version}, release {request.release}, for {request.tail or 'a type'}",
        f"  replaces      {request.replaces}",
        f"  numbers of    {request.parent or 'its own: a release for the offline signers'}",
        f"  asked by      {request.by}: {request.reason}",
        f"  made for      ESN {', '.join(x.esn for x in bundle.instances)}",
        f"  may run on    {_may_run_on(bundle)}",
        f"  full fidelity {request.full_fidelity[:60]}",
        f"  flights       {', '.join(request.flights) or 'none'}",
        *(
            f"  baseline      ESN {esn} {sha[:16]}"
            for esn, sha in sorted(request.baselines.items())
        ),
        *(
            f"  model error   ESN {x.esn} {x.output}, {x.rows.replace('_', ' ')}: "
            f"{x.before_rms:.2f} before, {x.after_rms:.2f} after {x.unit} rms "
            f"({x.before_worst:.1f}, {x.after_worst:.1f} worst; {x.n} rows)"
            for x in request.model_error
        ),
        *(
            f"  monitor       {m.name}: onset {m.onset:g}, clear {m.clear:g} {units[m.output]}"
            for m in bundle.monitors
        ),
        *(f"  note          {note}" for note in request.notes),
        f"  sha-256       {request.bundle_sha256}",
    ]
    # Whoever wrote the request chooses its texts: none may move the signer's cursor.
    return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)


def _may_run_on(bundle: Bundle) -> str:
    """Of the bundle itself, whatever the request says of a tail."""
    named = msgspec.structs.asdict(bundle.applicability)
    return (
        "; ".join(f"{x.replace('_', ' ')} {', '.join(v)}" for x, v in named.items() if v) or "any"
    )


def _named(folder: Path, name: str, sha256: str, bytes_max: int) -> bytes:
    data = read_bounded(folder / name, bytes_max, NOT_OURS)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise Rejected(f"sha-256 is {found[:12]}…, the request says {sha256[:12]}…", name,
                       "ask for it again; do not sign this")  # fmt: skip
    return data


def _need(ok: bool, what: str, where: str) -> None:
    if not ok:
        raise Rejected(what, where, "ask for it again; do not sign this")
