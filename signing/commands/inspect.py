"""`tailtwin-sign inspect`: verify both repositories and show what they say."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from signing.commands import Commands, add_repo, command, print_json, repositories

if TYPE_CHECKING:
    from signing.view import RepositoryView

EXAMPLES = """
tailtwin-sign inspect --repo var/tuf
tailtwin-sign inspect --repo var/tuf --json
"""
ROWS_MAX = 200  # of a table; --json has them all


def add(commands: Commands) -> None:
    parser = command(commands, "inspect", "verify both and show what they say", EXAMPLES, _run)
    add_repo(parser)


def _run(args: argparse.Namespace) -> int:
    found = repositories(args)
    views = [found.image.inspect(), found.director.inspect()]
    if args.json:
        print_json({view.repository: view for view in views} | {"drafts": found.draft_names()})
        return 0
    print("\n\n".join(_table(view) for view in views))
    for name in found.draft_names():
        print(f"draft {name} waits for signatures or for `publish --draft`")
    return 0


def _table(view: RepositoryView) -> str:
    from signing.summary import printable

    rows = [(view.repository.upper(), "VERSION", "EXPIRES", "KEYS", "")]
    rows += [
        (r.role, str(r.version), f"{r.expires:.16}", f"{r.threshold} of {r.keys}: "
         + ", ".join(r.key_names[:4]), "EXPIRED" if r.is_expired else "")
        for r in view.roles[:ROWS_MAX]
    ]  # fmt: skip
    rows += [("", "", "", "", ""), ("TARGET", "RELEASE", "BYTES", "MADE FOR", "SHA-256")]
    rows += [
        (b.target, str(b.release), str(b.length), _made_for(b.applicability), b.sha256[:12])
        for b in view.bundles[:ROWS_MAX]
    ] or [("none yet", "", "", "", "")]  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
        printable("  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[4]]))
        for row in rows
    ]
    more = max(len(view.roles), len(view.bundles)) - ROWS_MAX
    if more > 0:
        lines.append("… and more; --json has all")
    return "\n".join(line.rstrip() for line in lines)


def _made_for(who: object) -> str:
    import msgspec

    fields = msgspec.structs.asdict(who)  # type: ignore[arg-type]  # any Struct
    return "; ".join(f"{name} {', '.join(v[:3])}" for name, v in fields.items() if v)
