"""How a bundle was built, as an in-toto statement with SLSA v1 provenance.

In: a bundle's members and what its builder claims; or the bytes of a statement. Out: the bytes, or
the claims.
Always holds: the same members and claims give the same bytes; what the bundle says of itself (name,
applicability, seeds, baselines, full-fidelity parent) is taken from it and never from the builder,
so that a statement which says otherwise is none of this bundle; an unknown or missing field is
refused by name. Formats: in-toto Statement v1; SLSA Provenance v1 (slsa.dev/spec/v1.0/provenance).
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta

from shared.bundle import Bundle, BundleFiles, Trained
from shared.bundletar import MEMBERS
from shared.errors import Rejected

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
BUILD_TYPE = "https://tailtwin.example/build/bundle/v1"
"""What the parameters mean; `.example` is a reserved domain: the name resolves nowhere."""
STATEMENT_BYTES_MAX = 32 << 10
NAMED_MAX = 64  # parameters, and training data
SOURCE, PARENT, SIGNALS, FIDELITY = "source", "parent", "signal set", "full fidelity"
BASELINE, DATA = "baseline ", "data "

_HEX = re.compile(r"[0-9a-f]{64}\Z")
_Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Commit = Annotated[str, Meta(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})\Z")]
_Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._/#+-]{0,99}\Z")]
_Value = Annotated[str, Meta(max_length=200)]
_Uri = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9+.-]{0,15}:[!-~]{1,180}\Z")]


class Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a bundle cannot say of itself.

    builder: URI of who runs the build. commit: of the sources, git's own hash; modified: that tree
    had changes which no commit has. data: what was trained on, by sha-256. parent: sha-256 of the
    bundle file that a calibration started from.
    """

    builder: _Uri
    commit: _Commit
    modified: bool = False
    parameters: Annotated[dict[_Name, _Value], Meta(max_length=NAMED_MAX)] = {}
    data: Annotated[dict[_Name, _Sha256], Meta(max_length=NAMED_MAX)] = {}
    parent: str = ""


class _Subject(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"
):
    name: str
    digest: dict[str, str]


class _Resolved(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"
):
    """A ResourceDescriptor."""

    name: str
    digest: dict[str, str]
    annotations: dict[str, bool] | msgspec.UnsetType = UNSET


class _External(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"
):
    name: str
    version: str
    release: int
    applicability: dict[str, tuple[str, ...]]
    parameters: dict[str, str]


class _Internal(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"
):
    source: str
    fitted_by: str
    seeds: tuple[int, ...]
    flights: tuple[str, ...]
    full_fidelity: str
    exporter: str


class _Definition(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"
):
    build_type: str
    external_parameters: _External
    internal_parameters: _Internal
    resolved_dependencies: tuple[_Resolved, ...]


class _Builder(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"
):
    id: str


class _Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    builder: _Builder


class _Predicate(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"
):
    build_definition: _Definition
    run_details: _Run


class _Statement(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True,
    rename={"type": "_type", "predicate_type": "predicateType"},
):  # fmt: skip
    type: str
    subject: tuple[_Subject, ...]
    predicate_type: str
    predicate: _Predicate


def statement_of(files: BundleFiles, claims: Claims) -> bytes:
    """The statement: canonical, so that all who attest one build sign the same bytes."""
    claims = _checked(claims)
    bundle = files.bundle
    made = bundle.calibration
    behaviour = bundle.behaviour
    statement = _Statement(
        type=STATEMENT_TYPE,
        subject=tuple(
            _Subject(name=name, digest=_sha256(hashlib.sha256(content).hexdigest()))
            for name, content in zip(MEMBERS, _members(files), strict=True)
        ),
        predicate_type=PREDICATE_TYPE,
        predicate=_Predicate(
            build_definition=_Definition(
                build_type=BUILD_TYPE,
                external_parameters=_External(
                    name=bundle.name, version=bundle.version, release=bundle.release,
                    applicability=msgspec.structs.asdict(bundle.applicability),
                    parameters=claims.parameters,
                ),
                internal_parameters=_Internal(
                    source=made.source, fitted_by=made.fitted_by, seeds=made.seeds,
                    flights=() if isinstance(made.flights, msgspec.UnsetType) else made.flights,
                    full_fidelity=bundle.full_fidelity,
                    exporter=behaviour.exporter if isinstance(behaviour, Trained) else "",
                ),
                resolved_dependencies=_dependencies(files, claims),
            ),
            run_details=_Run(builder=_Builder(id=claims.builder)),
        ),
    )  # fmt: skip
    data = msgspec.json.encode(statement, order="sorted")
    if len(data) > STATEMENT_BYTES_MAX:
        raise Rejected(f"statement of {len(data)} bytes", bundle.name,
                       f"at most {STATEMENT_BYTES_MAX}: fewer parameters, data or texts")  # fmt: skip
    return data


