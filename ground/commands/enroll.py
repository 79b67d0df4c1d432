"""`tailtwin-ground enroll`: an aircraft, its device key, its link credentials."""

from __future__ import annotations

import argparse
from pathlib import Path

from ground.commands import Commands, command
from ground.config import Paths, load_config


def add(commands: Commands) -> None:
    parser = command(
        commands, "enroll", "enrol an aircraft: its device key, its link credentials",
        "tailtwin-ground enroll --state var/ground --tail-file tail.toml "
        "--device-pub device.pub --out enrolment.toml",
    )  # fmt: skip
    parser.add_argument("--tail-file", type=Path, required=True, metavar="TAIL.toml")
    parser.add_argument("--device-pub", type=Path, required=True, metavar="HEXFILE",
                        help="file with the 64 hex digits of its Ed25519 public key")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="ENROLMENT.toml")
    parser.add_argument("--replace-key", action="store_true", help="its computer was changed")
    parser.set_defaults(act=run)


def run(args: argparse.Namespace) -> int:
    """Store a twin and write its link credentials; complete or not at all, of mode 0600."""
    from ground.broker import write_server_config
    from ground.twins.control import Control, load_tail_file
    from shared.clock import SystemClock
    from shared.errors import ConfigError
    from shared.files import write_durably
    from shared.identity import Signer, key_id

    paths, out = Paths(args.state), args.out
    config = load_config(paths)
    tail = load_tail_file(args.tail_file)
    if tail.operator != config.operator:
        raise ConfigError(f"{tail.operator!r}, but this ground is of {config.operator!r}",
                          f"{args.tail_file}: operator", "enrol it at its own ground")  # fmt: skip
    public = _public(args.device_pub)
    signer = Signer.load(paths.key)
    control = Control.open(paths.control, write=True)
    user = control.enrol(tail, public, SystemClock().wall_ns(), replace_key=args.replace_key)
    out.parent.mkdir(parents=True, exist_ok=True)
    text = (
        f'user = "{user.user}"\npassword = "{user.password}"\n'
        f'ground_pub = "{signer.public.hex()}"\n'
    )
    write_durably(out, text.encode(), private=True)
    write_server_config(config, paths, control)
    print(f"enrolled {tail.tail} ({tail.registration}), device key {key_id(public)}, in {out}")
    return 0


def _public(path: Path) -> bytes:
    from shared.errors import ConfigError

    remedy = "64 hex digits of a raw Ed25519 public key, as `tailtwin-edge init` writes them"
    try:
        public = bytes.fromhex(path.read_text()[:200].strip())
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", str(path), remedy) from None
    except ValueError:
        raise ConfigError("not hexadecimal", str(path), remedy) from None
    if len(public) != 32:
        raise ConfigError(f"{len(public)} bytes, not 32", str(path), remedy)
    return public
