"""`trinity explain`, `venues`, `udp` and `check` on a small mesh."""

from __future__ import annotations

import json

import pytest

from cli.processes import Trinity
from cli.small_mesh import SmallMesh
from trinity.feed.v1 import feed_pb2
from trinity.price.v1 import price_pb2


async def test_an_explanation_shows_every_input_its_weight_and_who_was_left_out_and_why(trinity: Trinity) -> None:
    done = await trinity("explain", "btc")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("BTC  67000.10 USD  FRESH  simulated")
    rows = {line.split()[0]: line for line in lines if line}
    assert "yes" in rows["coinbase"]
    assert "0.5" in rows["coinbase"].split()
    assert "outlier" in rows["okx"]
    assert "1.0001 USDT" in rows["okx"]
    assert "okx: 597.62 bps from the median" in done.stdout


async def test_an_explanation_of_no_price_says_why(trinity: Trinity) -> None:
    done = await trinity("explain", "SOL")
    assert done.exit_code == 0
    assert done.stdout.startswith("SOL  no price")
    assert "no venue gives a price" in done.stdout


async def test_an_explanation_in_json_is_the_contracts_document(trinity: Trinity) -> None:
    done = await trinity("explain", "BTC", "--json")
    document = json.loads(done.stdout)
    assert document["price"]["sandbox"] is True
    assert [one["exclusion"] for one in document["inputs"]] == ["EXCLUSION_UNSPECIFIED", "EXCLUSION_OUTLIER"]


async def test_an_unknown_asset_is_not_explained(trinity: Trinity) -> None:
    done = await trinity("explain", "BTX")
    assert done.exit_code == 3
    assert "did you mean" in done.stderr
    assert "BTC" in done.stderr


async def test_venues_are_listed_with_their_state_and_that_they_are_simulated(trinity: Trinity) -> None:
    done = await trinity("venues")
    assert done.exit_code == 0
    heading, coinbase, okx = done.stdout.splitlines()
    assert heading.split()[:4] == ["VENUE", "STATE", "FRESH", "OF"]
    assert coinbase.split()[:4] == ["coinbase", "LIVE", "118", "120"]
    assert "simulated" in coinbase
    assert "1 symbols refused" in okx


async def test_venues_in_json_keep_every_count(trinity: Trinity) -> None:
    done = await trinity("venues", "--json")
    document = json.loads(done.stdout)
    assert document["unreachable"] == []
    assert document["venues"][0]["ticks"] == "4000"
    assert document["venues"][0]["state"] == "CONNECTION_STATE_LIVE"


async def test_what_a_venue_says_is_not_obeyed_by_the_terminal(trinity: Trinity, mesh: SmallMesh) -> None:
    mesh.feeds.venues["okx"].detail = "notice \x1b[2J\r\x07"
    done = await trinity("venues")
    assert "okx: notice ?[2J??" in done.stdout


async def test_a_worker_that_is_gone_does_not_hide_the_others(trinity: Trinity, mesh: SmallMesh) -> None:
    mesh.write_ready(grpc={"feed": f"unix:/nowhere/f.sock,{mesh.ready['grpc']['feed']}"})
    done = await trinity("venues")
    assert done.exit_code == 5
    assert "coinbase  LIVE" in done.stdout
    assert "unix:/nowhere/f.sock" in done.stderr


async def test_no_worker_at_all_is_unreachable(trinity: Trinity) -> None:
    done = await trinity("venues", "--address", "unix:/nowhere/f.sock")
    assert (done.exit_code, done.stdout) == (5, "")
    assert "trinity up" in done.stderr


async def test_prices_come_over_udp_and_say_that_they_are_simulated(trinity: Trinity) -> None:
    done = await trinity("udp", "BTC", "eth")
    assert done.exit_code == 0
    first, second = (line.split() for line in done.stdout.splitlines())
    assert first[:4] == ["BTC", "67000.10", "FRESH", "2"]
    assert second[:2] == ["ETH", "3000.5"]
    assert first[-1] == second[-1] == "simulated"


async def test_udp_answers_in_json_have_the_names_of_the_contract(trinity: Trinity) -> None:
    done = await trinity("udp", "BTC", "NOPE", "--json")
    assert done.exit_code == 3
    first, second = json.loads(done.stdout)["results"]
    assert first["price"]["price"] == "67000.10"
    assert first["price"]["sandbox"] is True
    assert set(first["price"]) <= {field.json_name for field in price_pb2.Price.DESCRIPTOR.fields}
    assert second == {"asset": "NOPE", "error": {"reason": "UNKNOWN_ASSET", "message": "UNKNOWN_ASSET"}}


