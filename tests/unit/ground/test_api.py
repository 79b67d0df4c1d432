"""The api over a real ledger, without a broker."""

import base64
import json
import warnings
from pathlib import Path

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # starlette's client warns of its own dependencies
    from fastapi.testclient import TestClient

from ground.__main__ import main
from ground.api.flights import _kpi
from ground.api.server import make_app
from ground.api.twins import _alerts
from ground.config import Paths, load_config
from ground.lake.query import Telemetry
from ground.lake.records import iso
from ground.twins.control import Control
from shared.block import encode_block
from shared.identity import verify
from shared.messages import Alert, Audit, Kpi, KpiSeries, Report, Snapshot, State, encode
from tests.unit.ground.stores import Store
from tests.unit.ground.synthetic import (
    FLIGHT,
    OPERATOR,
    SET_TEXT,
    T0_NS,
    TAIL,
    Tail,
    make_block,
    sha256,
    truth,
)
from tests.unit.ground.test_versions import version

S = 1_000_000_000
FILES = {"text/plain", "text/html", "application/pdf"}
TWIN = f"/v1/twins/{TAIL}"


def alert(change: str, onset_s: int, identity: str = "a1", signal: str = "EGT") -> bytes:
    return encode(Alert(
        id=identity, name="egt_deviation", fault_code="77-1", change=change,  # type: ignore[arg-type]
        severity="caution", onset_ns=T0_NS + onset_s * S,
        clear_ns=T0_NS + 90 * S if change == "clear" else None, signal=signal, unit="Cel",
        value=12.5, threshold=10.0, esn="E2", trigger=("engine", 30),
    ))  # fmt: skip


def state() -> bytes:
    return encode(State(
        phase="cruise", confidence="high", gate_open=False, gate_reasons=["airborne"], link="air",
        slot="a", bundles=["egt-1-abc"], alerts=["egt_deviation E2"], worker="ok", boot=3,
        outbox_records=7, outbox_bytes=900, oldest_unsafe_ns=T0_NS, esns=["E1", "E2"],
    ))  # fmt: skip


def fill(store: Store, tail: Tail) -> None:
    first = encode(Audit(previous=b"", kind="gate", decision="shut"))
    refused = Audit(previous=sha256(first), kind="update", decision="refused", subject="egt-2",
                    phase="cruise", reasons=["wow_left is air"])  # fmt: skip
    forged = Audit(previous=b"x" * 32, kind="update", decision="activated", subject="egt-2")
    kpi = Kpi(bundle="egt-1", t0_ns=T0_NS, step_s=1.0, series=[
        KpiSeries(name="EGT", esn="E1", unit="Cel", lsb=0.5, measured=[4, None], predicted=[2, 6])
    ])  # fmt: skip
    values = {"EGT": (1.0, 2.0, 3.0, 4), "SIDE_STICK": (0.0, 0.0, 0.0, 1)}
    report = Report(name="takeoff", phase="takeoff", start_ns=T0_NS, end_ns=T0_NS + S,
                    values=values)  # fmt: skip
    parts = [encode_block(make_block("engine", first, 10)) for first in (0, 10)] + [
        b"TTB1 no block"
    ]
    snapshots = [
        encode(Snapshot(alert="a1-5", group="engine", part=i, block=part))
        for i, part in enumerate(parts)
    ]
    store.put(
        tail,
        tail.signal_set(),
        *(tail.record("report", part, schema="snapshot/1") for part in snapshots),
        *(tail.block("engine", 30 * i, 30) for i in range(10)),
        tail.record("alert", alert("onset", 30)),
        tail.record("alert", alert("onset", 60, "a2", "SIDE_STICK"), t_ns=T0_NS + 1),
        tail.record("alert", alert("clear", 30), t_ns=T0_NS + 2),
        tail.record("state", state(), t_ns=T0_NS + 5),
        tail.record("state", state()[:-1], t_ns=T0_NS + 9),
        tail.record("audit", first),
        tail.record("audit", encode(refused), t_ns=T0_NS + 3),
        tail.record("audit", encode(forged), t_ns=T0_NS + 4),
        tail.record("kpi", encode(kpi)),
        tail.record("report", encode(report)),
        version(tail, 7),
        version(tail, 6),
        tail.manifest(),
    )
    store.close_due()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("api")
    paths, tail = Paths(root / "ground"), Tail()
    assert main(["init", "--state", str(paths.state), "--operator", OPERATOR]) == 0
    (root / "tail.toml").write_text(
        f'operator = "{OPERATOR}"\ntail = "{TAIL}"\ntype = "B737-800"\nregistration = "D-TEST"\n'
        '[[engines]]\nposition = 1\nesn = "E1"\npart_number = "CFM56"\n'
    )
    (root / "tail.pub").write_text(tail.signer.public.hex())
    arguments = ["--tail-file", root / "tail.toml", "--device-pub", root / "tail.pub"]
    assert main(["enroll", "--state", str(paths.state), *map(str, arguments),
                 "--out", str(root / "out.toml")]) == 0  # fmt: skip
    store = Store(root / "fed")
    fill(store, tail)
    store.close()
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        source = root / "fed" / name
        (paths.state / name).unlink(missing_ok=True)
        if source.exists():
            source.rename(paths.state / name)
    for path in (root / "fed" / "segments").iterdir():
        path.rename(paths.segments / path.name)
    for part in ("image/metadata", "image/targets", "director/metadata", "drafts"):
        (root / "tuf" / part).mkdir(parents=True)
    for repository in ("image", "director"):
        (root / "tuf" / repository / "metadata" / "1.root.json").write_text(repository)
    (root / "tuf" / "image" / "targets" / "bundle.tar.zst").write_bytes(bytes(range(256)))
    for name in ("secret.key", "image/secret.key", "drafts/2.root.json"):
        (root / "tuf" / name).write_text("private")
    (root / "tuf" / "image" / "targets" / "link").symlink_to(root / "tuf" / "secret.key")
    return root


