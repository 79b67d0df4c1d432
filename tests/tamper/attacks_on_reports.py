"""Attacks on what the ground believes of a tail: version reports that are shown again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.identity import Signer
from tests.unit.ground.synthetic import Tail
from tests.unit.ground.test_versions import version

KIND = "replayed version report"
Message = tuple[str, bytes]


@dataclass(frozen=True)
class ReportAttack:
    """make: the record that is shown, after reports 1 and 2. code: why it does not count."""

    how: str
    code: str
    make: Callable[[Tail], Message]
    keys: str = "the tail's password at the broker"


REPORTS = (
    ReportAttack("an old report in a new record", "replayed", lambda tail: version(tail, 1)),
    ReportAttack("the newest one in a new record", "replayed", lambda tail: version(tail, 2)),
    ReportAttack(
        "one of another tail's device", "foreign",
        lambda tail: version(tail, 3, tail="B737-28002"),
    ),
    ReportAttack(
        "one with a higher counter, signed by the attacker", "foreign",
        lambda tail: version(tail, 3, signer=Signer(Ed25519PrivateKey.generate())),
    ),
)  # fmt: skip
