"""The delegations of a targets role, edited.

In: a targets role that is being changed. Out: the same, with a delegation more, or less.
Always holds: keys that no delegation names are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

from securesystemslib.signer import Key
from tuf.api.metadata import DelegatedRole, Delegations, Targets

from signing.change import Change
from signing.verify import SINCE_FIELD


def put(change: Change, targets: Targets, role: DelegatedRole, keys: Sequence[Key]) -> None:
    """Add a delegation, or replace that of the same name; keys that nobody names any more go.

    Under a name that was revoked once, versions go on where they were: readers remember.
    """
    found = delegations(targets)
    assert found.roles is not None
    listed = change.chain.version_listed(role.name)
    there = found.roles.get(role.name)
    since = there.unrecognized_fields.get(SINCE_FIELD) if there else listed and listed + 1
    if since:
        role.unrecognized_fields[SINCE_FIELD] = since
    found.roles[role.name] = role
    found.keys.update({key.keyid: key for key in keys})
    drop_keys(targets)


def delegations(targets: Targets) -> Delegations:
    """Its delegations, made when it has none."""
    if targets.delegations is None:
        targets.delegations = Delegations({}, {})
    return targets.delegations


def drop_keys(targets: Targets) -> None:
    """Drop the keys that no delegation names."""
    found = delegations(targets)
    used = {keyid for role in (found.roles or {}).values() for keyid in role.keyids}
    for keyid in set(found.keys) - used:
        del found.keys[keyid]
