"""What is about to be signed, for the person who signs it.

In: metadata before and after, and whoever vouches for it. Out: frozen values, and lines of text.
Always holds: text from other people's files is shown printable and bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from securesystemslib.signer import Key
from tuf.api.metadata import DelegatedRole, Root, Signed, Targets

from signing.change import Plan, Step
from signing.keyring import name_of
from signing.repository import Repository
from signing.rolekeys import TOP_ROLES
from signing.verify import ATTESTORS_FIELD, ROLLBACK_FIELD, UNTIL_FIELD, WITHIN_FIELD, Applicability

LINES_MAX, ROLES_MAX = 40, 12  # what a person reads on one screen, or two
TEXT_MAX = 200
NAMES_MAX = 6  # of types, parts, engines or tails


class RoleSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One file that gets signatures. version_before: 0 for a first one. may_sign: name and keyid of
    each key of the role. A root is signed by those before it as well: threshold_before, and
    may_sign_before. changes: one line each, `+` added, `-` removed, `~` changed."""

    repository: str
    role: str
    version_before: int
    version: int
    expires: str
    threshold: int
    may_sign: tuple[str, ...]
    threshold_before: int
    may_sign_before: tuple[str, ...]
    signed_already: bool
    changes: tuple[str, ...]


def summaries(plan: Plan) -> tuple[RoleSummary, ...]:
    """Of everything that a plan signs, root first."""
    chain = plan.change.chain
    steps = [*((plan.root,) if plan.root else ()), *plan.roles, plan.snapshot, plan.timestamp]
    found = []
    for step in steps:
        before: Signed | None = None
        if step.role == "root":
            before = chain.root.signed
        elif step.role not in ("snapshot", "timestamp") and chain.is_there(step.role):
            before = chain.targets(step.role)
        found.append(summary(plan.repository, step, before))
    return tuple(found)


def summary(repository: str, step: Step, before: Signed | None) -> RoleSummary:
    """Of one file. before: the version that it replaces, where it is at hand."""
    signed = step.signed
    if isinstance(signed, Root):
        changes = tuple(_root_changes(before if isinstance(before, Root) else None, signed))
    elif isinstance(signed, Targets):
        changes = tuple(_targets_changes(before if isinstance(before, Targets) else None, signed))
    else:
        changes = ()
    old = before.roles["root"] if isinstance(before, Root) else None
    keys = step.keys
    if isinstance(signed, Root):
        keys = tuple(signed.keys[keyid] for keyid in signed.roles["root"].keyids)
    counts_itself = step.role in ("snapshot", "timestamp")
    return RoleSummary(
        repository=repository, role=step.role, version=signed.version,
        version_before=signed.version - 1 if counts_itself else before.version if before else 0,
        expires=f"{signed.expires:%Y-%m-%dT%H:%M:%SZ}", threshold=step.threshold,
        may_sign=tuple(_key(key) for key in keys), threshold_before=old.threshold if old else 0,
        may_sign_before=tuple(_key(before.keys[k]) for k in old.keyids)
        if isinstance(before, Root) and old else (),
        signed_already=step.given is not None,
        changes=changes,
    )  # fmt: skip


def first_summaries(made: Sequence[tuple[Repository, Root, Targets]]) -> tuple[RoleSummary, ...]:
    """Of two repositories that begin."""
    found = []
    for repository, root, targets in made:
        for role, signed in (("root", root), ("targets", targets)):
            of = root.roles[role]
            keys = tuple(root.keys[keyid] for keyid in of.keyids)
            found.append(summary(repository.NAME, Step(role, signed, keys, of.threshold), None))
    return tuple(found)


def text(found: tuple[RoleSummary, ...]) -> str:
    """For a terminal. Many roles alike are counted."""
    lines: list[str] = []
    for one in found[: ROLES_MAX if len(found) > ROLES_MAX + 2 else None]:
        lines += _lines(one)
    if len(found) > ROLES_MAX + 2:
        between = found[ROLES_MAX:-2]
        if between:
            few = f"{printable(between[0].role)} to {printable(between[-1].role)}"
            lines.append(f"… and {len(between)} roles more, {few}")
        for one in found[-2:]:
            lines += _lines(one)
    return "\n".join(lines)