def claims_of(data: bytes, files: BundleFiles) -> Claims:
    """What the builder claims; Rejected unless `data` is the statement of these very members."""
    where = f"attestation of {files.bundle.name} {files.bundle.version}"
    remedy = "attest this bundle with tailtwin-sign attest"
    if len(data) > STATEMENT_BYTES_MAX:
        raise Rejected(f"a statement over {STATEMENT_BYTES_MAX} bytes", where, remedy)
    try:
        found = msgspec.json.decode(data, type=_Statement)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(f"no provenance of ours: {error}", where, remedy) from None
    for what, said, wanted in (
        ("statement type", found.type, STATEMENT_TYPE),
        ("predicate type", found.predicate_type, PREDICATE_TYPE),
        ("build type", found.predicate.build_definition.build_type, BUILD_TYPE),
    ):
        if said != wanted:
            raise Rejected(f"{what} is {said[:80]!r}, not {wanted!r}", where, remedy)
    _compare_subjects(found, files, where)
    claims = _claimed(found, files.bundle, where)
    if statement_of(files, claims) != data:
        raise Rejected("it says of the bundle what the bundle does not say", where, remedy)
    return claims


def _compare_subjects(found: _Statement, files: BundleFiles, where: str) -> None:
    """By name, so that the refusal says which member is another."""
    said = {x.name: x.digest for x in found.subject}
    for name, content in zip(MEMBERS, _members(files), strict=True):
        if said.get(name) != _sha256(hashlib.sha256(content).hexdigest()):
            raise Rejected(f"it is about another {name}", where,
                           "fetch the bundle that was attested, or attest this one")  # fmt: skip


def trained_on(bundle: Bundle) -> dict[str, str]:
    """Name to sha-256 of the data that a bundle itself names."""
    data = bundle.calibration.data
    return {} if isinstance(data, msgspec.UnsetType) else data


def _claimed(found: _Statement, bundle: Bundle, where: str) -> Claims:
    known = trained_on(bundle)
    definition = found.predicate.build_definition
    resolved = {x.name: x for x in definition.resolved_dependencies}
    source = resolved.get(SOURCE)
    parent = resolved.get(PARENT)
    try:
        return _checked(Claims(
            builder=found.predicate.run_details.builder.id,
            commit=source.digest.get("gitCommit", "") if source else "",
            modified=bool(source and not isinstance(source.annotations, msgspec.UnsetType)
                          and source.annotations.get("modified")),
            parameters=definition.external_parameters.parameters,
            data={x.name.removeprefix(DATA): x.digest.get("sha256", "")
                  for x in definition.resolved_dependencies
                  if x.name.startswith(DATA) and x.name.removeprefix(DATA) not in known},
            parent=parent.digest.get("sha256", "") if parent else "",
        ))  # fmt: skip
    except Rejected as error:
        raise Rejected(error.what, where, error.remedy) from None


def _checked(claims: Claims) -> Claims:
    """Again, since a Struct that is made in code is not checked."""
    try:
        found = msgspec.convert(msgspec.to_builtins(claims), Claims)
        if found.parent:
            msgspec.convert(found.parent, _Sha256)
    except msgspec.ValidationError as error:
        raise Rejected(f"provenance: {error}", "attestation",
                       "a builder's URI, a full commit hash, sha-256 in hex") from None  # fmt: skip
    return found


def _dependencies(files: BundleFiles, claims: Claims) -> tuple[_Resolved, ...]:
    """Everything that went in and has a hash."""
    made = files.bundle.calibration
    modified: dict[str, Any] = {"annotations": {"modified": True}} if claims.modified else {}
    found = [_Resolved(name=SOURCE, digest={"gitCommit": claims.commit}, **modified)]
    if claims.parent:
        found.append(_Resolved(name=PARENT, digest=_sha256(claims.parent)))
    for name, said in (
        (FIDELITY, files.bundle.full_fidelity.rpartition("sha256:")[2]),
        (SIGNALS, made.signal_set_sha256),
    ):
        if _HEX.match(said):  # either may be words as well
            found.append(_Resolved(name=name, digest=_sha256(said)))
    baselines = {} if isinstance(made.baselines, msgspec.UnsetType) else made.baselines
    found += [_Resolved(name=BASELINE + esn, digest=_sha256(sha256))
              for esn, sha256 in sorted(baselines.items())]  # fmt: skip
    data = trained_on(files.bundle)
    if twice := sorted(set(data) & set(claims.data)):
        raise Rejected(f"data {twice[0]!r}: the bundle says so already", files.bundle.name,
                       "leave it out of --data")  # fmt: skip
    found += [_Resolved(name=DATA + name, digest=_sha256(sha256))
              for name, sha256 in sorted({**data, **claims.data}.items())]  # fmt: skip
    return tuple(found)


def _members(files: BundleFiles) -> tuple[bytes, bytes, bytes]:
    return files.bundle_json, files.model, files.selftest


def _sha256(digest: str) -> dict[str, str]:
    return {"sha256": digest}
