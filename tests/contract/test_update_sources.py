"""What every source of update bytes owes, whatever is at the other end of it.

One suite for HTTP, HTTPS, NATS with the ground's own permissions, and a folder.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    LengthOrHashMismatchError,
    SlowRetrievalError,
)

from edge.update.fetch import BoundedFetcher
from edge.update.partial import PARTIALS_MAX
from edge.update.sources import Source, open_source
from shared.clock import SystemClock
from shared.errors import ConfigError
from tests.contract.ground_site import Site
from tests.contract.update_places import (
    Authority,
    Behaviour,
    HttpPlace,
    MediaPlace,
    NatsPlace,
    Place,
    Unanswered,
)
from tests.unit.edge.update.stand import Aboard, Shop
from tests.unit.ground.synthetic import TAIL, Tail

OTHER = "A320-00007"
STEP_S = 0.25
SLACK_S = 2.0  # other work on the machine
BIG = 6 << 20
KINDS = ("http", "https", "nats", "media")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    one = Site(tmp_path_factory.mktemp("site"))
    one.enrol(Tail())
    one.enrol(Tail(tail=OTHER))
    one.start_broker()
    yield one
    one.stop()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    return folder


def make(kind: str, repo: Path, request: pytest.FixtureRequest) -> Place:
    if kind == "nats":
        return NatsPlace(request.getfixturevalue("site"), repo)
    if kind == "media":
        return MediaPlace(repo)
    return HttpPlace(repo, request.getfixturevalue("authority") if kind == "https" else None)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, repo: Path) -> Iterator[Place]:
    one = make(request.param, repo, request)
    yield one
    one.close()


@pytest.fixture
def source(place: Place) -> Iterator[Source]:
    one = place.open()
    yield one
    one.close()


@pytest.fixture
def draw(request: pytest.FixtureRequest) -> random.Random:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


def session(source: Source, partial: Path | None = None, deadline_s: float = 20.0,
            step_s: float = 10.0, bytes_max: int = 64 << 20) -> BoundedFetcher:  # fmt: skip
    return BoundedFetcher(source, SystemClock(), deadline_s, step_s, bytes_max, partial)


def target(data: bytes) -> tuple[str, str]:
    """(path, sha-256) of a target of this content."""
    digest = hashlib.sha256(data).hexdigest()
    return f"image/targets/egt/{digest}.egt-1.0.0.tar.zst", digest


def fetch(fetcher: BoundedFetcher, data: bytes) -> bytes:
    """As python-tuf does: refuse inside the `with` what is not the target."""
    path, digest = target(data)
    with fetcher.download_file(path, len(data)) as file:
        got = file.read()
        if hashlib.sha256(got).hexdigest() != digest:
            raise LengthOrHashMismatchError("not the target")
        return got


def test_a_file_arrives_as_it_is(place: Place, source: Source) -> None:
    small, empty = b"{}" * 40, b""
    place.put("image/metadata/timestamp.json", small)
    place.put("director/metadata/1.tail-N1.json", empty)
    fetcher = session(source)
    assert fetcher.download_bytes("image/metadata/timestamp.json", 1000) == small
    assert fetcher.download_bytes("director/metadata/1.tail-N1.json", 1000) == empty
    assert fetcher.bytes_left == (64 << 20) - len(small)


def test_a_big_file_arrives_and_only_its_target_stays(
    place: Place, source: Source, tmp_path: Path, draw: random.Random
) -> None:
    data = draw.randbytes(BIG + 1)
    place.put(target(data)[0], data)
    assert fetch(session(source, tmp_path / "partial"), data) == data
    assert list((tmp_path / "partial").iterdir()) == []


def test_a_file_that_is_not_there_is_a_404_and_the_session_goes_on(
    place: Place, source: Source
) -> None:
    place.put("image/metadata/1.root.json", b"root")
    fetcher = session(source)
    for path in ("image/metadata/2.root.json", "image/targets/none/x.tar.zst"):
        with pytest.raises(DownloadHTTPError) as refused:
            fetcher.download_bytes(path, 1000)
        assert refused.value.status_code == 404
    assert fetcher.download_bytes("image/metadata/1.root.json", 1000) == b"root"


def test_a_cut_download_goes_on_where_it_stopped_in_a_later_session(
    place: Place, source: Source, tmp_path: Path, draw: random.Random
) -> None:
    data, partial = draw.randbytes(700_000), tmp_path / "partial"
    path, digest = target(data)
    place.put(path, data)
    cut_at = draw.randrange(1, len(data))
    place.behave("cut", cut_at)
    with pytest.raises((DownloadError, LengthOrHashMismatchError)):
        fetch(session(source, partial, step_s=1.0), data)
    if isinstance(place, MediaPlace):  # a copy that is too short is whole for a folder
        (partial / digest).write_bytes(data[:cut_at])
    assert (partial / digest).read_bytes() == data[:cut_at]
    place.put(path, data)
    place.behave("honest")
    place.reads.clear()
    fetcher = session(source, partial)
    assert fetch(fetcher, data) == data
    assert (64 << 20) - fetcher.bytes_left == len(data) - cut_at
    assert place.reads[:1] in ([], [(path, cut_at)])
    assert not (partial / digest).exists()


@pytest.mark.parametrize("kept", ["other", "other and whole", "longer"])
def test_a_partial_that_is_wrong_costs_one_whole_fetch(
    place: Place, source: Source, tmp_path: Path, kept: str
) -> None:
    data, partial = bytes(range(256)) * 1000, tmp_path / "partial"
    path, digest = target(data)
    place.put(path, data)
    partial.mkdir()
    length = {"other": 1000, "other and whole": len(data), "longer": len(data) + 1}[kept]
    (partial / digest).write_bytes(bytes([255]) * length)
    fetcher = session(source, partial)
    assert fetch(fetcher, data) == data
    assert (64 << 20) - fetcher.bytes_left <= 2 * len(data)


def test_a_partial_that_is_whole_already_is_not_fetched(
    place: Place, source: Source, tmp_path: Path
) -> None:
    data, partial = b"whole" * 100, tmp_path / "partial"
    partial.mkdir()
    (partial / target(data)[1]).write_bytes(data)
    fetcher = session(source, partial)
    assert fetch(fetcher, data) == data
    assert fetcher.bytes_left == 64 << 20


@pytest.mark.parametrize("how", ["shorter", "longer", "other_bytes"])
@pytest.mark.parametrize("kept", [0, 1000])
def test_other_bytes_than_promised_are_refused_and_nothing_of_them_stays(
    place: Place, source: Source, tmp_path: Path, how: Behaviour, kept: int
) -> None:
    data, partial = random.Random(1).randbytes(200_000), tmp_path / "partial"
    path, digest = target(data)
    place.put(path, data)
    place.behave(how)
    if kept:
        partial.mkdir()
        (partial / digest).write_bytes(data[:kept])
    with pytest.raises((LengthOrHashMismatchError, DownloadLengthMismatchError)):
        fetch(session(source, partial), data)
    assert list(partial.iterdir()) == []


def test_metadata_over_its_length_is_refused(place: Place, source: Source) -> None:
    place.put("image/metadata/timestamp.json", b"x" * 200_001)
    with pytest.raises(DownloadLengthMismatchError):
        session(source).download_bytes("image/metadata/timestamp.json", 200_000)


@pytest.fixture(params=["http", "https", "nats"])
def peer(request: pytest.FixtureRequest, repo: Path) -> Iterator[Place]:
    """A place that can make one wait."""
    one = make(request.param, repo, request)
    yield one
    one.close()


@pytest.mark.parametrize("how", ["drip", "silence"])
def test_a_peer_that_drips_or_says_nothing_is_left_at_the_deadline_of_the_step(
    peer: Place, how: Behaviour
) -> None:
    peer.put("image/metadata/timestamp.json", b"x" * 1000)
    peer.behave(how)
    source = peer.open()
    fetcher = session(source, step_s=STEP_S)
    begun_s = time.monotonic()
    with pytest.raises(SlowRetrievalError):
        fetcher.download_bytes("image/metadata/timestamp.json", 2000)
    assert time.monotonic() - begun_s < STEP_S + SLACK_S
    peer.behave("honest")  # and the next step begins anew
    assert fetcher.download_bytes("image/metadata/timestamp.json", 2000) == b"x" * 1000
    source.close()


def test_a_fifo_or_a_device_on_a_stick_blocks_nobody(repo: Path) -> None:
    place = MediaPlace(repo)
    for how in ("silence", "endless"):
        place.put(f"image/metadata/{how}.json", b"x")
        place.behave(how)
        begun_s = time.monotonic()
        with pytest.raises(DownloadError):
            session(place.open()).download_bytes(f"image/metadata/{how}.json", 2000)
        assert time.monotonic() - begun_s < SLACK_S
        (repo / f"image/metadata/{how}.json").unlink()


def test_the_deadline_of_the_session_covers_all_its_steps(place: Place, source: Source) -> None:
    place.put("image/metadata/timestamp.json", b"x")
    fetcher = session(source, deadline_s=STEP_S)
    begun_s = time.monotonic()

    def fetch_for_ever() -> None:
        while True:
            fetcher.download_bytes("image/metadata/timestamp.json", 2000)

    with pytest.raises(SlowRetrievalError):
        fetch_for_ever()
    assert time.monotonic() - begun_s < STEP_S + SLACK_S
    assert fetcher.left_s() <= 0


def test_endless_data_ends_at_the_length_or_at_the_budget(place: Place, source: Source) -> None:
    place.put("image/metadata/timestamp.json", b"x")
    place.behave("endless")
    with pytest.raises(DownloadError):
        session(source).download_bytes("image/metadata/timestamp.json", 1 << 20)
    fetcher = session(source, bytes_max=1 << 20)
    with pytest.raises(DownloadError):
        fetcher.download_bytes("image/metadata/timestamp.json", 1 << 30)


def test_the_budget_is_of_the_session_not_of_a_file(place: Place, source: Source) -> None:
    place.put("image/metadata/timestamp.json", b"x" * 600)
    fetcher = session(source, bytes_max=1000)
    fetcher.download_bytes("image/metadata/timestamp.json", 600)
    with pytest.raises(DownloadError, match="no more bytes"):
        fetcher.download_bytes("image/metadata/timestamp.json", 600)
    assert fetcher.bytes_left == 0


def test_two_sessions_at_once_do_not_disturb_each_other(
    place: Place, tmp_path: Path, draw: random.Random
) -> None:
    files = [draw.randbytes(900_000) for _ in range(2)]
    got: dict[int, bytes] = {}

    def run(number: int) -> None:
        source = place.open()
        try:
            fetcher = session(source, tmp_path / f"partial-{number}")
            got[number] = fetch(fetcher, files[number])
        finally:
            source.close()

    for data in files:
        place.put(target(data)[0], data)
    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert [got.get(number) for number in range(2)] == files


def test_a_name_of_a_source_holds_no_password(place: Place, source: Source) -> None:
    if isinstance(place, NatsPlace):
        assert place._site.passwords[TAIL] not in source.name
    assert source.name.split("://")[0] in ("http", "https", "nats", "file")


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_session_brings_the_same_set_from_everywhere(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both repositories, an answer that two wrong sources before it do not spoil."""
    monkeypatch.setenv("SSL_CERT_FILE", str(request.getfixturevalue("authority").file))
    shop = Shop(tmp_path / "shop")
    place = make(kind, shop.folder, request)
    aboard = Aboard(tmp_path, shop)
    target_path = shop.offer(2)
    source = place.open()
    text = place.url() if isinstance(place, NatsPlace) else source.name
    source.close()
    aboard.sources = ("http://127.0.0.1:9/tuf", f"file://{tmp_path}/none", text)
    found = aboard.taken()
    assert [(b.target, b.release) for b in found.bundles] == [(target_path, 2)]
    assert found.source == source.name
    assert found.bundles[0].file.read_bytes().startswith(b"egt release 2")
    place.close()


