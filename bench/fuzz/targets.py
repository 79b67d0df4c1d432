"""What decodes bytes from outside, and bytes to begin with.

In: nothing. Out: `TARGETS`, by name: a function of bytes and seeds that it accepts.
Always holds: a target returns, or raises a TailTwinError; anything else is a bug. Where a CRC, a
hash or a signature would stop a mutation at the door, the target makes it right again, as somebody
who means it would.
"""

from __future__ import annotations

import io
import re
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import msgspec
import numpy as np
import zstandard

from bench.fuzz import buses, provenance, updates
from edge.acquire.reading import ReadingDecoder
from edge.config import Enrolment, Profile, Tail, load_profile
from edge.health import read_status
from edge.models import frames
from edge.models.alerts import AlertBook, AlertState
from edge.recorder import _join, _unpack_entry
from ground.config import Paths, load_config
from ground.ingest.index import index
from ground.ingest.intake import Arrival, examine
from ground.twins.control import load_tail_file
from hil.scenario import load_scenario
from shared import export, messages
from shared.behaviour.grammar import parse_equation
from shared.block import Block, decode_block, encode_block
from shared.bundle import parse_bundle, parse_selftest, unpack
from shared.envelope import Envelope, open_envelope, seal
from shared.errors import Rejected
from shared.identity import Signer, verify
from shared.profile import ModelBounds
from shared.settings import load_settings_file
from shared.signals import (
    READING_MAGIC,
    READING_VERSION,
    SignalSet,
    load_signal_set,
    parse_signal_set,
    unpack_signal_set,
)
from shared.sync.receiver import Receiver
from shared.sync.sender import Limits, Sender
from shared.topics import CLASSES, parse_subject
from shared.units import parse_unit
from tests.fakes.store import MemoryStore

ROOT = Path(__file__).resolve().parents[2]
WHERE = "fuzz"
Decode = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Target:
    """One decoder. is_text: mutate by words, not by bytes."""

    name: str
    decode: Decode
    seeds: Callable[[], list[bytes]]
    is_text: bool = False


# -- things to begin with


@cache
def signal_set() -> SignalSet:
    return load_signal_set(ROOT / "firmware_profiles/signals/b737_bench.toml")


@cache
def signer() -> Signer:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def sealed(cls: str, payload: bytes, schema: str = "", codec: str = "") -> bytes:
    return seal(
        operator="OPX", tail="T-1", epoch="e0", stream=cls, seq=3, cls=cls, flight="T-1-e0-F00001",
        t_event_ns=5, t_quality=1, schema=schema or f"{cls}/1", codec=codec, payload=payload,
    )[1]  # fmt: skip


@cache
def block_bytes(codec: str = "pco") -> bytes:
    group = signal_set().groups[0]
    k, n_f64, n = len(group.signal), int(group.is_f64.sum()), 20
    ramp = np.arange(n, dtype=np.int64)
    return encode_block(
        Block(
            group.name, signal_set().sha256, "T-1-e0-F00001", 1, 0, 1, ramp * 20_000_000, ramp,
            np.tile(ramp[:, None] * 7, (1, k - n_f64)), np.zeros((n, n_f64)),
            np.zeros((n, k), np.uint8), np.ones((n, k), np.uint8),
        ),
        codec,  # type: ignore[arg-type]  # one of the two
    )  # fmt: skip


@cache
def journal_bytes() -> bytes:
    group = signal_set().groups[0]
    k, n_f64, n = len(group.signal), int(group.is_f64.sum()), 5
    ramp = np.arange(n, dtype="<i8").tobytes()
    entry = (
        signal_set().sha256, "T-1-e0-F00001", 1, 0, n, ramp, ramp, bytes(8 * n * (k - n_f64)),
        bytes(8 * n * n_f64), bytes(n * k), bytes(n * k),
    )  # fmt: skip
    return zstandard.ZstdCompressor(level=1).compress(msgspec.msgpack.encode(entry))


