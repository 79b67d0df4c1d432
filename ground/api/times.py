"""Times of the API: RFC 3339 in UTC, with nanoseconds; ns since 1970 are taken too.

Always holds: a text is one of the two or Rejected; what leaves has nine decimals and a Z.
"""

from __future__ import annotations

import re
from datetime import datetime

import numpy as np
import numpy.typing as npt

from ground.lake.records import iso as iso
from shared.errors import Rejected

_NS = re.compile(r"-?[0-9]{1,19}\Z")
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})\Z"
)
NS_MAX = 1 << 62


def parse_time(text: str, where: str) -> int:
    """ns since 1970 of an RFC 3339 time or of digits."""
    remedy = "RFC 3339, such as 2026-01-31T12:00:00.5Z, or ns since 1970"
    if _NS.match(text):
        t_ns = int(text)
    elif found := _RFC3339.match(text):
        whole, fraction, zone = found.groups()
        try:
            seconds = datetime.fromisoformat(whole + ("+00:00" if zone in "Zz" else zone))
        except ValueError as error:
            raise Rejected(str(error), where, remedy) from None
        t_ns = round(seconds.timestamp()) * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))
    else:
        hint = " (a plus in a query is written %2B)" if " " in text else ""
        raise Rejected(f"{text[:40]!r} is not a time{hint}", where, remedy)
    if abs(t_ns) >= NS_MAX:
        raise Rejected("out of range", where, remedy)
    return t_ns


def iso_or_none(t_ns: int | None) -> str | None:
    return None if t_ns is None else iso(t_ns)


def iso_all(t_ns: npt.NDArray[np.int64]) -> list[str]:
    """The same of many at once."""
    texts = np.datetime_as_string(t_ns.astype("datetime64[ns]"), unit="ns")
    return [f"{text}Z" for text in texts.tolist()]
