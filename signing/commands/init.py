"""`tailtwin-sign init`: both repositories, from keys that are there or are made now."""

from __future__ import annotations

import argparse

from signing.commands import (
    Commands,
    add_change,
    add_keys,
    add_propose,
    add_repo,
    command,
    done,
    key_folder,
    key_ring,
    print_json,
    repositories,
    show,
)  # fmt: skip

EXAMPLES = """
tailtwin-sign init --repo var/tuf --keys ~/keys
tailtwin-sign init --repo usb/repo --keys usb/public --propose
"""


def add(commands: Commands) -> None:
    parser = command(commands, "init", "make both repositories", EXAMPLES, _run)
    add_repo(parser)
    add_keys(parser)
    add_change(parser)
    add_propose(parser)
    parser.add_argument("--kind", default="ed25519", metavar="KIND",
                        help="of the offline keys that are made: ed25519 (default) or composite")  # fmt: skip
    parser.add_argument("--attestors", type=int, default=1, metavar="N",
                        help="how many attestors there are (1)")  # fmt: skip
    parser.add_argument("--attestor-threshold", type=int, default=1, metavar="N",
                        help="how many of them a bundle needs (1)")  # fmt: skip


def _run(args: argparse.Namespace) -> int:
    from signing.keyring import Keyring
    from signing.repositories import OFFLINE, missing
    from signing.summary import first_summaries

    found = repositories(args)
    found.none_there()
    ring = key_ring(args)
    attestors = [f"attestor-{n}" for n in range(1, args.attestors + 1)]
    lacking = () if args.propose else missing(ring, attestors)
    if lacking and not args.json:
        print(f"makes {len(lacking)} keys in {args.keys[0]}: {', '.join(lacking)}")
    if lacking and args.dry_run:
        if args.json:
            print_json({"dry_run": True, "makes": lacking, "signs": []})
        return done(args, "what they would sign is shown once they are there")
    first = key_folder(args, args.keys[0])
    for name in lacking:
        offline = name in OFFLINE or name in attestors
        first.create(name, args.kind if offline else "ed25519")
    ring = Keyring(*(key_folder(args, folder) for folder in args.keys))
    show(args, first_summaries(found.first(ring, attestors, args.attestor_threshold)))
    if args.propose:
        drafts = found.propose_first(ring, attestors, args.attestor_threshold)
        return done(args, "\n  ".join(["to be signed, then `publish --draft`:", *map(str, drafts)]))
    found.begin(ring, attestors, args.attestor_threshold)
    return done(args, f"made {found.image.folder} and {found.director.folder}; keep the keys of "
                      "the roots, of targets and of attestors away from here")  # fmt: skip