async def test_what_the_gateways_replica_lacks_is_asked_of_the_service(trinity: Trinity) -> None:
    done = await trinity("udp", "SOL")
    assert done.exit_code == 4
    assert "NO_PRICE" in done.stderr


async def test_nobody_at_the_udp_port_is_unreachable(trinity: Trinity, mesh: SmallMesh) -> None:
    await mesh.udp.close()
    done = await trinity("udp", "BTC", "--timeout", "50ms", "--tries", "2")
    assert done.exit_code == 5
    assert "trinity up" in done.stderr


@pytest.mark.parametrize("asset", ["B TC", "BTC,ETH", "BTC\nPING", "Ö", "A" * 17])
async def test_an_asset_that_is_none_is_never_sent(asset: str, trinity: Trinity, mesh: SmallMesh) -> None:
    done = await trinity("udp", asset)
    assert done.exit_code == 3
    assert mesh.udp.tally.received == 0


async def test_a_sane_mesh_passes_every_check(trinity: Trinity) -> None:
    done = await trinity("check")
    assert done.exit_code == 0, done.stdout
    assert done.stderr == ""
    rows = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert rows == ["processes", "price service", "price of BTC", "freshness", "feed worker 1", "venues", "http", "udp"]
    assert "simulated" in done.stdout
    assert "secret" not in done.stdout


async def test_the_checks_in_json_are_one_document(trinity: Trinity) -> None:
    done = await trinity("check", "--json")
    document = json.loads(done.stdout)
    assert document["ok"] is True
    assert all(one["ok"] for one in document["checks"])


async def test_a_price_that_is_not_fresh_fails_the_check(trinity: Trinity, mesh: SmallMesh) -> None:
    mesh.prices.set("BTC", "67000.10", state=price_pb2.STATE_DELAYED)
    done = await trinity("check")
    assert done.exit_code == 4
    assert "trinity explain BTC" in done.stderr


async def test_a_venue_that_is_down_fails_the_check_and_is_named(trinity: Trinity, mesh: SmallMesh) -> None:
    mesh.feeds.venues["okx"].state = feed_pb2.CONNECTION_STATE_BACKING_OFF
    done = await trinity("check")
    assert done.exit_code == 4
    assert "not live: okx" in done.stdout


async def test_a_service_that_does_not_serve_fails_the_check(trinity: Trinity, mesh: SmallMesh) -> None:
    await mesh.price_server.set_serving(serving=False)
    done = await trinity("check")
    assert done.exit_code == 4
    assert "NOT_SERVING" in done.stdout


async def test_a_process_that_is_gone_and_ports_that_are_dead_fail_the_check(trinity: Trinity, mesh: SmallMesh) -> None:
    mesh.write_ready(pids={"price": 2**22 - 1}, grpc={"price": "unix:/nowhere/p.sock"}, http="127.0.0.1:1")
    done = await trinity("check")
    assert done.exit_code == 5
    failed = [line.split("  ")[0] for line in done.stdout.splitlines() if "FAILED" in line]
    assert failed == ["processes", "price service", "price of BTC", "freshness", "http"]


async def test_a_mesh_is_alive_whatever_exchanges_and_services_say_and_not_when_a_process_or_a_port_is_gone(
    trinity: Trinity, mesh: SmallMesh
) -> None:
    mesh.prices.set("BTC", "67000.10", state=price_pb2.STATE_STALE)
    await mesh.price_server.set_serving(serving=False)
    assert (await trinity("check", "--alive")).exit_code == 0
    mesh.write_ready(pids={"price": 2**22 - 1}, http="127.0.0.1:1")
    done = await trinity("check", "--alive")
    assert done.exit_code == 5
    assert [line.split("  ")[0] for line in done.stdout.splitlines() if "FAILED" in line] == ["processes", "http"]
    assert (await trinity("check", "--alive", "--address", "127.0.0.1:1")).exit_code == 2


async def test_without_a_ready_file_the_check_says_so(trinity: Trinity) -> None:
    done = await trinity("check", "--ready-file", "/nowhere/ready.json")
    assert done.exit_code == 5
    assert "/nowhere/ready.json does not exist" in done.stdout
    assert "trinity up" in done.stderr


async def test_the_check_of_one_address_is_of_that_service_alone(trinity: Trinity, mesh: SmallMesh) -> None:
    done = await trinity("check", "--address", mesh.price_server.address, "--asset", "ETH")
    assert done.exit_code == 0
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == ["price service", "price of ETH", "freshness"]