def printable(value: object) -> str:
    """Foreign text, bounded, without anything that moves a cursor."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))
    return shown if len(shown) <= TEXT_MAX else f"{shown[: TEXT_MAX - 1]}…"


def _lines(one: RoleSummary) -> Iterator[str]:
    verb = "takes over" if one.signed_already else "signs"
    yield (
        f"{verb} {one.repository} {printable(one.role)}: version {one.version_before} -> "
        f"{one.version}, until {one.expires}"
    )
    keys = [printable(key) for key in one.may_sign]
    yield f"    by {one.threshold} of {len(keys)}: {', '.join(keys[:9])}"
    if one.threshold_before:
        keys = [printable(key) for key in one.may_sign_before]
        yield f"    and by {one.threshold_before} of {len(keys)} before it: {', '.join(keys[:9])}"
    yield from (f"    {line}" for line in one.changes[:LINES_MAX])
    if len(one.changes) > LINES_MAX:
        yield f"    … and {len(one.changes) - LINES_MAX} changes more"


def _root_changes(before: Root | None, after: Root) -> Iterator[str]:
    for role in TOP_ROLES:  # in one order, so that two people can compare what they read
        now, was = after.roles[role], before.roles[role] if before else None
        yield from _key_changes(
            role,
            {k: before.keys[k] for k in was.keyids} if before and was else {},
            {k: after.keys[k] for k in now.keyids},
            was.threshold if was else 0, now.threshold,
        )  # fmt: skip
    was_keys, was_threshold = _attestors(before)
    now_keys, now_threshold = _attestors(after)
    yield from _key_changes("attestors", was_keys, now_keys, was_threshold, now_threshold)


def _attestors(root: Root | None) -> tuple[dict[str, Key], int]:
    raw = root.unrecognized_fields.get(ATTESTORS_FIELD) if root else None
    if not isinstance(raw, Mapping):
        return {}, 0
    keys = {k: Key.from_dict(k, dict(v)) for k, v in raw.get("keys", {}).items()}
    return keys, raw.get("threshold", 0)


def _key_changes(
    role: str, was: dict[str, Key], now: dict[str, Key], was_threshold: int, threshold: int
) -> Iterator[str]:
    """Keys and threshold of a role, before and after."""
    for keyid in [k for k in now if k not in was]:
        yield f"+ key of {role}: {_key(now[keyid])}"
    for keyid in [k for k in was if k not in now]:
        yield f"- key of {role}: {_key(was[keyid])}"
    if (was_threshold, len(was)) != (threshold, len(now)):
        yield f"~ {role}: {was_threshold} of {len(was)} -> {threshold} of {len(now)}"


def _targets_changes(before: Targets | None, after: Targets) -> Iterator[str]:
    was, now = _delegated(before), _delegated(after)
    for name in [n for n in now if n not in was]:
        yield f"+ delegation {printable(name)}: {_terms(after, now[name])}"
    for name in [n for n in was if n not in now]:
        yield f"- delegation {printable(name)}"
    for name in [n for n in now if n in was]:
        assert before is not None
        if (old := _terms(before, was[name])) != (new := _terms(after, now[name])):
            yield f"~ delegation {printable(name)}: {old} -> {new}"
    old_targets = before.targets if before else {}
    for path in sorted(after.targets):
        if path not in old_targets or old_targets[path] != after.targets[path]:
            yield f"+ target {printable(path)}: {_entry(after, path)}"
    for path in sorted(old_targets.keys() - after.targets.keys()):
        yield f"- target {printable(path)}"
    rollback = after.unrecognized_fields.get(ROLLBACK_FIELD)
    if rollback:
        yield f"+ rollback of set {printable(rollback)}"


def _delegated(targets: Targets | None) -> dict[str, DelegatedRole]:
    delegations = targets.delegations if targets else None
    return dict(delegations.roles or {}) if delegations else {}


def _terms(by: Targets, role: DelegatedRole) -> str:
    keys = ", ".join(_key(by.get_key(keyid)) for keyid in role.keyids)
    words = [f"{', '.join(role.paths or [])} by {role.threshold} of {keys}"]
    for field, word in ((UNTIL_FIELD, "until"), (WITHIN_FIELD, "within")):
        if field in role.unrecognized_fields:
            words.append(f"{word} {_whom(role.unrecognized_fields[field])}")
    return printable(" ".join(words))


def _entry(targets: Targets, path: str) -> str:
    target = targets.targets[path]
    custom = target.custom if isinstance(target.custom, Mapping) else {}
    made_for = _whom(custom.get("applicability", {})) or "every aircraft"
    sha256 = target.hashes.get("sha256", "")[:12]
    return printable(
        f"release {custom.get('release')}, {target.length} bytes, sha-256 {sha256}, for {made_for}"
    )


def _whom(applicability: object) -> str:
    """`types B737; esns 894101, 894102`, as `inspect` and model cards say it."""
    if not isinstance(applicability, Mapping):
        return str(applicability)
    said = []
    fields = Applicability.__struct_fields__  # signed JSON is in the order of the alphabet
    for name in sorted(
        applicability, key=lambda n: fields.index(n) if n in fields else len(fields)
    ):
        among = applicability[name]
        if not isinstance(among, list | tuple):
            said.append(f"{name} {among}")
        elif among:
            more = f" and {len(among) - NAMES_MAX} more" if len(among) > NAMES_MAX else ""
            listed = ", ".join(map(str, among[:NAMES_MAX]))
            said.append(f"{str(name).replace('_', ' ')} {listed}{more}")
    return "; ".join(said)


def _key(key: Key) -> str:
    kind = "" if key.keytype == "ed25519" else f" {key.keytype}"
    return printable(f"{name_of(key)} ({key.keyid[:12]}{kind})")
