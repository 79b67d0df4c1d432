"""`tailtwin-sign attest`: say how a bundle was built, and sign that; or show what was said."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import Rejected, Unreachable
from signing.commands import Commands, add_keys, announce, command, done, key_ring, print_json

if TYPE_CHECKING:
    from shared.bundle import BundleFiles
    from signing.keyring import Keyring
    from signing.verify.statement import Claims

EXAMPLES = """
tailtwin-sign attest --keys ~/keys --key attestor-1 --builder https://ci.example/7 --source . egt.tar.zst
tailtwin-sign attest --keys ~/keys --key attestor-1 --builder https://g.example/ --source . --request DIR
tailtwin-sign attest --keys ~/usb --key attestor-2 egt_rom-2.0.0-b1c2d3e4f5a6.tar.zst
tailtwin-sign attest --show --repo var/tuf egt_rom-2.0.0-c1d2e3f4a5b6.tar.zst
"""


def add(commands: Commands) -> None:
    parser = command(commands, "attest", "sign how a bundle was built, or show it", EXAMPLES, _run)
    add_keys(parser, required=False)
    parser.add_argument("bundle", type=Path, nargs="*", metavar="BUNDLE", help="a .tar.zst")
    parser.add_argument("--request", type=Path, metavar="DIR",
                        help="what `tailtwin-ground calibrate` wrote; then names what was attested")  # fmt: skip
    parser.add_argument("--key", action="append", default=[], metavar="NAME",
                        help="an attestor's key; more than once for more")  # fmt: skip
    parser.add_argument("--builder", default="", metavar="URI",
                        help="who built it; not needed to join an attestation")  # fmt: skip
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--source", type=Path, metavar="DIR",
                        help="git work tree it was built from; changes in it are attested as such")  # fmt: skip
    source.add_argument("--source-commit", default="", metavar="HASH",
                        help="the commit, by the attestor's own word")  # fmt: skip
    parser.add_argument("--parent", type=Path, metavar="FILE",
                        help="the published bundle whose numbers it changes")  # fmt: skip
    parser.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--data", action="append", default=[], metavar="NAME=SHA256",
                        help="what it was trained on")  # fmt: skip
    parser.add_argument("--statement", type=Path, metavar="FILE",
                        help="write the in-toto statement here as well")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR", help="(beside the bundle)")
    parser.add_argument("--dry-run", action="store_true",
                        help="show what would be signed, and stop")  # fmt: skip
    parser.add_argument("--show", action="store_true", help="model card and provenance, no more")
    parser.add_argument("--repo", type=Path, metavar="DIR",
                        help="with --show: verify by the attestors of its image root")  # fmt: skip


def _run(args: argparse.Namespace) -> int:
    if bool(args.bundle) == bool(args.request):
        raise Rejected("bundles or a request", "attest", "name BUNDLEs, or give --request DIR")
    if args.show:
        return _show(args)
    if not args.key:
        raise Rejected("no key", "attest", "--key NAME: an attestor that the image root names")
    ring = key_ring(args)
    if args.request:
        return _request(args, ring)
    made = [_attest(args, ring, _read(file), file, args.parent) for file in args.bundle]
    for path, data in made:
        _write(path, data)
    return done(args, "\n".join(str(path) for path, _ in made))


def _request(args: argparse.Namespace, ring: Keyring) -> int:
    """Both files are there before the request names the attested one."""
    import msgspec

    from shared.request import FILE, load_request

    request, _ = load_request(args.request)
    before = args.request / request.bundle
    parent = args.request / request.parent if request.parent else None
    path, data = _attest(args, ring, _read(before), before, parent)
    if path.parent != args.request:
        raise Rejected("a request stays in its folder", "--out", "leave it out")
    _write(path, data)
    attested = msgspec.structs.replace(request, bundle=path.name, bundle_sha256=_sha256(data))
    text = msgspec.json.format(msgspec.json.encode(attested), indent=1)
    _write(args.request / FILE, text + b"\n")
    if path != before:
        before.unlink()
    return done(args, str(path))


def _attest(
    args: argparse.Namespace, ring: Keyring, data: bytes, file: Path, parent: Path | None
) -> tuple[Path, bytes]:
    from shared.bundle import unpack
    from shared.profile import ModelBounds
    from signing.attest import attest
    from signing.verify.statement import statement_of

    files = unpack(data, ModelBounds(), str(file))
    claims = _claims(args, files, parent)
    keyids = [_keyid(ring, name) for name in args.key]
    if args.statement:
        _write(args.statement, statement_of(files, claims))
    _announce(args, files, claims)
    name, attested = attest(data, claims, [ring.signer(keyid) for keyid in keyids])
    return (args.out or file.parent) / name, attested


def _claims(args: argparse.Namespace, files: BundleFiles, parent: Path | None) -> Claims:
    from signing.attest import claims_in, commit_of
    from signing.verify.statement import Claims

    if files.attestation and not args.builder:
        return claims_in(files)
    if not args.builder or not (args.source or args.source_commit):
        raise Rejected("who built it, and from what, is not said", "attest",
                       "--builder URI, and --source DIR or --source-commit HASH")  # fmt: skip
    commit, modified = commit_of(args.source) if args.source else (args.source_commit, False)
    return Claims(
        builder=args.builder, commit=commit, modified=modified,
        parameters=_pairs(args.parameter, "--parameter"), data=_pairs(args.data, "--data"),
        parent=_sha256(_read(parent)) if parent else "",
    )  # fmt: skip


def _announce(args: argparse.Namespace, files: BundleFiles, claims: Claims) -> None:
    from signing.card import as_json, card

    if args.json:
        announce(args, {"dry_run": args.dry_run, "attests": as_json(files, claims=claims)})
    else:
        announce(args, card(files, claims=claims))


def _show(args: argparse.Namespace) -> int:
    from shared.bundle import unpack
    from shared.profile import ModelBounds
    from signing.card import as_json, card

    paths = args.bundle or [_of_request(args.request)]
    found = [unpack(_read(path), ModelBounds(), str(path)) for path in paths]
    cards = [(files, _verified(args, files)) for files in found]
    if args.json:
        print_json([as_json(files, by) for files, by in cards])
    else:
        print("\n\n".join(card(files, by) for files, by in cards))
    return 0


def _verified(args: argparse.Namespace, files: BundleFiles) -> str:
    """By whom; Rejected when the attestors of the repository's root do not vouch for it."""
    if args.repo is None or not files.attestation:
        return ""
    from signing.attest import claims_in
    from signing.chain import Chain
    from signing.keyring import name_of
    from signing.verify.attested import attestors_of, read_attestation

    root = Chain(args.repo / "image" / "metadata").root.signed
    attestors = attestors_of(root)
    found = read_attestation(files, attestors, claims_in(files).parent)
    names = {key.keyid: name_of(key) for key in attestors.keys}
    return f"yes: {', '.join(names[x] or x[:12] for x in found.attested_by)} of root {root.version}"


def _of_request(folder: Path) -> Path:
    from shared.request import load_request

    return folder / load_request(folder)[0].bundle


def _keyid(ring: Keyring, name: str) -> str:
    key = ring.public(name)
    if key is None:
        raise Rejected(f"no key {name!r}", "--key", "see --keys, and tailtwin-sign new-key")
    return key.keyid


def _pairs(given: list[str], option: str) -> dict[str, str]:
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name in found:
            raise Rejected(f"{text[:80]!r}", option, "NAME=VALUE, each name once")
        found[name] = value
    return found


def _read(path: Path) -> bytes:
    from shared.files import read_bounded
    from shared.profile import ModelBounds

    return read_bounded(path, ModelBounds().bundle_bytes_max, "this is no bundle")


def _write(path: Path, data: bytes) -> None:
    from shared.files import write_durably

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, data)
    except OSError as error:
        why = error.strerror or str(error)
        raise Unreachable(f"cannot write: {why}", str(path), "check --out and the disk") from None


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()
