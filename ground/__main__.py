"""tailtwin-ground: make, run and ask a ground.

In: arguments. Out: an exit code; answers on stdout, logs and errors on stderr.
Always holds: a user's mistake prints what, where and what to do, never a trace.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ground.config import Paths, load_config
from shared.errors import ConfigError, TailTwinError

_EXAMPLES = """\
examples:
  tailtwin-ground init --state var/ground --operator OPX
  tailtwin-ground enroll --state var/ground --tail-file tail.toml --device-pub device.pub \\
      --out enrolment.toml
  tailtwin-ground up --state var/ground --tuf-repo var/tuf
  tailtwin-ground import --state var/ground /mnt/stick/B737-28001-20261121T060000Z.ttx
  tailtwin-ground flights --state var/ground
  tailtwin-ground closure B737-28001-3f9a1c-F00001 --state var/ground --json
"""


def parser() -> argparse.ArgumentParser:
    """Every command and argument; docs/ground.md is tested against it."""
    top = argparse.ArgumentParser(
        prog="tailtwin-ground", description="The ground: takes records, closes flights, answers.",
        epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.add_argument("--state", type=Path, required=True, metavar="DIR",
                         help="folder of this ground")  # fmt: skip
        return one

    init = command("init", "make a ground: key, settings, databases")
    init.add_argument("--operator", required=True, help="1 to 32 of A-Z a-z 0-9 _ -")
    init.add_argument("--nats-port", type=int, default=4222, metavar="N")
    init.add_argument("--mqtt-port", type=int, default=1883, metavar="N")
    init.add_argument("--http-port", type=int, default=8080, metavar="N")
    enrol = command("enroll", "enrol an aircraft: its device key, its link credentials")
    enrol.add_argument("--tail-file", type=Path, required=True, metavar="TAIL.toml")
    enrol.add_argument("--device-pub", type=Path, required=True, metavar="HEXFILE",
                       help="file with the 64 hex digits of its Ed25519 public key")  # fmt: skip
    enrol.add_argument("--out", type=Path, required=True, metavar="ENROLMENT.toml")
    enrol.add_argument("--replace-key", action="store_true", help="its computer was changed")
    up = command("up", "run nats-server, ingest, worker and api")
    api = command("api", "run the HTTP api alone")
    for one in (up, api):
        one.add_argument("--tuf-repo", type=Path, metavar="DIR",
                         help="repository to serve at /tuf (metadata/ and targets/)")  # fmt: skip
    command("ingest", "run ingest alone")
    command("worker", "run the worker alone")
    offer = command("offer", "tell a tail that there may be a bundle for it")
    offer.add_argument("--tail", required=True)
    offer.add_argument("--target", required=True, help="name of the TUF target")
    offer.add_argument(
        "--wait-s",
        type=float,
        default=30.0,
        help="how long to repeat it and wait for the tail's decision (default 30)",
    )
    carried = command("import", "take what `tailtwin-edge export` wrote; ingest must not run")
    carried.add_argument("file", type=Path, metavar="FILE.ttx")
    carried.add_argument("--json", action="store_true")
    flights = command("flights", "list flights and ground periods")
    flights.add_argument("--tail", default="", help="of this tail only")
    flights.add_argument("--json", action="store_true")
    closure = command("closure", "say what the ground holds of one period")
    closure.add_argument("flight", metavar="FLIGHT")
    closure.add_argument("--json", action="store_true")
    return top


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    os.umask(0o077)  # keys, passwords and flight data are of one account
    try:
        _run(arguments)
    except TailTwinError as error:
        print(f"tailtwin-ground: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    return 0


def _run(arguments: argparse.Namespace) -> None:
    # Each command imports what it needs: ingest carries no web framework, the CLI no numpy.
    paths = Paths(arguments.state)
    name = arguments.command
    if name in ("ingest", "worker", "api"):
        from ground import app

        if name == "ingest":
            app.run_ingest(paths)
        elif name == "worker":
            app.run_worker(paths)
        else:
            app.run_api(paths, arguments.tuf_repo)
    elif name == "up":
        from ground.supervise import up
        from ground.twins.control import Control
        from shared.log import setup

        if arguments.tuf_repo and not arguments.tuf_repo.is_dir():
            raise ConfigError("no such folder", f"--tuf-repo {arguments.tuf_repo}",
                              "make it with `tailtwin-sign`")  # fmt: skip
        setup("up")
        config = load_config(paths)
        up(paths, config, Control.open(paths.control), arguments.tuf_repo,
           lambda line: print(line, flush=True))  # fmt: skip
    else:
        from ground import tools

        if name == "init":
            tools.init(paths, arguments.operator, arguments.nats_port, arguments.mqtt_port,
                       arguments.http_port)  # fmt: skip
        elif name == "enroll":
            tools.enroll(paths, arguments.tail_file, arguments.device_pub, arguments.out,
                         replace_key=arguments.replace_key)  # fmt: skip
        elif name == "offer":
            tools.print_offer(paths, arguments.tail, arguments.target, arguments.wait_s)
        elif name == "import":
            tools.import_export(paths, arguments.file, as_json=arguments.json)
        elif name == "flights":
            tools.print_flights(paths, arguments.tail, as_json=arguments.json)
        else:
            tools.print_closure(paths, arguments.flight, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
