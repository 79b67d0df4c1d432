"""Calibration as a person or a job asks for it: from the lake to a signing request.

In: a ground's folders, a tail, its type's release and the one that flies. Out: a folder with
`request.json`, the candidate bundle, its declaration and its parent's bundle. Always holds: the
ground signs nothing and offers nothing; the folder appears complete or not at all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ground.config import Paths
from shared.bundle import SUFFIX, Bundle, parse_bundle, unpack
from shared.errors import Rejected
from shared.files import sync_folder, write_durably
from shared.profile import ModelBounds
from shared.request import FILE, SigningRequest

if TYPE_CHECKING:
    from ground.calibrate.calibrate import Calibrated
    from ground.jobs.handlers import Context, Progress

ENGINE_TYPE = "hbtf_cfm56"
MODEL = "egt_rom"
TARGETS_MAX = 1000
Say = Callable[[float, str], None]


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to be calibrated. flights: empty for the newest closed ones. bounds: of the computer
    it will run on. before: the `bundle.json` of the release that flies. parent: the bundle file of
    the type's release, as published; empty when `before` is it, and then the request is for a
    release of its own, which the calibration role cannot publish."""

    tail: str
    before: Bundle
    parent: bytes = b""
    release: int
    by: str
    reason: str = ""
    flights: tuple[str, ...] = ()
    bounds: ModelBounds = ModelBounds()


def calibrate(context: Context, payload: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """The job. payload: an `Order`, with `before` as JSON has it and `parent` in base64."""
    try:
        order = msgspec.convert(payload, Order)
        order = msgspec.structs.replace(
            order, before=parse_bundle(msgspec.json.encode(order.before), "before")
        )
    except msgspec.ValidationError as error:
        raise Rejected(str(error), "calibrate", "see ground/calibrate/job.py") from None
    out = context.paths.state / "requests" / f"{order.before.name}-{order.release}-{context.job}"
    from shared.clock import SystemClock

    if out.exists():  # an earlier try of this job came so far
        shutil.rmtree(out)
    request = make_request(context.paths, order, out, SystemClock().wall_ns(), progress)
    return {"folder": str(out), "request": msgspec.to_builtins(request)}


def make_request(
    paths: Paths, order: Order, out: Path, now_ns: int, say: Say = lambda _share, _text: None
) -> SigningRequest:
    """Calibrate, and write the request to `out`, which must not exist."""
    from ground.calibrate.baselines import Baselines
    from ground.calibrate.calibrate import calibrate as reduce_again
    from ground.calibrate.flown import flights_of, read_flown
    from ground.database import open_reader
    from ground.ingest.segments import SegmentReader
    from ground.lake.records import Records
    from ground.models.turbofan.engine import load_engine_type

    if out.exists():
        raise Rejected("is there already", str(out), "name a new folder")
    engine, store = load_engine_type(ENGINE_TYPE), Baselines.open(paths.control)
    held = {x.esn: store.of_esn(x.esn) for x in order.before.instances}
    records = Records(open_reader(paths.ledger), SegmentReader(paths.segments))
    flights = flights_of(records, order.tail, order.flights)
    say(0.05, f"reading {len(flights)} flights")
    flown, notes = read_flown(records, paths.flights, order.tail, flights, order.before)
    say(0.2, "asking the full-fidelity model")
    made = reduce_again(
        parent_of(order), engine, {esn: x for esn, x in held.items() if x is not None}, flown,
        order.release, order.bounds, before=order.before, tail=order.tail,
    )  # fmt: skip
    say(0.9, "packing")
    return write_request(order, made, notes, out, now_ns)


def parent_of(order: Order) -> Bundle:
    """Of the type; whose numbers are calibrated."""
    return unpack(order.parent, ModelBounds(), "parent").bundle if order.parent else order.before


def write_request(
    order: Order, made: Calibrated, notes: Sequence[str], out: Path, now_ns: int
) -> SigningRequest:
    """The folder, by rename."""
    from ground.calibrate.calibrate import declared_sha256
    from shared.bundlefile import pack_declared, pretty

    bundle = made.bundle
    filename, packed = pack_declared(bundle)
    declaration = pretty(bundle)
    provenance = bundle.calibration
    parent = unpack(order.parent, ModelBounds(), "parent") if order.parent else None
    assert isinstance(provenance.baselines, dict) and isinstance(provenance.flights, tuple)
    seen = ", ".join(provenance.flights)
    request = SigningRequest(
        name=bundle.name, version=bundle.version, release=bundle.release, bundle=filename,
        bundle_sha256=hashlib.sha256(packed).hexdigest(),
        declaration=f"{bundle.name}_v{bundle.release}.json",
        declaration_sha256=hashlib.sha256(declaration).hexdigest(), tail=order.tail,
        parent=parent.filename if parent else "", parent_sha256=parent.sha256 if parent else "",
        replaces=f"release {order.before.release}, {declared_sha256(order.before)}",
        by=order.by, reason=order.reason or f"model error over {seen}", made_ns=now_ns,
        full_fidelity=bundle.full_fidelity, baselines=provenance.baselines,
        flights=provenance.flights, model_error=made.errors, notes=(*notes, *made.notes),
    )  # fmt: skip
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    aside.mkdir(parents=True)
    try:
        write_durably(aside / filename, packed)
        write_durably(aside / request.declaration, declaration)
        if parent is not None:
            write_durably(aside / request.parent, order.parent)
        text = msgspec.json.format(msgspec.json.encode(request), indent=1)
        write_durably(aside / FILE, text + b"\n")
        aside.rename(out)
        sync_folder(out.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return request


class Published(msgspec.Struct, frozen=True):
    """What there is of a model. parent: the newest bundle file of the type. newest: the newest
    release for the tail, that or a calibration. release: number of the next."""

    parent: bytes
    newest: Bundle
    release: int


def published(repository: Path, model: str, tail: str) -> Published:
    """What the targets of an image repository hold.

    Its signatures are for the aircraft to check; here the file must have the hash in its name.
    """
    targets = repository / "image" / "targets"
    of_type = _bundles(targets / model)
    if not of_type:
        raise Rejected(f"no bundle of {model!r}", str(targets / model),
                       "publish one, or give --before")  # fmt: skip
    parent, data = max(of_type, key=lambda x: x[0].release)
    calibrated = [bundle for bundle, _ in _bundles(targets / "cal" / tail / model)]
    newest = max([parent, *calibrated], key=lambda x: x.release)
    return Published(data, newest, newest.release + 1)


def _bundles(folder: Path) -> list[tuple[Bundle, bytes]]:
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}"))[:TARGETS_MAX]:
        sha256, _, name = path.name.partition(".")
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Rejected("not the bytes that its name says", str(path), "restore the repository")
        found.append((unpack(data, ModelBounds(), name).bundle, data))
    return found


def declared(path: Path) -> tuple[Bundle, bytes]:
    """(a release, its bundle file) from a bundle file, or from its declaration and then b""."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Rejected(f"cannot read: {error.strerror}", str(path), "check the path") from None
    if path.name.endswith(SUFFIX):
        return unpack(data, ModelBounds(), path.name).bundle, data
    return parse_bundle(data, str(path)), b""
