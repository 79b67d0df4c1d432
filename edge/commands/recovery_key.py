"""`tailtwin-edge recovery-key`: a key pair that reads the outbox of a dead board.

Run it where the private half may stay: off every aircraft, best on a machine without a network.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from edge.commands import Commands, command
from shared.errors import ConfigError
from shared.files import write_durably


def add(commands: Commands) -> None:
    parser = command(
        commands, "recovery-key", "make an offline recovery key pair, one for a fleet",
        "tailtwin-edge recovery-key --out fleet-recovery",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, required=True, metavar="NAME",
        help="NAME.key is private and stays offline; NAME.pub goes aboard with init",
    )  # fmt: skip
    parser.set_defaults(act=_run)


def _run(args: argparse.Namespace) -> int:
    from edge.outbox.keyring import make_recovery_key

    private, public = (args.out.with_name(args.out.name + end) for end in (".key", ".pub"))
    for file in (private, public):
        if file.exists():
            raise ConfigError("a key is already there", str(file), "use it, or name another")
    private.parent.mkdir(parents=True, exist_ok=True)
    pem, public_hex = make_recovery_key()
    write_durably(private, pem, private=True)
    write_durably(public, public_hex)
    print(json.dumps({"private": str(private), "public": str(public)}))
    return 0
