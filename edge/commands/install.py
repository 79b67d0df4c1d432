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
        commands, "install", "install the first set of models, as the director says, at the shop",
        "tailtwin-edge install --profile acms.toml --state /var/lib/tailtwin",
    )  # fmt: skip
    add_profile(parser)
    add_state(parser)
    parser.set_defaults(act=_install)


def _install(args: argparse.Namespace) -> int:
    from edge.config import load_settings

    settings = load_settings(args.profile, args.state)
    if settings.profile.update is None:
        raise ConfigError(
            "no [update] section", str(args.profile), "say where signed bundles come from"
        )
    print(json.dumps({"installed": asyncio.run(_install_first(settings))}))
    return 0


async def _install_first(settings: Settings) -> list[str]:
    from edge.models.admission import admit
    from edge.update.slots import Slots, SlotsView
    from edge.update.verified import FetchFailure
    from edge.updating import fetch_child

    answer = await fetch_child(settings)("", SlotsView())
    if isinstance(answer, FetchFailure):
        raise Rejected(f"{answer.code}: {answer.text}", settings.tail.tail)
    for bundle in answer.bundles:
        result = await admit(bundle.file, settings.profile.compute.models)
        if not result.ok:
            raise Rejected("; ".join(result.reasons), bundle.target, "build the bundle again")
        judged = (result.sha256, result.name, result.release)
        if judged != (bundle.sha256, bundle.name, bundle.release):
            raise Rejected(f"the bundle says {judged}", bundle.target, "publish it as it is")
    installed = Slots(settings.state_dir).install_first(answer.bundles)
    for bundle in answer.bundles:
        bundle.file.unlink(missing_ok=True)
    return installed.labels()
