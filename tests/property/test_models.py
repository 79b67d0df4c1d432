"""Whatever the bytes of a model, bundle or frame are: an answer or a refusal, nothing else."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.models.admission import decide
from edge.models.frames import body_size, reply, request
from edge.models.fuse import fuse, operator_sets
from edge.models.graph import examine
from shared.errors import Rejected
from shared.profile import ModelBounds
from tests.fakes.bundles import bundle, model_of, packed

BUNDLE, BOUNDS = bundle(), ModelBounds()
MODEL, FILE = model_of(BUNDLE), packed()[1]
QUICK = settings(max_examples=150, deadline=None)

Change = tuple[int, int]
changes = st.lists(
    st.tuples(st.integers(0, 2**31), st.integers(0, 255)), min_size=1, max_size=6
)  # fmt: skip


def changed(data: bytes, where: list[Change], cut: int | None) -> bytes:
    out = bytearray(data)
    for at, value in where:
        out[at % len(out)] = value
    return bytes(out[: cut % len(out)] if cut is not None else out)


cuts = st.none() | st.integers(0, 2**31)


@QUICK
@given(st.binary(max_size=300))
def test_any_bytes_are_fused_or_refused(data: bytes) -> None:
    try:
        fuse([data, MODEL])
        operator_sets(data)
    except Rejected:
        pass


@QUICK
@given(changes, cuts)
def test_changed_model_is_fused_or_refused_without_growing(
    where: list[Change], cut: int | None
) -> None:
    data = changed(MODEL, where, cut)
    try:
        assert len(fuse([data])) < 2 * len(MODEL)
    except Rejected:
        pass


@QUICK
@given(changes, cuts)
def test_changed_graph_is_judged_whatever_it_is(where: list[Change], cut: int | None) -> None:
    reasons = examine(changed(MODEL, where, cut), BUNDLE, BOUNDS)
    assert len(reasons) <= 16 and all(isinstance(x, str) for x in reasons)


@QUICK
@given(changes, cuts)
def test_changed_bundle_file_is_refused(where: list[Change], cut: int | None) -> None:
    data = changed(FILE, where, cut)
    result = decide("graph", data, BOUNDS)
    assert result.ok == (data == FILE)  # zstandard's checksum: no change goes unseen


@QUICK
@given(st.binary(max_size=64))
def test_any_frame_is_read_or_refused(data: bytes) -> None:
    for read, refusals in ((reply, Rejected), (request, (msgspec.DecodeError, UnicodeDecodeError))):
        try:
            read(data)
        except refusals:  # type: ignore[misc]
            pass
    try:
        assert body_size(data[:4]) <= 1 << 20
    except Rejected:
        pass
