"""The generator of the sandbox: deterministic, plausible, and never quiet for long."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trinity_core.assets import load_assets
from trinity_core.errors import TrinityError
from trinity_core.venues import Venue
from trinity_feeds.sandbox.market import MarketDrive
from trinity_feeds.sandbox.quotes import Quote
from trinity_feeds.sandbox.settings import SandboxSettings
from trinity_feeds.sandbox.table import load_figures

TABLE = load_assets()


def market(**settings: object) -> MarketDrive:
    return MarketDrive(table=TABLE, settings=SandboxSettings(**settings))  # type: ignore[arg-type]


def steps(drive: MarketDrive, count: int) -> list[Quote]:
    return [quote for _ in range(count) for quote in drive.advance()]


def middle(quote: Quote) -> float:
    assert quote.bid is not None
    assert quote.ask is not None
    return (quote.bid + quote.ask) / 2 / 10**quote.decimals


def test_the_same_seed_gives_the_same_quotes_in_the_same_order() -> None:
    one, other = market(seed=7), market(seed=7)
    assert one.opening() == other.opening()
    assert steps(one, 300) == steps(other, 300)
    assert one.truth() == other.truth()


def test_another_seed_gives_other_quotes() -> None:
    assert steps(market(seed=7), 20) != steps(market(seed=8), 20)


def test_looking_at_the_truth_changes_nothing() -> None:
    looked, unseen = market(), market()
    for _ in range(100):
        looked.truth()
        assert looked.advance() == unseen.advance()


def test_how_often_it_is_asked_does_not_change_what_it_says() -> None:
    often, seldom = market(), market()
    one = [quote for ms in range(10, 410, 10) for quote in often.until(ms * 1_000_000)]
    other = [quote for ms in range(40, 410, 40) for quote in seldom.until(ms * 1_000_000)]
    assert one == other


def test_every_market_of_the_table_opens() -> None:
    opening = market().opening()
    assert {(quote.venue, quote.symbol) for quote in opening} == {
        (listing.venue, listing.symbol) for asset in TABLE.assets for listing in asset.listings
    }


def test_every_asset_has_figures_and_nothing_else_has() -> None:
    assert list(load_figures()) == list(TABLE.ids)


def test_quotes_are_sound() -> None:
    for quote in steps(market(ticks_per_s=2000), 200):
        assert quote.bid is not None
        assert quote.ask is not None
        assert quote.last is not None
        assert 0 < quote.bid < quote.ask
        assert quote.low <= quote.last <= quote.high
        assert min(quote.bid_size, quote.ask_size, quote.last_size, quote.volume, quote.open) > 0
        assert quote.ask - quote.bid < quote.bid / 100


def test_the_sequence_of_a_venue_rises_by_one() -> None:
    drive = market()
    seen = dict.fromkeys(Venue, 0)
    for quote in [*drive.opening(), *steps(drive, 200)]:
        assert quote.sequence == seen[quote.venue] + 1
        seen[quote.venue] = quote.sequence


def test_the_rate_is_what_was_asked_for() -> None:
    assert len(steps(market(ticks_per_s=1000), 3000)) == pytest.approx(30_000, rel=0.02)
    assert len(steps(market(ticks_per_s=60), 3000)) == pytest.approx(1_800, rel=0.05)


def test_no_market_is_quiet_for_longer_than_its_bound() -> None:
    drive = market(ticks_per_s=300, quiet_s_max=4.0)
    newest = {(quote.venue, quote.asset): 0 for quote in drive.opening()}
    for step in range(1, 2001):
        for quote in drive.advance():
            assert step - newest[quote.venue, quote.asset] <= 5.0 / 0.010 + 1
            newest[quote.venue, quote.asset] = step
    assert min(newest.values()) >= 2000 - 501


def test_big_markets_move_more_often_than_small_ones() -> None:
    changes = [quote.asset for quote in steps(market(ticks_per_s=1000), 500)]
    assert changes.count("BTC") > 5 * changes.count("PLUME")


def test_more_than_one_change_a_step_is_possible() -> None:
    drive = market(ticks_per_s=3000, step_ms=1000, assets=("BTC",))
    assert len(steps(drive, 5)) == pytest.approx(15_000, rel=0.02)


def test_venues_agree_on_a_price_within_a_few_basis_points_once_converted() -> None:
    drive = market()
    quotes = {(quote.venue, quote.asset): quote for quote in [*drive.opening(), *steps(drive, 1000)]}
    tether = float(drive.truth()["USDT"])
    assert 0.995 < tether < 1.003
    for asset, truth in drive.truth().items():
        for venue in Venue:
            quote = quotes.get((venue, asset))
            if quote is not None:
                usd = middle(quote) * (tether if quote.quote == "USDT" else 1)
                assert usd == pytest.approx(float(truth), rel=0.003), (venue, asset)


def test_a_wrapped_asset_follows_its_original() -> None:
    drive = market(ticks_per_s=50, step_ms=1000)
    steps(drive, 1000)
    truth = {asset: float(price) for asset, price in drive.truth().items()}
    assert truth["WBTC"] / truth["BTC"] == pytest.approx(96350 / 96500, rel=1e-6)


def test_prices_stay_plausible_for_a_day() -> None:
    drive = market(ticks_per_s=1, step_ms=1000, assets=("BTC", "USDT", "FARTCOIN"), quiet_s_max=600)
    steps(drive, 86_400)
    figures = load_figures()
    for asset in ("BTC", "USDT", "FARTCOIN"):
        assert 0.4 < float(drive.truth()[asset]) / figures[asset].price < 2.5


def test_a_long_pause_is_skipped_and_not_caught_up_with() -> None:
    drive = market(step_ms=10)
    drive.until(100_000_000)
    assert drive.step == 10
    drive.until(3_600_000_000_000)
    assert drive.step == 60
    drive.until(3_600_010_000_000)
    assert drive.step == 61


def test_only_the_chosen_assets_are_listed() -> None:
    assert {quote.asset for quote in market(assets=("BTC", "PAXG")).opening()} == {"BTC", "PAXG"}


def test_an_unknown_asset_is_refused_by_name() -> None:
    with pytest.raises(TrinityError, match="BTCC"):
        market(assets=("BTCC",))


def test_truth_shows_two_places_more_than_the_markets() -> None:
    truth = market().truth()
    assert truth["BTC"] == "96500.0000"
    assert Decimal(truth["MOG"]) == Decimal("0.0000002846")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ticks_per_s", 0),
        ("step_ms", 0),
        ("quiet_s_max", 0),
        ("control_port", 70_000),
        ("ports", {Venue.OKX: -1}),
        ("delisted", ("kraken",)),
        ("delisted", ("mtgox:BTC",)),
        ("connections_max", 0),
        ("buffer_bytes_max", 1),
        ("faults_per_minute", -1),
        ("cryptocom_channels_max", 401),
        ("replay_gap_s_max", 0),
    ],
)
def test_settings_out_of_bounds_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        SandboxSettings(**{name: value})  # type: ignore[arg-type]