@pytest.fixture(scope="module")
def client(folder: Path) -> TestClient:
    paths = Paths(folder / "ground")
    app = make_app(paths, load_config(paths), folder / "tuf")
    # Not entered: without its lifespan the app joins no broker.
    return TestClient(app, raise_server_exceptions=False)


def get(client: TestClient, path: str, status: int = 200) -> dict:  # type: ignore[type-arg]
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert body["status"] == status
        assert {"type", "title", "detail", "instance"} <= set(body)
    found: dict = answer.json()  # type: ignore[type-arg]
    return found


def test_twins_say_what_is_enrolled(client: TestClient) -> None:
    twin = get(client, "/v1/twins")["items"][0]
    assert (twin["tail"], twin["registration"]) == (TAIL, "D-TEST")
    assert twin["engines"] == [{"position": 1, "esn": "E1", "part_number": "CFM56"}]
    assert get(client, TWIN) == twin
    get(client, "/v1/twins/NOBODY", 404)
    get(client, "/v1/twins/a%20b", 400)


def test_the_gate_has_its_own_trail(client: TestClient) -> None:
    assert [item["decision"] for item in get(client, f"{TWIN}/gate")["items"]] == ["shut"]
    assert {item["decision"] for item in get(client, f"{TWIN}/updates")["items"]} != {"shut"}


def test_version_says_what_runs_and_which_reports_do_not_count(client: TestClient) -> None:
    answer = get(client, f"{TWIN}/version")
    runs = answer["runs"]
    assert (runs["counter"], runs["set_id"], runs["probation"]) == (7, "5e" * 8, True)
    assert (runs["t"], runs["t_aboard"]) == (iso(T0_NS), iso(T0_NS + S))
    assert [(b["name"], b["muted"]) for b in runs["bundles"]] == [("egt", ""), ("oil", "too hot")]
    assert runs["refusals"][0]["t"] == iso(T0_NS)
    assert [(x["reason"], x["detail"]) for x in answer["refused"]] == [
        ("late", "report 6 comes after 7")
    ]
    assert get(client, TWIN)["runs"] == {
        "set_id": "5e" * 8, "bundles": ["egt 2", "oil 1"], "probation": True, "muted": ["oil"],
        "t": iso(T0_NS),
    }  # fmt: skip
    get(client, "/v1/twins/NOBODY/version", 404)


def test_state_has_the_newest_sound_state_and_last_values(client: TestClient) -> None:
    answer = get(client, f"{TWIN}/state")
    assert answer["t"] == iso(T0_NS + 5)
    assert answer["aboard"]["phase"] == "cruise"
    assert answer["aboard"]["oldest_unsafe"] == iso(T0_NS)
    real = truth([make_block("engine", 270, 30)], "EGT")
    value = answer["values"]["EGT"]
    assert value["t"] == iso(int(real.t_ns[-1]))
    assert value["value"] == (real.value[-1] if real.used[-1] else None)


