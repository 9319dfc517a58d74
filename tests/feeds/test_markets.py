"""Markets by every spelling: wanted ones, aliases, strangers of a replay, names in an error text."""

from __future__ import annotations

from trinity_feeds.markets import Market, Markets
from trinity_feeds.symbols import split


def market_of(symbol: str) -> tuple[str, str] | None:
    return split(symbol, "-")


def markets(*, replay: bool = False) -> Markets:
    wanted = [
        Market(symbol="BTC-USD", label="BTC-USD", asset="BTC", quote="USD"),
        Market(symbol="ETH-USDC", label="ETH-USD", asset="ETH", quote="USD"),
    ]
    return Markets(wanted, market_of=market_of, replay=replay)


def test_a_market_is_found_by_what_we_ask_for_and_by_what_its_data_says() -> None:
    found = markets()
    assert found["ETH-USDC"] is found["ETH-USD"] is not None
    assert found["BTC-USD"] is not found["ETH-USD"]


def test_what_is_not_wanted_is_none_and_not_remembered() -> None:
    found = markets()
    assert found["XRP-USD"] is None
    assert found[None] is None
    assert len(found) == 3


def test_a_replay_takes_strangers_in() -> None:
    found = markets(replay=True)
    stranger = found["XRP-EUR"]
    assert stranger is not None
    assert (stranger.asset, stranger.quote, stranger.label) == ("XRP", "EUR", "XRP-EUR")
    assert found["XRP-EUR"] is stranger
    assert found["BTC-USD-SWAP"] is None
    assert found[None] is None


def test_a_replay_remembers_a_bounded_number_of_strangers() -> None:
    found = markets(replay=True)
    for number in range(6_000):
        assert found[f"X{number}-USD"] is not None
    assert len(found) <= 4_096


def test_an_error_text_names_wanted_markets_only() -> None:
    found = markets()
    named = found.named_in(
        "channel:ticker,instId:BTC-USD doesn't exist; ETH-USDC@x, XRP-USD " + "y" * 5_000 + " ETH-USD"
    )
    assert [market.symbol for market in named] == ["BTC-USD", "ETH-USDC"]
    assert found.named_in("") == []
