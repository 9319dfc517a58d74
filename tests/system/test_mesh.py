"""One mesh of real processes, asked over every protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
import websockets
import websockets.exceptions
from grpc_health.v1 import health_pb2, health_pb2_grpc

from system.meshrun import Mesh, running_mesh, wait_until
from trinity.feed.v1 import feed_pb2, feed_service_pb2_grpc
from trinity.price.v1 import price_pb2, price_service_pb2_grpc
from trinity_client import PriceBook

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running_mesh(tmp_path_factory.mktemp("mesh")) as running:
        with running.http() as client:
            wait_until(lambda: client.get("/price", params={"asset": "BTC"}).status_code == 200)
        yield running


def details(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The details of a google.rpc.Status by the last word of their type."""
    return {detail["@type"].rpartition(".")[2]: detail for detail in body["details"]}


def test_the_ready_file_names_every_part(mesh: Mesh) -> None:
    facts = mesh.facts
    assert set(facts) >= {"http", "udp", "reports", "udp_reports", "grpc", "key", "admin_key", "pids"}
    assert facts["grpc"]["price"].startswith("unix:")
    stores, services = {"postgres", "valkey"}, {"price", "account", "usage", "report", "webhook", "webhook-worker"}
    assert stores | services | {"sandbox", "feeds", "sync", "gateway-1"} <= set(facts["pids"])
    assert mesh.ready_path.stat().st_mode & 0o077 == 0, "it holds a key"


def test_every_asset_gets_a_fresh_price_marked_as_simulated(mesh: Mesh) -> None:
    with mesh.http() as client:
        ids = [asset["asset"] for asset in client.get("/v1/assets").json()["assets"]]
        assert len(ids) == 150

        def all_fresh() -> bool:
            answer = client.get("/v1/prices:batchGet", params=[("assets", asset) for asset in ids]).json()
            prices = [result.get("price") for result in answer["results"]]
            return all(price and price["state"] == "STATE_FRESH" and price["sandbox"] for price in prices)

        wait_until(all_fresh)


def test_the_documented_path_and_the_versioned_one_give_the_same_price(mesh: Mesh) -> None:
    with mesh.http() as client:
        price = client.get("/price?asset=BTC")
        assert price.headers["content-type"].startswith("application/json")
        body = price.json()
        assert (body["asset"], body["quote"], body["sandbox"]) == ("BTC", "USD", True)
        assert Decimal(body["price"]) > 0
        assert body["sourceCount"] == len(body["sources"]) >= 3
        other = client.get("/v1/prices/btc").json()
        assert set(other) == set(body)


@pytest.mark.parametrize("method", ["median", "vwap", "primary"])
def test_the_callers_method_is_used(mesh: Mesh, method: str) -> None:
    with mesh.http() as client:
        body = client.get("/price", params={"asset": "ETH", "method": method}).json()
    assert body["method"] == f"METHOD_{method.upper()}"


def test_one_venues_own_price_can_be_asked_for(mesh: Mesh) -> None:
    with mesh.http() as client:
        body = client.get("/price", params={"asset": "BTC", "source": "kraken"}).json()
    assert body["sources"] == ["kraken"]
    assert body["failover"] is False


def test_an_unknown_asset_is_not_found_and_the_nearest_are_named(mesh: Mesh) -> None:
    with mesh.http() as client:
        answer = client.get("/price?asset=BTCC")
    assert answer.status_code == 404
    info = details(answer.json())["ErrorInfo"]
    assert info["reason"] == "UNKNOWN_ASSET"
    assert "BTC" in info["metadata"]["nearest"].split(",")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("asset=B%20T", "asset"),
        ("", "asset"),
        ("asset=BTC&quote=EUR", "quote"),
        ("asset=BTC&min_sources=7", "min_sources"),
        ("asset=BTC&min_sources=many", "min_sources"),
        ("asset=BTC&max_age=soon", "max_age"),
        ("asset=BTC&method=mean", "method"),
        ("asset=BTC&source=binance", "source"),
        ("asset=BTC&asset=ETH", "asset"),
        ("asset=BTC&colour=red", "colour"),
    ],
)
def test_a_malformed_parameter_is_refused_by_name(mesh: Mesh, query: str, field: str) -> None:
    with mesh.http() as client:
        answer = client.get(f"/price?{query}")
    assert answer.status_code == 400
    assert field in answer.json()["message"]


