"""Sight of a whole mesh: metrics, CloudWatch's lines, `trinity top`, logs and traces of real processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from system.meshrun import Mesh, running_mesh, wait_until
from telemetry.emf_rules import check_line

pytestmark = pytest.mark.timeout(240)

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("sight")
    environ = {
        "TRINITY_TELEMETRY_EMF": str(folder / "emf.log"),
        "TRINITY_TELEMETRY_EMF_PERIOD_S": "1",
        "TRINITY_TELEMETRY_TRACES_EXPORTER": "file",
        "TRINITY_TELEMETRY_TRACES_FILE": str(folder / "spans.log"),
        "TRINITY_TELEMETRY_TRACES_RATIO": "0.05",
    }
    with running_mesh(folder, environ=environ) as running:
        yield running


def series(mesh: Mesh, name: str, **labels: str) -> float:
    text = httpx.get(f"http://{mesh.facts['metrics']}/metrics", timeout=20, trust_env=False).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and all(sample.labels.get(label) == value for label, value in labels.items())
    )


def reports(mesh: Mesh, path: str, **headers: str) -> httpx.Response:
    url = f"http://{mesh.facts['reports']}{path}"
    return httpx.get(url, headers={"Authorization": f"Bearer {mesh.key}", **headers}, timeout=20, trust_env=False)


def spans(mesh: Mesh) -> list[dict[str, Any]]:
    path = mesh.data_dir.parent / "spans.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def entries(mesh: Mesh) -> list[dict[str, Any]]:
    path = mesh.data_dir.parent / "emf.log"
    now_ms = int(time.time() * 1_000)
    return [check_line(line, now_ms=now_ms) for line in path.read_bytes().splitlines()] if path.exists() else []


def test_answers_of_every_way_in_are_in_the_metrics(mesh: Mesh) -> None:
    with mesh.http() as client:
        for _ in range(10):
            assert client.get("/price?asset=BTC").status_code == 200
        assert client.get("/price?asset=ETH&method=vwap").status_code == 200
        assert client.get("/price?asset=NOPE").status_code == 404
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        host, _, port = mesh.facts["udp"].rpartition(":")
        asking.settimeout(20)
        asking.connect((host, int(port)))
        asking.send(b"GET BTC\n")
        assert asking.recv(2_048)
    assert series(mesh, "trinity_lpo_requests_total") >= 13
    assert series(mesh, "trinity_http_lane_answers_total") >= 10
    assert series(mesh, "trinity_answers_total", transport="http", asset="BTC", outcome="local") >= 10
    assert series(mesh, "trinity_answers_total", transport="udp", asset="BTC") >= 1
    assert series(mesh, "trinity_lpo_errors_total") >= 1
    assert series(mesh, "trinity_lpo_requests_by_asset_total", asset="ETH") >= 1
    assert series(mesh, "trinity_udp_received_total", port="udp") >= 1
    served = {"grpc_method": "trinity.price.v1.PriceService/GetPrice", "grpc_status": "OK"}
    assert series(mesh, "grpc_server_call_duration_seconds_count", process="price", **served) >= 1
    assert series(mesh, "grpc_client_attempt_duration_seconds_count", process="gateway-1", **served) >= 1
    assert series(mesh, "http_server_request_duration_seconds_count", http_response_status_code="404") >= 1
    wait_until(lambda: series(mesh, "trinity_lpo_requests_by_source_total", source="kraken") >= 1)


def test_every_process_is_told_of_and_every_venue(mesh: Mesh) -> None:
    names = set(mesh.facts["pids"]) - {"up", "postgres", "valkey"}
    for name in names:
        assert series(mesh, "trinity_process_up", part=name) == 1, name
        assert series(mesh, "process_resident_memory_bytes", process=name) > 0 or not sys.platform.startswith("linux")
    for venue in ("coinbase", "gemini", "kraken", "gateio", "cryptocom", "okx"):
        wait_until(lambda name=venue: series(mesh, "trinity_venue_state", venue=name, state="live") == 1)
        assert series(mesh, "trinity_venue_ticks_total", venue=venue) > 0
    assert series(mesh, "trinity_book_prices", state="fresh") > 100


def test_cloudwatch_is_told_of_both_ports_by_lines_that_keep_its_rules(mesh: Mesh) -> None:
    for form in ("json", "csv", "tsv", "text"):
        assert reports(mesh, f"/reports/usage?format={form}").status_code == 200
    assert reports(mesh, "/reports/summary").status_code == 200

    def total(namespace: str, name: str) -> float:
        return sum(
            root[name]
            for root in entries(mesh)
            if root["_aws"]["CloudWatchMetrics"][0]["Namespace"] == namespace and name in root
        )

    wait_until(lambda: total("TrinityBeast/LRS", "SummaryRequests") >= 1)
    for name in ("FormatJSON", "FormatCSV", "FormatTSV", "FormatText", "UsageRequests", "AvgLatencyMs"):
        assert total("TrinityBeast/LRS", name) > 0, name
    with mesh.http() as client:
        assert client.get("/price?asset=BTC").status_code == 200
    wait_until(lambda: total("TrinityBeast/LPO", "Requests") >= 1)
    wait_until(lambda: total("TrinityBeast/LPO", "RequestsByAsset") >= 1)
    assert total("TrinityBeast/LPO", "CacheHitRate") > 0


def test_top_shows_services_lanes_and_venues(mesh: Mesh) -> None:
    done = mesh.cli("top", "--once", "--json", "--interval", "0.5")
    assert done.returncode == 0, done.stderr
    board = json.loads(done.stdout)
    services = {each["name"]: each for each in board["services"]}
    assert {"up", "feeds", "price", "gateway-1", "webhook-worker"} <= set(services)
    assert all(each["up"] for each in services.values())
    assert {each["name"] for each in board["venues"]} == {
        *("coinbase", "gemini", "kraken", "gateio", "cryptocom", "okx")
    }
    assert "http fast lane" in {each["name"] for each in board["lanes"]}
    done = mesh.cli("top", "--once", "--interval", "0.5")
    assert done.returncode == 0, done.stderr
    for word in ("services", "lanes", "venues", "gateway-1", "kraken", "http fast lane"):
        assert word in done.stdout


def test_a_request_is_one_trace_from_http_over_grpc_to_the_store(mesh: Mesh) -> None:
    answer = reports(mesh, "/reports/usage", traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
    assert answer.status_code == 200

    def kinds() -> set[tuple[str, str]]:
        return {(span["service"], span["kind"]) for span in spans(mesh) if span["trace_id"] == TRACE}

    wait_until(lambda: len(kinds()) >= 4)
    assert kinds() >= {
        ("trinity.gateway", "SERVER"),
        ("trinity.gateway", "CLIENT"),
        ("trinity.report", "SERVER"),
        ("trinity.report", "INTERNAL"),
    }
    mine = [span for span in spans(mesh) if span["trace_id"] == TRACE]
    assert {"postgresql", "valkey"} & {span["name"] for span in mine}
    [first] = [span for span in mine if span["kind"] == "SERVER" and span["service"] == "trinity.gateway"]
    assert first["parent_id"] == "b7ad6b7169203331"
    assert first["name"] == "/reports/usage"


def test_a_sampled_tick_is_one_trace_from_the_feed_worker_to_the_gateways_replica(mesh: Mesh) -> None:
    def whole() -> bool:
        by_trace: dict[str, set[tuple[str, str]]] = {}
        for span in spans(mesh):
            by_trace.setdefault(span["trace_id"], set()).add((span["service"], span["name"]))
        way = {("trinity.feeds", "tick"), ("trinity.price", "book.apply"), ("trinity.gateway", "replica.apply")}
        return any(way <= found for found in by_trace.values())

    wait_until(whole)


def test_no_key_and_no_secret_is_in_metrics_traces_logs_or_cloudwatchs_lines(mesh: Mesh) -> None:
    secret = mesh.key.rsplit("_", 1)[1]
    with mesh.http(traceparent=f"00-{TRACE}-b7ad6b7169203331-01") as client:
        assert client.get(f"/price?asset={mesh.key}").status_code >= 400
        assert client.get(f"/{mesh.key}").status_code == 404
        assert client.get("/price?asset=BTC", headers={"x-request-id": mesh.key}).status_code == 200
    folder = mesh.data_dir.parent
    places = {path: path.read_bytes() for path in [folder / "emf.log", folder / "spans.log"]}
    places |= {path: path.read_bytes() for path in (mesh.data_dir / "logs").iterdir()}
    places[Path("metrics")] = httpx.get(f"http://{mesh.facts['metrics']}/metrics", timeout=20, trust_env=False).content
    assert len(places) > 10
    for path, data in places.items():
        assert secret[:12].encode() not in data, path


def test_every_log_line_of_a_process_is_a_json_object_with_its_service(mesh: Mesh) -> None:
    for name in ("gateway-1", "price", "feeds"):
        lines = (mesh.data_dir / "logs" / f"{name}.log").read_text().splitlines()
        told = [json.loads(line) for line in lines if not line.startswith("-- ")]
        assert told
        assert all({"time", "level", "service", "message"} <= set(line) for line in told)


def test_a_wrong_setting_of_sight_ends_the_start_with_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trinity_cli.main", "up", "--data-dir", str(tmp_path / "data"), "--http-port", "0"],
        env={**os.environ, "TRINITY_TELEMETRY_TRACES_RATIO": "2"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 4
    assert "traces.ratio" in done.stderr
