"""Whether two repositories say the same of a target.

In: the director's entry for a tail and the image repository's. Out: reasons, none when they agree.
Always holds: name, length, hashes and custom are each compared whole; more in one is a difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import Rejected
from signing.verify.declared import image_path

if TYPE_CHECKING:  # the recorder imports this package and must not carry tuf's memory
    from tuf.api.metadata import TargetFile


def agree(director: TargetFile, image: TargetFile) -> tuple[str, ...]:
    """Where the two entries differ, in words."""
    try:
        named = image_path(director.path)[1]
    except Rejected as error:
        return (str(error),)
    return tuple(
        f"{what}: the director says {_short(says)}, the image repository {_short(signed)}"
        for what, says, signed in (
            ("path", named, image.path),
            ("length", director.length, image.length),
            ("hashes", director.hashes, image.hashes),
            ("custom", director.custom, image.custom),
        )
        if says != signed
    )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:99]}…"
