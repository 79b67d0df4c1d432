"""Why a session ends without a set: each failure as a typed answer, with what to do.

In: whatever python-tuf, the disk, a source or our own checks raise. Out: a `FetchFailure`.
Always holds: a failure has one code of the table below, whose fault it is, and a remedy; of
several sources' failures the one that says most is told.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace
from tuf.api import exceptions

from edge.update.fetch import NoRoom
from edge.update.trusted import AgainstPolicy
from edge.update.verified import FetchFailure, Kind
from shared.errors import Corrupt, Expired, Rejected, TailTwinError, Unreachable

TEXT_CHARS_MAX = 600

REMEDIES: dict[str, str] = {
    "expired": "have the online keys sign anew (tailtwin-sign refresh), or bring a newer medium; "
    "the running set stays",
    "signature": "do not use this source before it is known who changed it",
    "rollback": "do not use this source before it is known why it is older than what was seen",
    "metadata": "have the repository checked: tailtwin-sign inspect",
    "length_or_hash": "fetch again; if it stays, the source serves other bytes than were signed",
    "deadline": "look at the link, or raise update.deadline_s or update.step_s",
    "http": "look at what the source answers; see update.sources",
    "network": "look at the link; see update.sources",
    "disk": "look at the disk of the state folder",
    "no_room": "free space in the state folder",
    "memory_folder": "put the state folder on a disk; only a bench profile may stage in memory",
    "no_root": "provision: tailtwin-edge init --image-root FILE --director-root FILE",
    "no_trusted_time": "connect to the ground, set the clock, or bring a time reset that the root "
    "holders signed for the nonce of `tailtwin-edge status`",
    "no_target": "publish it to the image repository, or have the director assign another set",
    "not_directed": "have the director assign it: tailtwin-sign assign",
    "disagree": "have the director assign the set anew; if it stays, one repository is not honest",
    "wrong_tail": "assign this tail a set at the director; look into who served this",
    "inapplicable": "have the director assign what was made for this aircraft",
    "release_back": "publish it anew with a higher release",
    "too_large": "make the bundle smaller, or raise update.bundle_bytes_max",
    "custom": "publish it again with tailtwin-sign",
    "delegation": "delegate anew, or publish it under a role that may",
    "attestation": "attest the bundle; see update.attestation",
    "calibration": "make the calibration again from its parent",
    "corrupt": "restore the file, or provision again",
    "busy": "wait",
    "rejected": "see the text",
}

_KINDS: dict[type[TailTwinError], Kind] = {
    Rejected: "rejected",
    Unreachable: "unreachable",
    Corrupt: "corrupt",
    Expired: "expired",
}

# By order: the first class that fits says the code.
_CODES: tuple[tuple[type[Exception], type[TailTwinError], str], ...] = (
    (exceptions.ExpiredMetadataError, Expired, "expired"),
    (exceptions.UnsignedMetadataError, Rejected, "signature"),
    (exceptions.BadVersionNumberError, Rejected, "rollback"),
    (exceptions.LengthOrHashMismatchError, Rejected, "length_or_hash"),
    (exceptions.RepositoryError, Rejected, "metadata"),
    (exceptions.DownloadLengthMismatchError, Rejected, "length_or_hash"),
    (exceptions.SlowRetrievalError, Unreachable, "deadline"),
    (exceptions.DownloadHTTPError, Unreachable, "http"),
    (exceptions.DownloadError, Unreachable, "network"),
    (Rejected, Rejected, "rejected"),
    (Corrupt, Corrupt, "corrupt"),
    (NoRoom, Unreachable, "no_room"),
    (Unreachable, Unreachable, "busy"),
    (OSError, Unreachable, "disk"),
)

EXPECTED = (
    exceptions.RepositoryError, exceptions.DownloadError, TailTwinError, OSError,
)  # fmt: skip
"""What a session may meet; anything else is our own bug."""

_WORST: tuple[Kind, ...] = ("rejected", "corrupt", "expired", "unreachable")
_MAY_PASS: tuple[Kind, ...] = ("unreachable", "expired")
_STAYS = frozenset({"memory_folder"})


class Refused(Exception):
    """Inside a session: an answer that is not a set, on its way out."""

    def __init__(self, kind: type[TailTwinError], code: str, what: str, where: str = "") -> None:
        super().__init__(what)
        self.failure = failure(_KINDS[kind], code, what, where)


def failure(kind: Kind, code: str, what: str, where: str = "") -> FetchFailure:
    """With the remedy of its code."""
    text = " ".join(f"{where}: {what}".split() if where else what.split())[:TEXT_CHARS_MAX]
    return FetchFailure(
        kind=kind, code=code, text=f"{text}; to do: {REMEDIES[code]}",
        may_pass=kind in _MAY_PASS and code not in _STAYS,
    )  # fmt: skip


def failure_of(error: Exception, where: str = "") -> FetchFailure:
    """The failure that an exception of EXPECTED, or Refused, is."""
    if isinstance(error, Refused):
        return error.failure
    if isinstance(error, AgainstPolicy):
        return failure("rejected", error.code, error.error.what, f"{where} {error.error.where}")
    for kind, fault, code in _CODES:
        if isinstance(error, kind):
            if not isinstance(error, TailTwinError):
                return failure(_KINDS[fault], code, str(error) or type(error).__name__, where)
            return failure(_KINDS[fault], code, error.what, error.where or where)
    raise AssertionError(f"no code for {type(error).__name__}") from error


def worst(failures: Sequence[FetchFailure]) -> FetchFailure:
    """The first of the gravest kind, with what the others said; it may pass if any of them may."""
    told = min(failures, key=lambda f: _WORST.index(f.kind))
    others = "".join(f" | {f.code}: {f.text}" for f in failures if f is not told)
    return replace(
        told, text=(told.text + others)[: 2 * TEXT_CHARS_MAX],
        may_pass=any(f.may_pass for f in failures),
    )  # fmt: skip
