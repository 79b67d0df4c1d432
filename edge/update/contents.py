"""What is inside verified files: who built them, and whether a calibration is one.

In: the bytes that TUF verified, the image root, the profile's policy. Out: nothing, or Refused.
Always holds: a bundle of a type is attested by whom the image root names; a calibration is its
attested parent with other numbers, within what the parent allows; one that says how it was made is
attested to that, with that parent; a bundle is what it says itself.
"""

from __future__ import annotations

import msgspec
from tuf.api.metadata import Root

from edge.update.choice import Wanted
from edge.update.failures import Refused
from edge.update.verified import FetchRequest
from shared.bundle import BundleFiles, unpack
from shared.errors import Rejected
from shared.profile import ModelBounds
from signing.verify import Applicability, inapplicable
from signing.verify.attested import attestors_of, check_attestation

UNPACKED_PER_PACKED = 8
"""Assumption: no bundle of numbers unpacks to more; admission judges by the profile's own bound."""


def check_contents(
    wanted: Wanted, data: bytes, parent: bytes, root: Root, request: FetchRequest
) -> None:
    """Refused unless the file is what its place in the repository says. parent: the bytes of
    `wanted.parent`; empty without one."""
    bounds = ModelBounds(
        bundle_bytes_max=request.bytes_max,
        unpacked_bytes_max=UNPACKED_PER_PACKED * request.bytes_max,
    )
    files = _unpacked(data, bounds, wanted)
    _is_itself(files, wanted, request)
    if wanted.parent is None:
        _attested(files, root, request, wanted)
        return
    of = _unpacked(parent, bounds, wanted.parent)
    _is_itself(of, wanted.parent, request)
    _attested(of, root, request, wanted.parent)
    if files.attestation:
        _attested(files, root, request, wanted, of.sha256)
    from shared.calibration import against  # it brings onnx, for these few only

    if reasons := against(files, of):
        raise Refused(Rejected, "calibration", "; ".join(reasons), wanted.target.path)


def _unpacked(data: bytes, bounds: ModelBounds, wanted: Wanted) -> BundleFiles:
    try:
        return unpack(data, bounds, wanted.target.path)
    except Rejected as error:
        raise Refused(Rejected, "rejected", error.what, wanted.target.path) from None


def _is_itself(files: BundleFiles, wanted: Wanted, request: FetchRequest) -> None:
    """Whoever signs where a bundle goes does not make it another one: its own name and release, and
    no aircraft that it was not made for. What a bundle says is what its attestors vouch for."""
    bundle = files.bundle
    if (bundle.name, bundle.release) != (wanted.name, wanted.release):
        text = f"the bundle says {bundle.name} {bundle.release}"
        raise Refused(Rejected, "custom", text, wanted.target.path)
    made_for = Applicability(**msgspec.structs.asdict(bundle.applicability))
    if reasons := inapplicable(made_for, request.aircraft):
        text = f"the bundle says: {'; '.join(reasons)}"
        raise Refused(Rejected, "inapplicable", text, wanted.target.path)


def _attested(
    files: BundleFiles, root: Root, request: FetchRequest, wanted: Wanted, parent: str = ""
) -> None:
    try:
        check_attestation(files, attestors_of(root), request.attestation, parent)
    except Rejected as error:
        text = f"{error.where}: {error.what}"
        raise Refused(Rejected, "attestation", text, wanted.target.path) from None