def test_confidential_signals_do_not_leave(client: TestClient) -> None:
    assert "SIDE_STICK" not in get(client, f"{TWIN}/state")["values"]
    names = [item["name"] for item in get(client, f"{TWIN}/signals")["items"]]
    assert names == ["EGT", "N1", "HPT_X", "ALT"]
    query = f"start={T0_NS}&end={T0_NS + S}"
    get(client, f"{TWIN}/telemetry?signals=EGT,SIDE_STICK&{query}", 403)
    report = get(client, f"/v1/flights/{FLIGHT}/reports")["items"][0]
    assert report["values"] == {"EGT": {"min": 1.0, "mean": 2.0, "max": 3.0, "n": 4}}
    hidden = get(client, f"{TWIN}/alerts")["items"][0]
    assert (hidden["signal"], hidden["value"], hidden["threshold"]) == ("SIDE_STICK", None, None)


def test_telemetry_is_raw_when_few_and_buckets_when_many(client: TestClient) -> None:
    real = truth([make_block("engine", 30 * i, 30) for i in range(10)], "EGT")
    query = f"{TWIN}/telemetry?signals=EGT,N1&start={iso(T0_NS)}&end={T0_NS + 300 * S}"
    raw = get(client, f"{query}&points=300")["series"][0]
    assert raw["mode"] == "raw"
    assert raw["t"] == [iso(int(t)) for t in real.t_ns]
    assert raw["value"] == [v if u else None for v, u in zip(real.value, real.used, strict=True)]
    assert "min" not in raw
    buckets = get(client, f"{query}&points=10")["series"][0]
    assert buckets["mode"] == "buckets"
    assert buckets["t"] == [iso(T0_NS + i * 30 * S) for i in range(10)]
    value = np.where(real.used, real.value, np.nan).reshape(10, 30)
    np.testing.assert_allclose(buckets["mean"], np.nanmean(value, axis=1))
    np.testing.assert_allclose(buckets["max"], np.nanmax(value, axis=1))
    assert buckets["n"] == (~np.isnan(value)).sum(axis=1).tolist()


