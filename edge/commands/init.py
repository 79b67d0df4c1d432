"""`tailtwin-edge init` and `enroll`: who this aircraft is, and what the ground gave it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from edge.commands import Commands, add_state, command
from shared.errors import ConfigError
from shared.files import write_durably

ROOT_FILE_BYTES_MAX = 1 << 20


def add(commands: Commands) -> None:
    init = command(
        commands, "init", "give a fresh state folder its identity",
        "tailtwin-edge init --state /var/lib/tailtwin --tail-file tail.toml "
        "--image-root image/1.root.json --director-root director/1.root.json",
    )  # fmt: skip
    add_state(init)
    init.add_argument("--tail-file", type=Path, required=True, help="operator, tail, engines; TOML")
    for name in ("image", "director"):
        init.add_argument(
            f"--{name}-root", type=Path, required=True, metavar="FILE",
            help=f"1.root.json of the {name} repository",
        )  # fmt: skip
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
    from edge.update.provision import provision
    from edge.updating import trust_folder
    from shared.identity import Signer

    tail = load_tail(args.tail_file)
    roots = [_read(path) for path in (args.image_root, args.director_root)]
    if args.recovery_pub is not None:
        load_recovery_public(args.recovery_pub)
    nonce = provision(trust_folder(args.state), *roots)
    identity = args.state / "identity"
    device = Signer.create(identity / "device.key")
    _write(identity / "tail.toml", args.tail_file.read_bytes())
    _write(identity / "device.pub", device.public.hex().encode())
    if args.recovery_pub is not None:
        _write(identity / RECOVERY_FILE, args.recovery_pub.read_bytes())
    print(json.dumps({
        "tail": tail.tail, "device_pub": device.public.hex(), "time_reset_nonce": nonce,
    }))  # fmt: skip
    return 0


def _enrol(args: argparse.Namespace) -> int:
    from edge.config import Enrolment
    from shared.settings import load_settings_file

    load_settings_file(Enrolment, args.file, "copy the file that `tailtwin-ground enroll` wrote")
    _write(args.state / "identity" / "enrolment.toml", args.file.read_bytes())
    return 0


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(ROOT_FILE_BYTES_MAX)
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", str(path)) from None


def _write(path: Path, data: bytes) -> None:
    """A file of the identity folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, data, private=True)
