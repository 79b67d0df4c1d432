"""Claims: for how long something has been true without a break. Pure.

In: a time and named truths. Out: whether each has held for as long as asked.
Always holds: a claim counts only what was watched; a clock that goes back, or nobody looking for
longer than `WATCH_S`, starts every claim again.
"""

from __future__ import annotations

WATCH_S = 3.0  # the largest age an input may have: between two looks farther apart it may lapse


class Claims:
    """`at` each look, then `held` for each claim, at most once a look."""

    def __init__(self) -> None:
        self._since: dict[str, int] = {}
        self.now_ns = 0

    def at(self, now_ns: int) -> None:
        """Look at `now_ns`; what nobody watched is forgotten."""
        if not 0 <= now_ns - self.now_ns <= WATCH_S * 1e9:
            self._since.clear()
        self.now_ns = now_ns

    def held(self, name: str, is_true: bool | None, seconds: float) -> bool:
        """Whether the claim has been true for `seconds`; unknown is not true."""
        if not is_true:
            self._since.pop(name, None)
            return False
        return self.now_ns - self._since.setdefault(name, self.now_ns) >= seconds * 1e9

    def age_s(self, name: str) -> float:
        """How long the claim has held; 0 when it does not."""
        return (self.now_ns - self._since.get(name, self.now_ns)) / 1e9

    def keep(self, *names: str) -> None:
        """Start every other claim again."""
        self._since = {name: since for name, since in self._since.items() if name in names}
