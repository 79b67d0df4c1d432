"""Failures that come from outside, by whose fault they are.

Always holds: an error says what was wrong, where, and what to do about it; a user never
needs a trace for their own mistake. Expected outcomes (gate shut, duplicate record) are
return values, not errors, and our own bugs are assertions.
"""

from __future__ import annotations

from typing import ClassVar


class TailTwinError(Exception):
    """Base of every typed failure.

    what: what was wrong, in the reader's words.
    where: file, key, subject or address.
    remedy: what the reader can do next.
    """

    exit_code: ClassVar[int] = 70  # EX_SOFTWARE of sysexits.h

    def __init__(self, what: str, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(what)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  to do: {self.remedy}" if self.remedy else text


class Rejected(TailTwinError):
    """Input from outside breaks its contract: a bad file, message, argument or setting."""

    exit_code = 65  # EX_DATAERR


class ConfigError(Rejected):
    """A setting is missing, unknown or out of its range."""

    exit_code = 78  # EX_CONFIG


class Unreachable(TailTwinError):
    """The other end, or a resource of this machine, does not answer."""

    exit_code = 69  # EX_UNAVAILABLE


class Corrupt(TailTwinError):
    """Stored bytes are not what was written."""

    exit_code = 74  # EX_IOERR


class Expired(TailTwinError):
    """Something was valid once and is no longer: metadata, a lease, a key."""

    exit_code = 75  # EX_TEMPFAIL
