"""`trinity price`: prices and errors, for people and for programs."""

from __future__ import annotations

import json

import pytest

from cli.processes import Trinity
from cli.small_mesh import SmallMesh
from trinity.price.v1 import price_pb2


async def test_a_price_is_one_line_that_says_it_is_simulated(trinity: Trinity) -> None:
    done = await trinity("price", "BTC")
    assert done.exit_code == 0
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    words = line.split()
    assert words[:3] == ["BTC", "67000.10", "FRESH"]
    assert words[-1] == "simulated"


async def test_a_market_price_says_nothing_of_the_kind(trinity: Trinity, mesh: SmallMesh) -> None:
    mesh.prices.set("BTC", "67001.5", sandbox=False)
    done = await trinity("price", "btc")
    assert done.stdout.startswith("BTC  67001.5")
    assert "simulated" not in done.stdout


async def test_several_prices_stand_in_the_order_asked(trinity: Trinity) -> None:
    done = await trinity("price", "ETH", "BTC")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ETH", "BTC"]


async def test_json_is_one_document_in_the_form_of_the_contract(trinity: Trinity) -> None:
    done = await trinity("price", "BTC", "--json")
    (result,) = json.loads(done.stdout)["results"]
    assert result["asset"] == "BTC"
    assert result["price"]["price"] == "67000.10"
    assert result["price"]["state"] == "STATE_FRESH"
    assert result["price"]["sandbox"] is True
    assert result["price"]["failover"] is False


async def test_an_unknown_asset_names_the_nearest_and_does_not_cost_the_others(trinity: Trinity) -> None:
    done = await trinity("price", "BTC", "BTX")
    assert done.exit_code == 3
    assert done.stdout.startswith("BTC")
    assert "BTX" in done.stderr
    assert "did you mean" in done.stderr
    assert "BTC" in done.stderr


async def test_an_unknown_asset_is_an_error_object_in_json(trinity: Trinity) -> None:
    done = await trinity("price", "BTX", "BTC", "--json")
    assert done.exit_code == 3
    first, second = json.loads(done.stdout)["results"]
    assert first["error"]["details"][0]["reason"] == "UNKNOWN_ASSET"
    assert "price" in second


async def test_no_price_has_its_own_exit_code(trinity: Trinity) -> None:
    done = await trinity("price", "SOL")
    assert (done.exit_code, done.stdout) == (4, "")
    assert "no venue gives a price of SOL" in done.stderr


async def test_what_the_caller_demands_reaches_the_service(trinity: Trinity, mesh: SmallMesh) -> None:
    done = await trinity("price", "BTC", "--max-age", "1.5s", "--min-sources", "2", "--method", "vwap")
    assert done.exit_code == 0
    asked = mesh.prices.asked[-1]
    assert asked.max_age.ToMilliseconds() == 1_500
    assert (asked.min_sources, asked.method) == (2, price_pb2.METHOD_VWAP)
    await trinity("price", "BTC", "--source", "kraken")
    assert mesh.prices.asked[-1].source == "kraken"


async def test_too_few_sources_is_an_answer_of_its_own(trinity: Trinity) -> None:
    done = await trinity("price", "BTC", "--min-sources", "5")
    assert done.exit_code == 4
    assert "2 venues" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["price"],
        ["price", "BTC", "--method", "mean"],
        ["price", "BTC", "--source", "nasdaq"],
        ["price", "BTC", "--max-age", "soon"],
        ["price", "BTC", "--max-age", "0s"],
        ["price", "BTC", "--max-age", "25h"],
        ["price", "BTC", "--min-sources", "7"],
        ["price", "BTC", "--method", "vwap", "--source", "okx"],
        ["price", *["BTC"] * 201],
        ["price", "BTC", "--address", ","],
        ["price", "BTC", "--nonsense"],
        ["nonsense"],
    ],
)
async def test_wrong_usage_is_exit_code_two_and_asks_nobody(
    arguments: list[str], trinity: Trinity, mesh: SmallMesh
) -> None:
    done = await trinity(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "Error:" in done.stderr
    assert mesh.prices.asked == []


async def test_an_address_on_the_command_line_wins_over_the_ready_file(trinity: Trinity, mesh: SmallMesh) -> None:
    mesh.write_ready(grpc={"price": "unix:/nowhere/price.sock"})
    done = await trinity("price", "BTC", "--address", mesh.price_server.address)
    assert done.exit_code == 0


async def test_a_mesh_that_is_gone_is_unreachable_and_the_message_says_what_to_do(
    trinity: Trinity, mesh: SmallMesh
) -> None:
    mesh.write_ready(grpc={"price": "unix:/nowhere/price.sock"})
    done = await trinity("price", "BTC")
    assert done.exit_code == 5
    assert "unix:/nowhere/price.sock" in done.stderr
    assert "trinity up" in done.stderr
    assert "Traceback" not in done.stderr
