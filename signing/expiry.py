"""What has to be signed again before long.

In: a repository, how many days ahead. Out: what expires, soonest first.
Always holds: what `refresh` renews is named when half of its life is over, not always.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from signing.chain import TOP, children
from signing.change import is_offline
from signing.repository import Repository
from signing.verify import until
from signing.verify.delegations import CALIBRATION
from signing.view import RoleView, view


class Expiring(msgspec.Struct, frozen=True, kw_only=True):
    """what: a role, or a delegation. days: left; negative when it is over. remedy: a command."""

    repository: str
    what: str
    expires: str
    days: float
    remedy: str


def expiring(repository: Repository, days: float) -> list[Expiring]:
    """Roles and delegations of one repository."""
    chain, now = repository.chain(), repository.now
    name = repository.NAME
    found = []
    for role in view(name, chain, now, []).roles:
        left = datetime.fromisoformat(role.expires) - now
        ahead = timedelta(days=days)
        if not is_offline(role.role) and not role.role.startswith(CALIBRATION):
            ahead = min(ahead, _life(role) / 2)
        if left <= ahead:
            found.append(_expiring(name, role.role, role.expires, left, _remedy(name, role.role)))
    targets = chain.targets()
    for delegate in children(targets):
        ends = until(targets.get_delegated_role(delegate))  # type: ignore[arg-type]  # a delegated one
        if ends is not None and ends - now <= timedelta(days=days):
            remedy = "delegate it anew, or revoke it"
            found.append(
                _expiring(name, f"delegation to {delegate}", ends.isoformat(), ends - now, remedy)
            )
    return sorted(found, key=lambda one: one.days)


def _expiring(name: str, what: str, expires: str, left: timedelta, remedy: str) -> Expiring:
    days = round(left.total_seconds() / 86_400, 2)
    return Expiring(repository=name, what=what, expires=expires, days=days, remedy=remedy)


def _life(role: RoleView) -> timedelta:
    if not role.issued:
        return timedelta(days=2 * 3660)
    return datetime.fromisoformat(role.expires) - datetime.fromisoformat(role.issued)


def _remedy(repository: str, role: str) -> str:
    if role.startswith(CALIBRATION):
        return f"refresh --role {CALIBRATION}"
    if not is_offline(role):
        return "refresh"
    return f"refresh --role {f'{repository}-{role}' if role in ('root', TOP) else role}"
