"""Offers: what somebody wants this aircraft to look at, and what they may cost.

In: target paths from notices, media, technicians and the director. Out: offers that are due, one a
bundle's name, and what is to be told of those that are not.
Always holds: at most 16 wait; changes of what waits, and what is told, each have an allowance; what
was tried and told is remembered by the bundle's name, whatever file of it is named. An offer that
took another's place, and turns out to be none, leaves a look at what is directed behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import msgspec

from edge.allowance import Allowance
from edge.update.decisions import Origin, UpdateReason
from shared.errors import Rejected
from signing.verify import check_target_path, name_of_path

PENDING_MAX = 16
ATTEMPTS_MAX = 8
REPEAT_S = 60.0  # the same refusal of the same offer is told once in this time
TOLD_BURST, TOLD_EVERY_S = 6, 10.0  # decisions at the offer: 6 a minute, then their number
NAMES_MAX = 64  # remembered with their attempts; assumption: far more than an aircraft has models
BY_CHARS_MAX = 64
WHATEVER = ""
"""The target of a look at whatever the director says."""


class KeptOffer(msgspec.Struct, frozen=True):
    """What outlives a restart."""

    target: str
    origin: Origin = "restart"
    by: str = ""


@dataclass
class Past:
    """What is remembered of a bundle's name. told: target and codes of the last refusal."""

    attempts: int = 0
    due_ns: int = 0
    told: tuple[str, ...] = ()
    told_ns: int = 0


@dataclass
class Offer:
    target: str
    origin: Origin
    by: str
    past: Past
    has_displaced: bool = False


class Offers:
    """now_ns: monotonic, everywhere. retry_s: doubled at each attempt."""

    def __init__(self, retry_s: float) -> None:
        self._retry_s = retry_s
        self._waiting: dict[str, Offer] = {}
        self._past: dict[str, Past] = {}
        every_ns = round(TOLD_EVERY_S * 1e9)
        self._tellings = Allowance(TOLD_BURST, every_ns)
        self._changes = Allowance(PENDING_MAX, every_ns)
        self._tries = Allowance(ATTEMPTS_MAX, round(retry_s * 1e9))
        self._turned_away_ns: dict[str, int] = {}
        self._untold, self._untold_due_ns = 0, 0

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(offer.target for offer in self._waiting.values())

    def kept(self) -> tuple[KeptOffer, ...]:
        return tuple(KeptOffer(o.target, o.origin, o.by) for o in self._waiting.values())

    def put(self, target: str, origin: Origin, by: str, now_ns: int) -> Offer | UpdateReason | None:
        """The offer as it waits now; why it does not; None when there were too many changes.

        A later offer of a name takes the place of an earlier one.
        """
        try:
            name = name_of_path(check_target_path(target)) if target else WHATEVER
        except Rejected as error:
            return UpdateReason("target_path", error.what)
        before = self._waiting.get(name)
        if before is None and len(self._waiting) >= PENDING_MAX:
            return UpdateReason("pending_full", f"{PENDING_MAX} offers wait already")
        if before is not None and before.target == target:
            return before
        if not self._changes.take(now_ns):
            self.leave_untold(now_ns)
            return None
        offer = Offer(target, origin, by[:BY_CHARS_MAX], self._remember(name), before is not None)
        self._waiting[name] = offer
        return offer

    def waits(self, offer: Offer) -> bool:
        """Whether it is still the one of its name."""
        return any(one is offer for one in self._waiting.values())

    def all(self) -> list[Offer]:
        return list(self._waiting.values())

    def wait_ns(self, now_ns: int) -> int | None:
        """How long until the first may be tried; None when none waits."""
        if not self._waiting:
            return None
        due_ns = min(offer.past.due_ns for offer in self._waiting.values())
        return max(0, due_ns - now_ns, self._tries.wait_ns(now_ns))

    def take_try(self, now_ns: int) -> bool:
        """One attempt may be made now."""
        return self._tries.take(now_ns)

    def done(self, offer: Offer, now_ns: int) -> None:
        """It was answered, one way or the other: it waits no more."""
        self._retry_after(offer, self._retry_s, now_ns)
        self._drop(lambda one: one is offer)

    def is_live(self, targets: Collection[str]) -> None:
        """A set went live: what it has is offered no more."""
        self._drop(lambda one: one.target in targets)

    def failed(self, offer: Offer, now_ns: int, *, retry: bool) -> bool:
        """One more attempt came to nothing; whether the offer stays."""
        past = offer.past
        past.attempts = min(past.attempts + 1, ATTEMPTS_MAX)
        self._retry_after(offer, self._retry_s * 2 ** (past.attempts - 1), now_ns)
        return retry and past.attempts < ATTEMPTS_MAX

    def went_well(self, offer: Offer) -> None:
        offer.past.attempts = 0

    def wake(self, now_ns: int) -> None:
        """Somebody did what an offer waited for: it need not wait for its time."""
        for offer in self._waiting.values():
            offer.past.due_ns = min(offer.past.due_ns, now_ns)

    # -- what may be told

    def may_turn_away(self, code: str, now_ns: int) -> bool:
        """Of an offer that does not even wait; once in a while, whoever repeats it."""
        told_ns = self._turned_away_ns.get(code)
        if told_ns is not None and now_ns - told_ns < REPEAT_S * 1e9:
            return False
        self._turned_away_ns[code] = now_ns
        return self._may_tell(now_ns)

    def may_refuse(self, offer: Offer, codes: Iterable[str], now_ns: int) -> bool:
        told = (offer.target, *codes)
        past = offer.past
        if past.told[1:] == told[1:] and past.told and now_ns - past.told_ns < REPEAT_S * 1e9:
            if past.told[0] != told[0]:
                self.leave_untold(now_ns)
            return False
        past.told, past.told_ns = told, now_ns
        return self._may_tell(now_ns)

    def leave_untold(self, now_ns: int) -> None:
        if self._untold == 0:
            self._untold_due_ns = now_ns + round(REPEAT_S * 1e9)
        self._untold += 1

    def take_untold(self, now_ns: int) -> int:
        """How many offers got no record of their own, once a minute; 0 when it is not time."""
        if not self._untold or now_ns < self._untold_due_ns or not self._tellings.take(now_ns):
            return 0
        count, self._untold = self._untold, 0
        return count

    def _may_tell(self, now_ns: int) -> bool:
        if self._tellings.take(now_ns):
            return True
        self.leave_untold(now_ns)
        return False

    # -- inside

    def _drop(self, is_gone: Callable[[Offer], bool]) -> None:
        self._waiting = {n: one for n, one in self._waiting.items() if not is_gone(one)}

    def _remember(self, name: str) -> Past:
        """What is known of a name; the one that was offered longest ago makes room."""
        past = self._past.pop(name, None) or Past()
        self._past[name] = past
        if len(self._past) > NAMES_MAX:
            del self._past[next(iter(self._past))]
        return past

    def _retry_after(self, offer: Offer, seconds: float, now_ns: int) -> None:
        offer.past.due_ns = max(offer.past.due_ns, now_ns + round(seconds * 1e9))