def some_messages() -> dict[str, msgspec.Struct]:
    """One of each struct that crosses a link."""
    coverage = messages.Coverage(3, [(5, 7)])
    return {
        "hello": messages.Hello(1, b"n" * 8, 1, "e0", {"alert": messages.StreamPosition(0, 3)}),
        "ack": messages.Ack(1, "T-1", "e0", "l", b"n" * 8, {"alert": coverage}, {}, 5),
        "notice": messages.Notice(1, "offer", "a/b.tar.zst"),
        "manifest": messages.Manifest(
            1, "OPX", "T-1", "T-1-e0-F00001", "flight", 1, 1, 9, messages.Oooi(1, 2, 3, 4),
            [messages.PartStream("e0", "alert", 0, 3)], [messages.GroupCount("air", 3, 1, 9)],
            [messages.Outage("air", 1, 2, -1, "bus_gap")], [1], b"s" * 32, ["m"], ["E1"],
        ),
        "closure": messages.Closure(
            1, "OPX", "T-1", "T-1-e0-F00001", "flight", 1, "gaps", 3, 1,
            [messages.Gap("records", "alert", "e0", 1, 2)], b"m" * 32, 9,
        ),
        "alert": messages.Alert(
            id="a", name="n", fault_code="72-00", change="onset", severity="warning", onset_ns=1,
            value=2.0, threshold=1.0, trigger=("air", 3),
        ),
        "drop": messages.Drop(1, "block-air", 3, 5, [b"h" * 32, b"i" * 32], "outbox full", "e0"),
        "state": messages.State(
            phase="parked", confidence="high", gate_open=False, gate_reasons=["x"], link="none",
            slot="a", bundles=[], alerts=[], worker="ok", boot=1, outbox_records=1, outbox_bytes=1,
            oldest_unsafe_ns=None, esns=["E1"],
        ),
        "kpi": messages.Kpi(
            bundle="b", t0_ns=1, step_s=5.0,
            series=[messages.KpiSeries(name="egt", esn="E1", unit="K", lsb=0.1, measured=[1, None],
                                       predicted=[2, 3])],
        ),
        "report": messages.Report(
            name="start", phase="parked", start_ns=1, end_ns=2, values={"N1": (0.0, 1.0, 2.0, 3)}
        ),
        "audit": messages.Audit(previous=b"p" * 32, kind="gate", decision="open", detail={"a": "b"}),
    }  # fmt: skip


@cache
def bundle_bytes() -> bytes:
    from tests.fakes.bundles import packed

    return packed()[1]


# -- targets


def _readings(data: bytes) -> object:
    """A drain of payloads, cut every 200 bytes, and as one."""
    decoder = ReadingDecoder(signal_set())
    taken = decoder.decode([data, *(data[i : i + 200] for i in range(0, len(data), 200))])
    return (len(taken), *sorted(decoder.refused))


def _reading_seeds() -> list[bytes]:
    seeds = []
    for number, group in enumerate(signal_set().groups):
        row = np.zeros(1, group.dtype)
        row["magic"], row["version"] = READING_MAGIC, READING_VERSION
        row["group"], row["set_hash"], row["t_ns"] = number, signal_set().bus_hash, 10**18
        seeds.append(row.tobytes())
    return seeds


def _block(data: bytes) -> object:
    """With its CRC made right."""
    body = data[:-4]
    return decode_block(body + zlib.crc32(body).to_bytes(4, "little"))


