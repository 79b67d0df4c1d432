"""`tailtwin-edge init` and `enroll`: who this aircraft is, and what the ground gave it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from edge.commands import Commands, add_state, command
from shared.errors import ConfigError
from shared.files import write_durably


def add(commands: Commands) -> None:
    init = command(
        commands, "init", "give a fresh state folder its identity",
        "tailtwin-edge init --state /var/lib/tailtwin --tail-file tail.toml --tuf-root 1.root.json",
    )  # fmt: skip
    add_state(init)
    init.add_argument("--tail-file", type=Path, required=True, help="operator, tail, engines; TOML")
    init.add_argument("--tuf-root", type=Path, required=True, help="1.root.json of the repository")
    init.add_argument(
        "--recovery-pub", type=Path, metavar="FILE",
        help="public half of an offline recovery key: whoever has the other half can read the "
        "outbox of a dead board",
    )  # fmt: skip
    init.set_defaults(act=_init)

    enrol = command(
        commands, "enroll", "take over what the ground gave this tail",
        "tailtwin-edge enroll --state /var/lib/tailtwin --file enrolment.toml",
    )  # fmt: skip
    add_state(enrol)
    enrol.add_argument("--file", type=Path, required=True, help="enrolment.toml of the ground")
    enrol.set_defaults(act=_enrol)


def _init(args: argparse.Namespace) -> int:
    from edge.config import load_tail
    from edge.outbox.devicekey import RECOVERY_FILE
    from edge.outbox.keyring import load_recovery_public
    from edge.update.client import provision
    from shared.identity import Signer

    tail = load_tail(args.tail_file)
    try:
        root = args.tuf_root.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", str(args.tuf_root)) from None
    if args.recovery_pub is not None:
        load_recovery_public(args.recovery_pub)
    provision(args.state / "tuf" / "image", root)
    identity = args.state / "identity"
    device = Signer.create(identity / "device.key")
    _write(identity / "tail.toml", args.tail_file.read_bytes())
    _write(identity / "device.pub", device.public.hex().encode())
    if args.recovery_pub is not None:
        _write(identity / RECOVERY_FILE, args.recovery_pub.read_bytes())
    print(json.dumps({"tail": tail.tail, "device_pub": device.public.hex()}))
    return 0


def _enrol(args: argparse.Namespace) -> int:
    from edge.config import Enrolment
    from shared.settings import load_settings_file

    load_settings_file(Enrolment, args.file, "copy the file that `tailtwin-ground enroll` wrote")
    _write(args.state / "identity" / "enrolment.toml", args.file.read_bytes())
    return 0


def _write(path: Path, data: bytes) -> None:
    """A file of the identity folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, data, private=True)
