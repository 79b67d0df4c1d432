"""The tables of `docs/security.md`, printed from what the tests hold.

In: the attack table and the hand-written reach of keys. Out: Markdown, and with
`python -m tests.tamper.tables` the page rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/security.md"
MARK = re.compile(r"(<!-- table: ([\w.]+):(\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def attacks() -> str:
    """Every row of the attack table."""
    from tests.tamper.attacks_on_reports import KIND, REPORTS
    from tests.tamper.table import ATTACKS

    rows, shown = [], ""
    for kind, row in [*((row.kind, row) for row in ATTACKS), *((KIND, row) for row in REPORTS)]:
        rows.append((kind if kind != shown else "", row.how, row.keys, f"`{row.code}`"))
        shown = kind
    return _table(("attack", "how it is made", "keys stolen for it", "answer"), rows)


def pairs() -> str:
    """The role alone on the diagonal, pairs beside it."""
    from tests.tamper.test_key_compromise import ROLES, expected

    numbers = {role: str(n) for n, role in enumerate(ROLES, 1)}
    rows = [
        (f"{numbers[one]} {one}", *(expected(one, other) or "–" for other in ROLES))
        for one in ROLES
    ]
    return _table(("stolen, with →", *numbers.values()), rows)


def winning() -> str:
    from tests.tamper.test_key_compromise import WINNING

    words = {
        "C": "new code runs", "N": "new numbers run, within bounds", "D": "chooses for a tail",
        "F": "holds news back unseen", "W": "takes back what runs",
    }  # fmt: skip
    return _table(
        ("goal", "keys", "all of them"),
        ((f"{goal}: {words[goal]}", str(len(keys)), ", ".join(f"`{k}`" for k in keys))
         for goal, sets in WINNING.items() for keys in sorted(sets, key=len)),
    )  # fmt: skip


def online() -> str:
    from tests.tamper.test_key_compromise import TOGETHER_ONLINE

    return _table(
        ("stolen together", "reach"),
        ((what, letters) for what, (_, letters) in TOGETHER_ONLINE.items()),
    )


TABLES: dict[str, Callable[[], str]] = {
    f.__name__: f for f in (attacks, pairs, winning, online)
}  # fmt: skip


def rewritten(text: str) -> str:
    """The page with every marked table as the tests have it."""
    return MARK.sub(lambda m: f"{m[1]}\n{TABLES[m[3]]()}\n\n{m[4]}", text)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text()))