def test_the_operators_key_may_ask_for_prices_too(mesh: Mesh) -> None:
    with mesh.http() as client:
        answer = client.get("/price?asset=BTC", headers={"Authorization": f"Bearer {mesh.facts['admin_key']}"})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer", "Basic abc", "Bearer tbk_demo_x"])
def test_no_key_or_a_wrong_one_is_unauthenticated(mesh: Mesh, header: str | None) -> None:
    with mesh.http() as client:
        client.headers.pop("Authorization")
        answer = client.get("/price?asset=BTC", headers={"Authorization": header} if header else {})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert details(answer.json())["ErrorInfo"]["reason"] in {"MISSING_KEY", "INVALID_KEY"}


def test_a_stream_of_an_unknown_asset_is_refused_like_its_price(mesh: Mesh) -> None:
    with mesh.http() as client:
        answer = client.get("/v1/prices:watch?assets=BTC&assets=BTCC")
    assert answer.status_code == 404
    assert details(answer.json())["ErrorInfo"]["reason"] == "UNKNOWN_ASSET"


def test_what_cannot_be_met_is_unavailable_with_the_reason(mesh: Mesh) -> None:
    with mesh.http() as client:
        listed = client.get("/v1/assets").json()["assets"]
        rare = next(asset["asset"] for asset in listed if len(asset["listings"]) < 6)
        answer = client.get("/price", params={"asset": rare, "min_sources": 6})
    assert answer.status_code == 503
    info = details(answer.json())["ErrorInfo"]
    assert info["reason"] == "TOO_FEW_SOURCES"
    assert info["metadata"]["min_sources"] == "6"


def test_an_explanation_adds_up_to_the_price(mesh: Mesh) -> None:
    with mesh.http() as client:
        body = client.get("/v1/prices/SOL:explain").json()
    kept = sorted(Decimal(entry["valueUsd"]) for entry in body["inputs"] if entry["kept"])
    middle = len(kept) // 2
    expected = kept[middle] if len(kept) % 2 else (kept[middle - 1] + kept[middle]) / 2
    assert Decimal(body["price"]["price"]) == expected
    assert body["price"]["sourceCount"] == len(kept)
    converted = [entry for entry in body["inputs"] if entry["quote"] == "USDT" and entry["kept"]]
    assert converted
    for entry in converted:
        assert Decimal(entry["valueUsd"]) == Decimal(entry["value"]) * Decimal(entry["conversion"]["rate"])


