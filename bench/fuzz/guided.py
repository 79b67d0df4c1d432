"""`python -m bench.fuzz.guided NAME [libFuzzer options]`: one target, led by coverage (atheris).

Atheris is not among the requirements: it has wheels for Linux only, and not for each Python we run
on. bench/fuzz/README.md says how it is had. The corpus stays in var/fuzz/corpus/NAME; a crash is
written where it is run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]

with atheris.instrument_imports(
    include=["edge", "ground", "shared", "hil", "msgspec", "tomllib"], enable_loader_override=False
):
    from bench.fuzz.targets import TARGETS
    from shared.errors import TailTwinError


def main(arguments: list[str]) -> None:
    """Fuzz until an option of libFuzzer ends it."""
    if not arguments or arguments[0] not in TARGETS:
        raise SystemExit(f"name one of: {', '.join(TARGETS)}")
    target = TARGETS[arguments[0]]
    corpus = Path("var/fuzz/corpus") / target.name.replace(" ", "-")
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed{number}").write_bytes(seed)

    def one(data: bytes) -> None:
        try:
            target.decode(data)
        except TailTwinError:
            pass

    bounds = ["-rss_limit_mb=2048", "-timeout=5", "-max_len=65536"]
    atheris.Setup([sys.argv[0], *bounds, *arguments[1:], str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