@pytest.mark.parametrize(
    "query",
    [
        "signals=EGT", "signals=&start=1&end=2", "signals=NOPE&start=1&end=2",
        "signals=EGT&start=2&end=1", "signals=EGT&start=yesterday&end=2",
        "signals=EGT&start=2026-13-01T00:00:00Z&end=2", "signals=EGT&start=1&end=2&points=0",
        "signals=EGT&start=1&end=2&points=10001", "signals=EGT&start=1&end=99999999999999999999",
        "signals=EGT,EGT&start=1&end=2", "signals=EGT&start=2026-01-01T00:00:00&end=2",
        "signals=" + ",".join(f"S{i}" for i in range(33)) + "&start=1&end=2",
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_a_problem_that_names_it(client: TestClient, query: str) -> None:
    assert get(client, f"{TWIN}/telemetry?{query}", 400)["detail"]


def test_an_offset_time_is_understood(client: TestClient) -> None:
    zulu = get(client, f"{TWIN}/telemetry?signals=EGT&start=2025-10-09T08:53:20Z&end={T0_NS + S}")
    offset = get(
        client,
        f"{TWIN}/telemetry?signals=EGT&start=2025-10-09T10:53:20.000%2B02:00&end={T0_NS + S}",
    )
    assert zulu == offset
    assert zulu["start"] == iso(T0_NS)


def test_alerts_are_instances_folded_from_their_changes(client: TestClient) -> None:
    items = get(client, f"{TWIN}/alerts")["items"]
    assert [(item["id"], item["standing"]) for item in items] == [("a2", True), ("a1", False)]
    assert items[1]["clear"] == iso(T0_NS + 90 * S)
    assert (items[1]["trigger_group"], items[1]["trigger_counter"]) == ("engine", 30)
    assert [i["id"] for i in get(client, f"{TWIN}/alerts?standing=true")["items"]] == ["a2"]


def test_updates_show_decisions_and_whether_they_are_chained(client: TestClient) -> None:
    items = get(client, f"{TWIN}/updates")["items"]
    assert [(item["decision"], item["chained"]) for item in items] == [
        ("activated", False), ("refused", True)
    ]  # fmt: skip
    assert items[1]["reasons"] == ["wow_left is air"]


def test_flights_manifest_and_closure_agree_and_verify(client: TestClient, folder: Path) -> None:
    flight = get(client, f"{TWIN}/flights")["items"][0]
    assert flight == get(client, f"/v1/flights/{FLIGHT}")
    assert (flight["flight"], flight["state"], flight["revision"]) == (FLIGHT, "complete", 1)
    manifest = get(client, f"/v1/flights/{FLIGHT}/manifest")
    closure = get(client, f"/v1/flights/{FLIGHT}/closure")
    assert closure["manifest_sha256"] == manifest["sha256"]
    assert closure["gaps"] == []
    assert manifest["oooi"] == {"out": iso(T0_NS), "off": None, "on": None, "in": None}
    device = Control.open(Paths(folder / "ground").control).device_keys()[TAIL]
    body = verify("manifest", base64.b64decode(manifest["signed"]), device, "test")
    assert sha256(body).hex() == manifest["sha256"]
    get(client, "/v1/flights/NONE-F00001/closure", 404)


def test_kpi_come_in_their_unit(client: TestClient) -> None:
    series = get(client, f"/v1/flights/{FLIGHT}/kpi")["items"][0]["series"][0]
    assert (series["measured"], series["predicted"]) == ([2.0, None], [1.0, 3.0])


def test_before_the_first_block_and_the_first_set_confidential_values_stay_hidden(
    store: Store, tail: Tail
) -> None:
    telemetry = Telemetry(store.records)
    store.put(tail, tail.record("alert", alert("onset", 1)))
    assert telemetry.open_signals(TAIL) == set()
    assert _alerts(store.records, TAIL, telemetry)[0].value is None
    store.put(tail, tail.signal_set())  # no block yet: an aircraft in flight sends none
    assert telemetry.open_signals(TAIL) == {"EGT", "N1", "HPT_X", "ALT"}
    assert _alerts(store.records, TAIL, telemetry)[0].value == 12.5


def test_a_set_that_opens_a_confidential_signal_opens_nothing(store: Store, tail: Tail) -> None:
    store.put(tail, tail.signal_set())
    opened = SET_TEXT.replace(b', confidentiality = "fdm"', b"")
    store.put(tail, tail.record("state", opened, schema="signal-set/1"))
    assert "SIDE_STICK" not in Telemetry(store.records).open_signals(TAIL)


def test_kpi_of_a_confidential_signal_do_not_leave() -> None:
    series = [KpiSeries(name=name, esn="", unit="1", lsb=1.0, measured=[5], predicted=[4])
              for name in ("SIDE_STICK", "EGT")]  # fmt: skip
    item = _kpi(Kpi(bundle="b", t0_ns=1, step_s=1.0, series=series), {"SIDE_STICK"})
    assert [one.name for one in item.series] == ["EGT"]


def test_without_a_broker_it_lives_but_is_not_ready(client: TestClient) -> None:
    assert client.get("/healthz").status_code == 200
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {
        "ingest": "broker: not connected",
        "ledger": "ok",
        "control": "ok",
    }
    assert "tailtwin_ingest_up 0" in client.get("/metrics").text


def test_tuf_serves_what_the_two_repositories_publish_and_nothing_else(client: TestClient) -> None:
    for repository in ("image", "director"):
        assert client.get(f"/tuf/{repository}/metadata/1.root.json").text == repository
    part = client.get("/tuf/image/targets/bundle.tar.zst", headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    for path in ("secret.key", "image/secret.key", "image/targets/../secret.key", "drafts/2.root.json",
                 "image/targets/%2e%2e/secret.key", "image/targets/..%2fsecret.key",
                 "image/targets/link", "image/targets/", "image/metadata/none.json",
                 "director/targets/x", "time/N1.json"):  # fmt: skip
        assert client.get(f"/tuf/{path}").status_code == 404, path
    assert client.post("/tuf/image/metadata/1.root.json").status_code == 405


def test_every_operation_of_openapi_says_what_it_answers(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["description"], path
            good = next(v for k, v in operation["responses"].items() if k.startswith("2"))
            content = good["content"]
            schema = content.get("application/json", {}).get("schema", {})
            assert schema or content.keys() & FILES, path
    assert json.dumps(document)


def test_a_snapshot_shows_the_readings_around_its_alert_but_no_confidential_signal(
    client: TestClient,
) -> None:
    found = get(client, f"/v1/flights/{FLIGHT}/snapshots/a1-5")
    assert found["unreadable"] == 1
    shown = {one["signal"]: one for one in found["series"]}
    assert "EGT" in shown and "SIDE_STICK" not in shown
    assert len(shown["EGT"]["t"]) == len(shown["EGT"]["value"]) == 20
    get(client, f"/v1/flights/{FLIGHT}/snapshots/a1-6", 404)
