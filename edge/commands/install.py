"""`tailtwin-edge install`: the first models, at the shop."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import TYPE_CHECKING

from edge.commands import Commands, add_profile, add_state, command
from shared.errors import ConfigError, Rejected

if TYPE_CHECKING:
    from edge.config import Settings


def add(commands: Commands) -> None:
    parser = command(
        commands, "install", "install the first models, at the shop",
        "tailtwin-edge install --profile acms.toml --state /var/lib/tailtwin "
        "egt_rom/egt_rom-1-….tar.zst",
    )  # fmt: skip
    add_profile(parser)
    add_state(parser)
    parser.add_argument("target", nargs="+", help="target paths in the image repository")
    parser.set_defaults(act=_install)


def _install(args: argparse.Namespace) -> int:
    from edge.config import load_settings

    settings = load_settings(args.profile, args.state)
    if settings.profile.update is None:
        raise ConfigError("no [update] section", str(args.profile), "say where the repository is")
    print(json.dumps({"installed": asyncio.run(_install_first(settings, args.target))}))
    return 0


async def _install_first(settings: Settings, targets: list[str]) -> list[str]:
    from edge.models.admission import admit
    from edge.update.slots import Slots
    from edge.update.verified import VerifiedBundle
    from edge.updating import fetch_child

    fetch = fetch_child(settings)
    bundles = []
    for target in targets:
        answer = await fetch(target, {})
        if not isinstance(answer, VerifiedBundle):
            raise Rejected(f"{answer.code}: {answer.text}", target, "see the repository")
        result = await admit(answer.file, settings.profile.compute.models)
        if result.ok and result.sha256 != answer.sha256:
            raise Rejected("admission judged other bytes than TUF verified", target, "try again")
        if not result.ok:
            raise Rejected("; ".join(result.reasons), target, "build the bundle again")
        bundles.append(answer)
    installed = Slots(settings.state_dir).install_first(bundles)
    for bundle in bundles:
        bundle.file.unlink(missing_ok=True)
    return installed.labels()