def test_a_download_that_is_cut_again_and_again_goes_on_at_whatever_source_is_next(
    repo: Path, tmp_path: Path, request: pytest.FixtureRequest, draw: random.Random
) -> None:
    """Every byte comes once, whichever source gave it."""
    data, partial = draw.randbytes(500_000), tmp_path / "partial"
    places = [make(kind, repo, request) for kind in ("http", "nats", "https")]
    for place in places:
        place.put(target(data)[0], data)
    came = 0
    for place in places:
        cut_at = draw.randrange(came, len(data))
        place.behave("cut", cut_at)
        source = place.open()
        fetcher = session(source, partial, step_s=0.5)
        with pytest.raises(DownloadError):
            fetch(fetcher, data)
        assert (64 << 20) - fetcher.bytes_left == cut_at - came
        came = cut_at
        source.close()
    stick = MediaPlace(repo).open()
    fetcher = session(stick, partial)
    assert fetch(fetcher, data) == data
    assert (64 << 20) - fetcher.bytes_left == len(data) - came
    for place in places:
        place.close()


# What only some kinds can do.


@pytest.fixture(params=["http", "https"])
def web(request: pytest.FixtureRequest, repo: Path) -> Iterator[HttpPlace]:
    one = make(request.param, repo, request)
    assert isinstance(one, HttpPlace)
    yield one
    one.close()