def test_server_sent_events_open_with_a_snapshot_and_resume_where_they_ended(mesh: Mesh) -> None:
    def events(limit: int, **headers: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        params = [("assets", "BTC"), ("assets", "ETH")]
        with (
            mesh.http(Accept="text/event-stream", **headers) as client,
            client.stream("GET", "/v1/prices:watch", params=params) as answer,
        ):
            assert answer.status_code == 200
            event: dict[str, Any] = {}
            for line in answer.iter_lines():
                if line:
                    name, _, value = line.partition(":")
                    event[name] = value.removeprefix(" ")
                elif event:
                    found.append(event)
                    event = {}
                    if len(found) == limit:
                        return found
        return found

    first = [event for event in events(5) if "data" in event]
    opening = json.loads(first[0]["data"])
    assert opening["snapshot"] is True
    assert {price["asset"] for price in opening["prices"]} == {"BTC", "ETH"}
    last = next(event["id"] for event in reversed(first) if "id" in event)
    again = [json.loads(event["data"]) for event in events(3, **{"Last-Event-ID": last}) if "data" in event]
    seen = int(json.loads(first[-1]["data"])["sequence"])
    assert all(int(price["sequence"]) > 0 for batch in again for price in batch["prices"])
    assert int(again[-1]["sequence"]) >= seen


async def test_a_websocket_streams_prices(mesh: Mesh) -> None:
    url = f"ws://{mesh.facts['http']}/v1/prices:watch?assets=BTC"
    headers = {"Authorization": f"Bearer {mesh.key}"}
    async with websockets.connect(url, additional_headers=headers, proxy=None) as socket_:
        batch = json.loads(await socket_.recv())
        assert batch["snapshot"] is True
        assert [price["asset"] for price in batch["prices"]] == ["BTC"]


async def test_a_websocket_without_a_key_is_refused(mesh: Mesh) -> None:
    with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
        await websockets.connect(f"ws://{mesh.facts['http']}/v1/prices:watch", proxy=None)
    assert caught.value.response.status_code == 401


def ask(mesh: Mesh, datagram: bytes) -> bytes | None:
    host, _, port = mesh.facts["udp"].rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.sendto(datagram, (host, int(port)))
        try:
            return client.recv(2_048)
        except TimeoutError:
            return None


def test_a_text_datagram_is_answered_within_three_times_its_size(mesh: Mesh) -> None:
    answer = ask(mesh, b"GET BTC USD")
    assert answer is not None
    assert answer.startswith(b"OK")
    assert b"BTC" in answer
    assert len(answer) <= 33


@pytest.mark.parametrize("datagram", [b"\x00\x01\x02", b"\xff" * 100, b"GET", b"get btc\x00", b"\xf1" + b"\x00" * 60])
def test_a_bad_datagram_is_met_with_silence(mesh: Mesh, datagram: bytes) -> None:
    assert ask(mesh, datagram) is None
    assert ask(mesh, b"GET BTC USD"), "and it goes on"


async def test_the_book_of_a_python_customer_follows_the_mesh(mesh: Mesh) -> None:
    async with PriceBook(mesh.facts["grpc"]["price"]) as book, asyncio.timeout(30):
        await book.ready()
        view = book.get("BTC")
        assert view is not None
        async for change in book.changes(assets=["BTC"]):
            assert change.asset == "BTC"
            break


async def test_every_grpc_server_is_healthy(mesh: Mesh) -> None:
    assert set(mesh.facts["grpc"]) == {"price", "feed", "account", "usage", "report", "webhook"}
    for address in mesh.facts["grpc"].values():
        async with grpc.aio.insecure_channel(address) as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_all_six_venues_are_live_and_say_they_are_simulated(mesh: Mesh) -> None:
    async with grpc.aio.insecure_channel(mesh.facts["grpc"]["feed"]) as channel:
        stub = feed_service_pb2_grpc.FeedServiceStub(channel)
        venues = (await stub.ListVenues(feed_pb2.ListVenuesRequest())).venues
    assert [venue.venue for venue in venues] == sorted(["coinbase", "cryptocom", "gateio", "gemini", "kraken", "okx"])
    assert all(venue.sandbox and venue.state == feed_pb2.CONNECTION_STATE_LIVE for venue in venues)


async def test_a_grpc_caller_gets_the_same_errors(mesh: Mesh) -> None:
    async with grpc.aio.insecure_channel(mesh.facts["grpc"]["price"]) as channel:
        stub = price_service_pb2_grpc.PriceServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetPrice(price_pb2.GetPriceRequest(asset="NOPE"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_the_interface_describes_itself(mesh: Mesh) -> None:
    with mesh.http() as client:
        client.headers.pop("Authorization")
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 200
        assert client.get("/docs").status_code == 200
        document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert {"/price", "/v1/prices/{asset}", "/v1/assets", "/v1/prices:batchGet"} <= set(document["paths"])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("price", "BTC", "ETH", "--json"), 0),
        (("explain", "BTC", "--json"), 0),
        (("venues", "--json"), 0),
        (("check", "--json"), 0),
        (("udp", "BTC", "--json"), 0),
        (("price", "NOPE", "--json"), 3),
        (("price", "--method", "mean", "BTC"), 2),
    ],
)
def test_a_command_answers_and_its_exit_code_tells_how(mesh: Mesh, arguments: tuple[str, ...], code: int) -> None:
    done = mesh.cli(*arguments)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code == 0:
        json.loads(done.stdout)