def _envelope_fields(data: bytes) -> object:
    """A whole envelope whose hashes are right, with other fields."""
    try:
        fields = msgspec.msgpack.decode(data, type=Envelope, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return open_envelope(data)
    payload = fields.payload[:100_000]
    try:
        _, again = seal(
            operator=fields.operator, tail=fields.tail, epoch=fields.epoch, stream=fields.stream,
            seq=fields.seq, cls=fields.cls if fields.cls in CLASSES else "state",
            flight=fields.flight, t_event_ns=fields.t_event_ns, t_quality=fields.t_quality,
            schema=fields.schema, codec=fields.codec, payload=payload,
        )  # fmt: skip
    except OverflowError:
        return None
    return examine(f"aero.v1.OPX.T-1.{fields.cls[:20]}", again, "OPX", {"T-1": signer().public})


def _payload(cls: str, data: bytes) -> object:
    """A record of a class with this payload, to the rows of the ledger."""
    body = data
    if cls == "manifest":
        body = signer().sign("manifest", data)
    schema, codec = ("signal-set/1", "zstd") if cls == "signal-set" else ("", "")
    cls = "state" if cls == "signal-set" else cls
    try:
        record = sealed(cls, body, schema, codec)
    except Rejected:
        return None
    found = examine(f"aero.v1.OPX.T-1.{cls}", record, "OPX", {"T-1": signer().public})
    if isinstance(found, Arrival):
        entry = index(found, {signal_set().sha256: signal_set()})
        assert not entry.problem.startswith("bug"), entry.problem
        return entry
    return found


def _signed(kind: type[msgspec.Struct], data: bytes) -> object:
    return messages.decode(kind, verify("ack", signer().sign("ack", data), signer().public, WHERE),
                           WHERE)  # fmt: skip


def _ack_to_sender(data: bytes) -> object:
    """A verified ack, to the sender of a store that waits for it."""
    ack = messages.decode(messages.Ack, data, WHERE)
    store = MemoryStore("T-1", "e0")
    for _ in range(4):
        store.append("alert", b"x")
    sender = Sender(store, "T-1")
    sender.on_connect(b"n" * 8, Limits(1e6), 0)
    while sender.take(0) is not None:
        pass
    return (sender.on_ack(ack, 1), sender.on_ack(ack, 2))


def _hello(data: bytes) -> object:
    hello = messages.decode(messages.Hello, data, WHERE)
    examine("aero.v1.OPX.T-1.hello", data, "OPX", {"T-1": signer().public})
    return Receiver("T-1", hello.epoch).on_hello(hello)


def _subject(data: bytes) -> object:
    return parse_subject(data.decode(errors="surrogateescape"))


def _journal(data: bytes) -> object:
    entry = _unpack_entry(data)
    if entry is None:
        return None
    try:
        return _join(signal_set().groups[0].name, [entry])
    except ValueError:  # the recorder says so, and goes on
        return None


def _journal_plain(data: bytes) -> object:
    return _journal(zstandard.ZstdCompressor(level=1).compress(data))


def _frame(data: bytes) -> object:
    """What the recorder reads of its worker."""
    return frames.reply(data[4 : 4 + frames.body_size(data[:4])])


def _alerts(data: bytes) -> object:
    book = AlertBook()
    book.restore(data)
    return book.standing(), book.snapshot()


def _unpacked(data: bytes) -> object:
    return unpack(data, ModelBounds(), WHERE)


def _bundle_json(data: bytes) -> object:
    return parse_bundle(data, WHERE)


def _bundle_tar(data: bytes) -> object:
    """The tar inside the bundle, compressed again."""
    return _unpacked(zstandard.ZstdCompressor(level=1).compress(data))


def _selftest(data: bytes) -> object:
    return parse_selftest(data, _unpacked(bundle_bytes()).bundle, WHERE)  # type: ignore[attr-defined]


def _export(data: bytes) -> object:
    found = []
    for frame in export.Reader(io.BytesIO(data)):
        if isinstance(frame, export.Frame) and frame.kind == export.MANIFEST:
            found.append(export.open_manifest(frame.body, None, WHERE))
    return found


def _export_seed() -> bytes:
    file = io.BytesIO()
    writer = export.Writer(file)
    header = export.ExportHeader(1, "OPX", "T-1", 5)
    writer.put(export.HEADER, messages.encode(header))
    writer.put(export.RECORD, sealed("alert", b"x" * 50))
    writer.put(export.JOURNAL, messages.encode(export.JournalEntry("air", journal_bytes())))
    stream = export.ExportStream("e0", "alert", "alert", 4, [(0, 3)], 1, 5, b"h" * 32)
    manifest = export.ExportManifest(
        1, "OPX", "T-1", 5, "", ["e0"], 1, [stream], 1, b"", [], 0, b""
    )
    writer.finish(manifest, signer())
    return file.getvalue()


def _file(load: Callable[[Path], object], name: str, data: bytes) -> object:
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        return load(path)


@cache
def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _files(pattern: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(ROOT.glob(pattern))]


def _profile_seeds() -> list[bytes]:
    """The bench's template with numbers put in."""
    text = re.sub(rb"[{][a-z_]+[}]", b"1", _files("firmware_profiles/bench.toml")[0])
    return [text, text + PROFILE_REST]


PROFILE_REST = b"""
[[source]]
kind = "mqtt"
host = "127.0.0.1"
port = 2
[compute.models]
nodes_max = 100
"""


TAIL = (
    b'operator = "OPX"\ntail = "T-1"\ntype = "T"\nregistration = "X"\n'
    b'[[engines]]\nposition = 1\nesn = "E1"\npart_number = "P"\n'
)
GROUND = (
    b'operator = "OPX"\nhost = "127.0.0.1"\n[nats]\nport = 4222\nmqtt_port = 1883\n'
    b"[http]\nport = 8080\n[ingest]\nsettle_ms = 5\n"
)
ENROLMENT = b'user = "T-1"\npassword = "x"\nground_pub = "00"\n'


def _messages() -> list[Target]:
    made = some_messages()
    targets = [
        Target(f"message {name}", partial(_message, type(one)), partial(_one, one))
        for name, one in made.items()
    ]
    for name in ("alert", "drop", "state", "kpi", "report", "audit", "manifest"):
        targets.append(
            Target(f"payload {name}", partial(_payload, name), partial(_one, made[name]))
        )
    return targets


def _message(kind: type[msgspec.Struct], data: bytes) -> object:
    return messages.decode(kind, data, WHERE, messages.MANIFEST_BYTES_MAX)


def _one(message: msgspec.Struct) -> list[bytes]:
    return [messages.encode(message)]


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("readings", _readings, _reading_seeds),
        Target("block", decode_block, lambda: [block_bytes(), block_bytes("zstd")]),
        Target("block, CRC right", _block, lambda: [block_bytes(), block_bytes("zstd")]),
        Target("payload block", partial(_payload, "block"), lambda: [block_bytes()]),
        Target("payload signal-set", partial(_payload, "signal-set"),
               lambda: [zstandard.compress(signal_set().text)]),
        Target("envelope", open_envelope, lambda: [sealed("alert", b"x" * 40)]),
        Target("envelope, hashes right", _envelope_fields, lambda: [sealed("alert", b"x" * 40)]),
        *_messages(),
        Target("ack, signed", partial(_signed, messages.Ack), lambda: _one(some_messages()["ack"])),
        Target("ack, unsigned", partial(verify, "ack", public=signer().public, where=WHERE),
               lambda: [signer().sign("ack", messages.encode(some_messages()["ack"]))]),
        Target("ack to the sender", _ack_to_sender, lambda: _one(some_messages()["ack"])),
        Target("hello to the receiver", _hello, lambda: _one(some_messages()["hello"])),
        Target("subject", _subject, lambda: [b"aero.v1.OPX.T-1.alert", b"aero/v1/OPX/T-1/ack"],
               is_text=True),
        Target("signal set", partial(parse_signal_set, where=WHERE),
               lambda: [signal_set().text, *_files("firmware_profiles/signals/*.toml")],
               is_text=True),
        Target("signal set, packed", partial(unpack_signal_set, codec="zstd", where=WHERE),
               lambda: [zstandard.compress(signal_set().text)]),
        Target("profile", partial(_file, partial(load_settings_file, Profile, remedy=""), "p.toml"),
               _profile_seeds, is_text=True),
        Target("profile with its set", partial(_file, load_profile, "p.toml"), _profile_seeds,
               is_text=True),
        Target("tail", partial(_file, partial(load_settings_file, Tail, remedy=""), "t.toml"),
               lambda: [TAIL], is_text=True),
        Target("tail at the ground", partial(_file, load_tail_file, "t.toml"), lambda: [TAIL],
               is_text=True),
        Target("enrolment", partial(_file, partial(load_settings_file, Enrolment, remedy=""), "e.toml"),
               lambda: [ENROLMENT], is_text=True),
        Target("scenario", partial(_file, load_scenario, "s.toml"),
               lambda: _files("hil/scenarios/*.toml"), is_text=True),
        Target("ground settings",
               partial(_file, lambda path: load_config(Paths(path.parent)), "ground.toml"),
               lambda: [GROUND], is_text=True),
        Target("status", partial(_file, read_status, "status.json"), lambda: [b"{}"], is_text=True),
        Target("bundle", _unpacked, lambda: [bundle_bytes()]),
        Target("bundle, tar", _bundle_tar,
               lambda: [zstandard.ZstdDecompressor().decompress(bundle_bytes())]),
        Target("bundle.json", _bundle_json,
               lambda: [_unpacked(bundle_bytes()).bundle_json], is_text=True),  # type: ignore[attr-defined]
        Target("self-test", _selftest,
               lambda: [_unpacked(bundle_bytes()).selftest]),  # type: ignore[attr-defined]
        Target("model frame", _frame, lambda: [
            frames.frame(frames.Stepped(3, [b"x" * 8], [(0, 1)])),
            frames.frame(frames.Loaded(1, "because")),
        ]),
        Target("alert book", _alerts, lambda: [AlertBook().snapshot(),
               msgspec.msgpack.encode({"egt E1": AlertState(standing=True, last_ns=3)})]),
        Target("journal entry", _journal, lambda: [journal_bytes()]),
        Target("journal entry, unpacked", _journal_plain,
               lambda: [zstandard.ZstdDecompressor().decompress(journal_bytes())]),
        Target("CSV recording", buses.csv, lambda: [buses.CSV], is_text=True),
        Target("ARINC 429 file", buses.word_file, buses.word_file_seeds),
        Target("ARINC 429 datagrams", buses.datagrams, buses.datagram_seeds),
        Target("ARINC 717 frames", partial(buses.frame_file, is_packed=False),
               partial(buses.frame_seeds, is_packed=False)),
        Target("ARINC 717 frames, packed", partial(buses.frame_file, is_packed=True),
               partial(buses.frame_seeds, is_packed=True)),
        Target("behavioural model", buses.behaviour,
               lambda: _files("firmware_profiles/models/lipo_3s*.toml"), is_text=True),
        Target("equation", lambda data: parse_equation(data.decode(errors="replace"), WHERE),
               lambda: [b"dt1/dt = (a - b * exp(-t1 / 2.0)) / max(c, 1e-3)", b"y = a^2 + -b"],
               is_text=True),
        Target("unit", lambda data: parse_unit(data.decode(errors="replace"), WHERE),
               lambda: [b"kg.m/s2", b"[ft_i]/min", b"Cel", b"10*3/h", b"%"], is_text=True),
        Target("export", _export, lambda: [_export_seed()]),
        Target("HTTP answer of an update source", updates.http_answer, updates.http_answers),
        Target("update chunk", updates.chunk, updates.chunks),
        Target("update request", updates.request, updates.requests),
        Target("attestation", provenance.envelope, provenance.envelopes, is_text=True),
        Target("statement, signed", provenance.statement, provenance.statements, is_text=True),
        Target("attestors of a root", provenance.attestors_field, provenance.attestors_fields,
               is_text=True),
        Target("graph of a calibration", provenance.numbers, provenance.graphs),
        Target("signing request", provenance.request, provenance.requests, is_text=True),
    )
}  # fmt: skip
