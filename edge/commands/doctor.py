"""`tailtwin-edge doctor`: the profile against this machine."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from edge.commands import Commands, add_profile, command

if TYPE_CHECKING:
    from edge.checkup import Finding


def add(commands: Commands) -> None:
    parser = command(
        commands, "doctor", "check the profile against this machine",
        """tailtwin-edge doctor --profile acms.toml
        tailtwin-edge doctor --profile acms.toml --state /var/lib/tailtwin --json""",
    )  # fmt: skip
    add_profile(parser)
    parser.add_argument("--state", type=Path, help="state folder, if there is one", metavar="DIR")
    parser.add_argument("--json", action="store_true", help="findings, for programs")
    parser.set_defaults(act=_run)


def _run(args: argparse.Namespace) -> int:
    findings = examine(args.profile, args.state)
    if args.json:
        print(
            json.dumps(
                [{k: getattr(f, k) for k in f.__struct_fields__} for f in findings], indent=1
            )
        )
    else:
        for finding in findings:
            print(line(finding))
        counts = {
            level: sum(f.level == level for f in findings) for level in ("ok", "warn", "fail")
        }
        print(", ".join(f"{count} {level}" for level, count in counts.items()))
    return 1 if any(f.level == "fail" for f in findings) else 0


def examine(profile_path: Path, state: Path | None) -> list[Finding]:
    """Every question; the ones after a broken profile are left out."""
    from edge.checkup import Finding, machine, program, state_folder
    from edge.config import load_profile
    from edge.wiring import addresses, libraries, roles
    from shared.errors import TailTwinError

    try:
        profile, signals = load_profile(profile_path)
    except TailTwinError as error:
        broken = Finding("profile", "fail", f"{error.where}: {error.what}", error.remedy)
        return [broken, *program()]
    found = [
        Finding("profile", "ok", f"{profile.name}; {signals.name} v{signals.version}, "
                f"{signals.signal_count} signals in {len(signals.groups)} groups"),
    ]  # fmt: skip
    found += [*machine(profile.compute), *program(libraries(profile))]
    if state is None:
        found.append(Finding("state folder", "warn", "not looked at", "say --state DIR"))
    else:
        found += state_folder(state, profile.compute, profile.recording.outbox_bytes_max)
    return [*found, *roles(profile, signals), *addresses(profile, profile_path.parent)]


def line(finding: Finding) -> str:
    """One finding for people, with its remedy below when it is not ok."""
    text = f"{finding.level:5}{finding.name:14} {finding.said}"
    return text if finding.level == "ok" else f"{text}\n{'':20}to do: {finding.remedy}"