@pytest.mark.parametrize("how", ["garbage", "redirect", "compressed"])
def test_an_answer_that_is_not_the_plain_file_is_refused(web: HttpPlace, how: Behaviour) -> None:
    web.put("image/metadata/timestamp.json", b"x" * 100)
    web.behave(how)
    source = web.open()
    with pytest.raises(DownloadError):
        session(source).download_bytes("image/metadata/timestamp.json", 1000)
    source.close()
    assert [path for path, _ in web.reads] == ["image/metadata/timestamp.json"]


@pytest.mark.parametrize("how", ["drip_head", "endless_head", "continue"])
def test_headers_without_an_end_are_left_at_the_deadline(web: HttpPlace, how: Behaviour) -> None:
    web.put("image/metadata/timestamp.json", b"x")
    web.behave(how)
    source = web.open()
    begun_s = time.monotonic()
    with pytest.raises(DownloadError):
        session(source, step_s=STEP_S).download_bytes("image/metadata/timestamp.json", 100)
    source.close()
    assert time.monotonic() - begun_s < STEP_S + SLACK_S


@pytest.mark.parametrize("how", ["no_range", "wrong_range"])
def test_a_server_that_cannot_go_on_gives_the_whole_file(
    web: HttpPlace, tmp_path: Path, how: Behaviour
) -> None:
    data, partial = random.Random(2).randbytes(100_000), tmp_path / "partial"
    path, digest = target(data)
    web.put(path, data)
    web.behave(how)
    partial.mkdir()
    (partial / digest).write_bytes(data[:5000])
    source = web.open()
    assert fetch(session(source, partial), data) == data
    source.close()
    assert [offset for _, offset in web.reads] == [5000, 0]


