"""`tailtwin-edge run`: the daemon."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import os
import resource

from edge.commands import Commands, add_profile, add_state, command


def add(commands: Commands) -> None:
    parser = command(
        commands, "run", "run the daemon until SIGTERM",
        "tailtwin-edge run --profile acms.toml --state /var/lib/tailtwin",
    )  # fmt: skip
    add_profile(parser)
    add_state(parser)
    parser.set_defaults(act=_run)


def _run(args: argparse.Namespace) -> int:
    from edge.heap import settle

    settle()  # before anything starts a thread or allocates much
    from edge.config import load_settings
    from edge.daemon import run
    from edge.notify import Notifier
    from shared.log import setup

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # keys are in this memory
    settings = load_settings(args.profile, args.state)
    setup("edge", settings.profile.log_level)
    faulthandler.enable()  # a watchdog's SIGABRT says where every thread was
    return asyncio.run(run(settings, Notifier(os.environ.get("NOTIFY_SOCKET", ""))))
