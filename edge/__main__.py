"""tailtwin-edge: the program aboard."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

from shared.errors import ConfigError, Rejected, TailTwinError

EXAMPLES = """examples:
  tailtwin-edge init --state /var/lib/tailtwin --tail-file tail.toml --tuf-root 1.root.json
  tailtwin-edge enroll --state /var/lib/tailtwin --file enrolment.toml
  tailtwin-edge install --profile acms.toml --state /var/lib/tailtwin egt_rom/egt_rom-1-….tar.zst
  tailtwin-edge run --profile acms.toml --state /var/lib/tailtwin
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command; its exit code (sysexits.h)."""
    os.umask(0o077)  # what an aircraft keeps is nobody else's
    args = _parser().parse_args(argv)
    try:
        code: int = args.act(args)
    except TailTwinError as error:
        print(f"tailtwin-edge: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tailtwin-edge", description="Records an aircraft, runs its signed models, keeps "
        "every record until the ground proves it has it.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run the daemon until SIGTERM")
    run.add_argument("--profile", type=Path, required=True, help="the computer's profile, TOML")
    run.add_argument("--state", type=Path, required=True, help="state folder; survives reboots")
    run.set_defaults(act=_run)

    init = commands.add_parser("init", help="give a fresh state folder its identity")
    init.add_argument("--state", type=Path, required=True)
    init.add_argument("--tail-file", type=Path, required=True, help="operator, tail, engines; TOML")
    init.add_argument("--tuf-root", type=Path, required=True, help="1.root.json of the repository")
    init.set_defaults(act=_init)

    enrol = commands.add_parser("enroll", help="take over what the ground gave this tail")
    enrol.add_argument("--state", type=Path, required=True)
    enrol.add_argument("--file", type=Path, required=True, help="enrolment.toml of the ground")
    enrol.set_defaults(act=_enrol)

    install = commands.add_parser("install", help="install the first models, at the shop")
    install.add_argument("--profile", type=Path, required=True)
    install.add_argument("--state", type=Path, required=True)
    install.add_argument("target", nargs="+", help="target paths in the image repository")
    install.set_defaults(act=_install)
    return parser


def _run(args: argparse.Namespace) -> int:
    from edge.config import load_settings
    from edge.daemon import run
    from shared.log import setup

    settings = load_settings(args.profile, args.state)
    setup("edge", settings.profile.log_level)
    return asyncio.run(run(settings))


def _init(args: argparse.Namespace) -> int:
    from edge.config import load_tail
    from edge.update.client import provision
    from shared.identity import Signer

    tail = load_tail(args.tail_file)
    try:
        root = args.tuf_root.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", str(args.tuf_root)) from None
    provision(args.state / "tuf" / "image", root)
    identity = args.state / "identity"
    device = Signer.create(identity / "device.key")
    _write(identity / "tail.toml", args.tail_file.read_bytes())
    _write(identity / "device.pub", device.public.hex().encode())
    print(json.dumps({"tail": tail.tail, "device_pub": device.public.hex()}))
    return 0


def _enrol(args: argparse.Namespace) -> int:
    from edge.config import Enrolment, load_strict

    load_strict(Enrolment, args.file, "copy the file that `tailtwin-ground enroll` wrote")
    _write(args.state / "identity" / "enrolment.toml", args.file.read_bytes())
    return 0


def _install(args: argparse.Namespace) -> int:
    from edge.config import load_settings

    settings = load_settings(args.profile, args.state)
    if settings.profile.update is None:
        raise ConfigError("no [update] section", str(args.profile), "say where the repository is")
    labels = asyncio.run(_install_first(settings, args.target))
    print(json.dumps({"installed": labels}))
    return 0


async def _install_first(settings: object, targets: list[str]) -> list[str]:
    from edge.config import Settings
    from edge.models.admission import admit
    from edge.update.slots import Slots
    from edge.update.verified import VerifiedBundle
    from edge.updating import fetch_child

    assert isinstance(settings, Settings)
    fetch = fetch_child(settings)
    bundles = []
    for target in targets:
        answer = await fetch(target, {})
        if not isinstance(answer, VerifiedBundle):
            raise Rejected(f"{answer.code}: {answer.text}", target, "see the repository")
        result = await admit(answer.file, settings.profile.compute.models)
        if not result.ok:
            raise Rejected("; ".join(result.reasons), target, "build the bundle again")
        bundles.append(answer)
    installed = Slots(settings.state_dir).install_first(bundles)
    for bundle in bundles:
        bundle.file.unlink(missing_ok=True)
    return installed.labels()


def _write(path: Path, data: bytes) -> None:
    """A file of the identity folder."""
    from shared.files import write_durably

    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, data, private=True)


if __name__ == "__main__":
    sys.exit(main())