def test_a_check_asks_every_part(mesh: Mesh) -> None:
    done = mesh.cli("check", "--json")
    checks = {one["check"]: one["ok"] for one in json.loads(done.stdout)["checks"]}
    services = {f"{name} service" for name in ("price", "account", "usage", "report", "webhook")}
    assert set(checks) >= services | {"http", "reports", "udp", "venues", "processes"}
    assert all(checks.values()), checks


@pytest.mark.parametrize("form", ["json", "csv", "tsv", "text"])
def test_usage_is_reported_in_every_form(mesh: Mesh, form: str) -> None:
    with mesh.http() as client:
        assert client.get("/price?asset=SOL").status_code == 200
        url = f"http://{mesh.facts['reports']}/reports/usage"
        answer = wait_until(
            lambda: (
                found
                if "GetPrice" in (found := client.get(url, params={"format": form, "assets": "SOL"})).text
                else None
            )
        )
    assert answer.status_code == 200
    assert "SOL" in answer.text


def test_totals_are_told_over_datagrams(mesh: Mesh) -> None:
    done = mesh.cli("udp", "--usage", "--json")
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)


@pytest.mark.parametrize("transport", ["http", "udp"])
def test_prices_are_pushed_verified_metered_and_reported(mesh: Mesh, tmp_path: Path, transport: str) -> None:
    secret = "whsec_" + base64.b64encode(bytes(range(32))).decode()
    ports = {"http": free_port(), "udp": free_port()}
    places = [word for name, port in ports.items() for word in (f"--{name}", f"127.0.0.1:{port}")]
    file = tmp_path / "received"
    with file.open("w") as received:
        listening = subprocess.Popen(
            [sys.executable, "-m", "trinity_cli.main", "webhook", "listen", *places, "--json"],
            stdout=received,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TRINITY_WEBHOOK_SECRET": secret},
        )
    try:
        # The port of datagrams is opened next, within the challenge's first retry.
        wait_until(lambda: listens(ports["http"]))
        with mesh.http() as client:
            wanted = {"endpoint": {"url": f"{transport}://127.0.0.1:{ports[transport]}"}, "secret": secret}
            made = client.post("/v1/webhooks/endpoints", json=wanted)
            assert made.status_code == 200, made.text
            endpoint = made.json()["endpoint"]["endpoint"]
            rule = {"assets": ["BTC"], "interval": {"interval": "0.2s"}}
            subscribed = client.post(f"/v1/webhooks/endpoints/{endpoint}/subscriptions", json=rule)
            assert subscribed.status_code == 200, subscribed.text
            wait_until(lambda: file.read_text().count('"price.tick"') >= 3)
            url = f"http://{mesh.facts['reports']}/reports/summary"
            asked = {"methods": "PushTick", "transports": transport}
            wait_until(lambda: int(client.get(url, params=asked).json()["billed"]) >= 3)
            assert client.delete(f"/v1/webhooks/endpoints/{endpoint}").status_code == 200
            refused = client.post("/v1/webhooks/endpoints", json={"endpoint": {"url": "https://10.0.0.1/"}})
            assert refused.status_code == 400, refused.text
    finally:
        listening.terminate()
        listening.wait(20)
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert all(each["genuine"] for each in records)
    assert {"webhook.challenge", "price.tick"} <= {each["type"] for each in records}
    if transport == "udp":
        numbers = [each["number"] for each in records if each["type"] == "price.tick"]
        assert numbers == sorted(numbers)
        assert "heartbeat" in {each["type"] for each in records}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_keys_never_reach_a_log(mesh: Mesh) -> None:
    logs = list((mesh.data_dir / "logs").glob("*"))
    assert logs
    for secret in (mesh.key[-40:], mesh.facts["admin_key"][-40:]):
        for log in logs:
            assert secret not in log.read_text(errors="replace"), log.name
