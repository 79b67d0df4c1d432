"""Subjects on the links: `aero.v1.{operator}.{tail}.{leaf}`, the same with slashes on MQTT.

Up (tail to ground): the record classes, `hello`, and `update` (requests of shared/chunks.py). Down:
`ack`, `notice`, and answers on `inbox.…`.
Always holds: every identifier matches `[A-Za-z0-9_-]{1,32}`, so none can hold a separator or
a wildcard.
"""

from __future__ import annotations

import re

from shared.errors import Rejected

CLASSES = ("alert", "manifest", "drop", "state", "report", "kpi", "audit", "block")
"""Record classes, in the order in which a link carries them when all wait."""

IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,32}\Z")
PREFIX = ("aero", "v1")


def check_identifier(text: str, where: str) -> str:
    """Return `text` if it is an identifier, else raise Rejected."""
    if not IDENTIFIER.match(text):
        raise Rejected(
            f"{text[:40]!r} is not an identifier", where, "use 1 to 32 of A-Z a-z 0-9 _ -"
        )
    return text


def subject(operator: str, tail: str, leaf: str) -> str:
    """NATS subject of one leaf of one tail."""
    return ".".join((*PREFIX, operator, tail, leaf))


def topic(operator: str, tail: str, leaf: str) -> str:
    """The same on MQTT."""
    return "/".join((*PREFIX, operator, tail, leaf))


def parse_subject(text: str) -> tuple[str, str, str]:
    """(operator, tail, leaf) of a subject or topic; Rejected when it is not one of ours."""
    parts = re.split(r"[./]", text[:200])
    if len(parts) != 5 or tuple(parts[:2]) != PREFIX:
        raise Rejected("not a TailTwin subject", text[:80], "aero.v1.{operator}.{tail}.{leaf}")
    for part in parts[2:]:
        check_identifier(part, text[:80])
    return parts[2], parts[3], parts[4]