def test_one_connection_serves_a_session_and_one_that_was_closed_meanwhile_is_made_again(
    web: HttpPlace,
) -> None:
    web.put("image/metadata/timestamp.json", b"x" * 100)
    source = web.open()
    fetcher = session(source)
    for _ in range(3):
        fetcher.download_bytes("image/metadata/timestamp.json", 100)
    assert web.connections == 1
    web.hang_up()
    assert len(fetcher.download_bytes("image/metadata/timestamp.json", 100)) == 100
    assert web.connections == 2
    source.close()


def test_a_proxy_of_the_environment_is_not_used(
    web: HttpPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    web.put("image/metadata/timestamp.json", b"x")
    source = web.open()
    assert session(source).download_bytes("image/metadata/timestamp.json", 100) == b"x"
    source.close()


def test_https_by_an_authority_that_is_not_ours_is_refused(
    repo: Path, authority: Authority, tmp_path: Path
) -> None:
    place = HttpPlace(repo, authority)
    place.put("image/metadata/timestamp.json", b"x")
    other = tmp_path / "other"
    other.mkdir()
    for ca_file in (None, Authority(other).file):
        source = open_source(place.url, ca_file)
        with pytest.raises(DownloadError, match="CERTIFICATE_VERIFY_FAILED"):
            session(source).download_bytes("image/metadata/timestamp.json", 100)
        source.close()
    assert place.reads == []
    place.close()


@pytest.mark.parametrize("text", [
    "http://127.0.0.1:{port}/tuf", "https://127.0.0.1:{port}/tuf",
    "nats://u:p@127.0.0.1:{port}/aero.v1.op.N1",
])  # fmt: skip
@pytest.mark.parametrize("full", [False, True])
def test_a_connect_that_hangs_is_left_at_the_deadline(text: str, full: bool) -> None:
    """Not full: TCP connects, and TLS or HTTP or NATS waits for a first byte."""
    nobody = Unanswered(full)
    source = open_source(text.format(port=nobody.port))
    begun_s = time.monotonic()
    with pytest.raises(SlowRetrievalError):
        session(source, step_s=STEP_S).download_bytes("image/metadata/timestamp.json", 100)
    assert time.monotonic() - begun_s < STEP_S + SLACK_S
    source.close()
    nobody.close()


@pytest.fixture
def broker(site: Site, repo: Path) -> Iterator[NatsPlace]:
    one = NatsPlace(site, repo)
    yield one
    one.close()


@pytest.mark.parametrize(("how", "error"), [
    ("garbage", DownloadError), ("changes", DownloadError), ("empty", DownloadError),
    ("busy", SlowRetrievalError),
])  # fmt: skip
def test_an_answer_that_makes_no_whole_file_is_refused(
    broker: NatsPlace, how: Behaviour, error: type[Exception]
) -> None:
    broker.put("image/metadata/timestamp.json", b"x" * 100)
    broker.behave(how)
    source = broker.open()
    with pytest.raises(error):
        session(source, step_s=STEP_S).download_bytes("image/metadata/timestamp.json", 1000)
    source.close()


def test_a_tail_cannot_ask_as_another_one(broker: NatsPlace) -> None:
    broker.put("image/metadata/timestamp.json", b"x")
    source = open_source(broker.url(tail=OTHER, user=TAIL))
    with pytest.raises(DownloadError, match=r"(?i)permissions violation"):
        session(source).download_bytes("image/metadata/timestamp.json", 100)
    source.close()
    assert broker.reads == []
    source = open_source(broker.url().replace(broker._site.passwords[TAIL], "guess"))
    with pytest.raises(DownloadError):
        session(source).download_bytes("image/metadata/timestamp.json", 100)
    source.close()


def test_nobody_who_serves_is_said_at_once(site: Site, repo: Path) -> None:
    broker = NatsPlace(site, repo)
    text = broker.url()
    broker.close()
    source = open_source(text)
    with pytest.raises(DownloadError, match="nobody serves"):
        session(source).download_bytes("image/metadata/timestamp.json", 100)
    source.close()


def test_a_link_or_a_folder_or_a_way_up_is_no_file_of_a_stick(tmp_path: Path) -> None:
    stick, secret = tmp_path / "stick", tmp_path / "secret.json"
    (stick / "image" / "metadata").mkdir(parents=True)
    secret.write_text("secret")
    (stick / "image" / "metadata" / "1.root.json").symlink_to(secret)
    (stick / "image" / "targets").symlink_to(tmp_path)
    source = open_source(f"file://{stick}")
    fetcher = session(source)
    for path in (
        "image/metadata/1.root.json", "image/targets/secret.json", "image/metadata", "image",
        "../secret.json", "image/../../secret.json", "/etc/hostname", "image//metadata",
        "image/metadata/.hidden", "", ".", "image/metadata/\0", "x" * 300,
    ):  # fmt: skip
        with pytest.raises(DownloadError):
            fetcher.download_bytes(path, 1000)


def test_a_stick_that_is_pulled_is_unreachable(tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    file = stick / "timestamp.json"
    file.write_bytes(b"x" * 200_000)
    source = open_source(f"file://{stick}")
    pieces = source.read("timestamp.json")
    next(pieces)
    os.truncate(file, 100)  # as a read of a pulled stick ends: with nothing
    with pytest.raises(DownloadError, match="ended after"):
        list(pieces)
    file.unlink()
    stick.rmdir()
    with pytest.raises(DownloadError, match="no folder") as failed:
        session(source).download_bytes("timestamp.json", 1000)
    assert not isinstance(failed.value, DownloadHTTPError)


def test_cut_downloads_are_few_and_small(tmp_path: Path) -> None:
    stick, partial = tmp_path / "stick", tmp_path / "partial"
    stick.mkdir()
    source = open_source(f"file://{stick}")
    for number in range(PARTIALS_MAX + 3):
        data = bytes([number]) * 1000
        (stick / "image").mkdir(exist_ok=True)
        with pytest.raises(DownloadError):
            fetch(session(source, partial, bytes_max=10_000), data)
        (partial / target(data)[1]).write_bytes(data[:900])
    assert len(list(partial.iterdir())) == PARTIALS_MAX
    with pytest.raises(DownloadError):
        fetch(session(source, partial, bytes_max=2_900), b"z" * 1000)
    assert len(list(partial.iterdir())) == 3


@pytest.mark.parametrize("text", [
    "", "egt", "ftp://host/x", "http://", "http://host:x/", "http://host:0/", "http://u:p@host/tuf",
    "https://host/tuf?x=1", "https://host/#x", "file://host/x", "file:x", "file://x",
    "nats://host:4222/aero.v1.op.N1", "nats://u:p@host:4222/aero.v1.op", "nats://u:p@host/",
    "nats://u:p@host:4222/aero.v1.op.*", "nats://u:p@:4222/aero.v1.op.N1",
    "nats://u:p@host:99999/aero.v1.op.N1",
])  # fmt: skip
def test_a_text_that_names_no_source_is_a_mistake_of_configuration(text: str) -> None:
    with pytest.raises(ConfigError):
        open_source(text)
