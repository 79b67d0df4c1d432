"""`tailtwin-sign new-key`: a person makes a key of their own, wherever they keep it."""

from __future__ import annotations

import argparse

from signing.commands import Commands, add_keys, command, done, key_folder, print_json

EXAMPLES = """
tailtwin-sign new-key --keys /media/stick-1 --name image-root-1
tailtwin-sign new-key --keys /media/stick-1 --name image-root-1 --kind composite
"""


def add(commands: Commands) -> None:
    parser = command(commands, "new-key", "make a key; its .pub.json is for others", EXAMPLES, _run)
    add_keys(parser)
    parser.add_argument("--name", required=True, metavar="NAME", help="as image-root-1")
    parser.add_argument("--kind", default="ed25519", metavar="KIND",
                        help="ed25519 (default), composite, pkcs11:… or tpm:…")  # fmt: skip
    parser.add_argument("--existing", action="store_true",
                        help="take over a key that was made in the PKCS#11 token")  # fmt: skip


def _run(args: argparse.Namespace) -> int:
    folder = key_folder(args, args.keys[0])
    make = folder.adopt if args.existing else folder.create
    key = make(args.name, args.kind).public_key
    public = folder.folder / f"{args.name}.pub.json"
    if args.json:
        print_json({"name": args.name, "keyid": key.keyid, "public": str(public)})
    return done(args, f"made {args.name}, keyid {key.keyid[:12]}; give others {public}")
