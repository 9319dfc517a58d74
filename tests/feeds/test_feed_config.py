"""Settings of a feed worker: what is sensible passes, everything else is refused by its name."""

from __future__ import annotations

from typing import Any

import pytest

from trinity_core.venues import Venue
from trinity_feeds.config import FeedsConfig, Mode
from trinity_mesh.config import ConfigError, load


def settings(**values: Any) -> FeedsConfig:
    return load(FeedsConfig, section="feeds", values={"listen": "unix:/tmp/x"} | values, environ={})


def test_the_least_that_must_be_said_is_where_to_listen() -> None:
    config = settings()
    assert config.mode is Mode.LIVE
    assert config.venues == tuple(Venue)
    with pytest.raises(ConfigError, match="listen"):
        load(FeedsConfig, section="feeds", values={}, environ={})


def test_the_environment_sets_what_is_nested_and_what_is_a_list() -> None:
    config = load(
        FeedsConfig,
        section="feeds",
        values={"listen": "unix:/tmp/x", "mode": "live"},
        environ={
            "TRINITY_FEEDS_MODE": "sandbox",
            "TRINITY_FEEDS_VENUES": '["okx"]',
            "TRINITY_FEEDS_WS_URLS": '{"okx": "ws://127.0.0.1:1/ws"}',
            "TRINITY_FEEDS_REST_URLS": '{"okx": "http://127.0.0.1:2"}',
            "TRINITY_FEEDS_FLUSH_MS": "2.5",
            "TRINITY_FEEDS_QUOTES_TIMEOUT_MS": "900",
            "TRINITY_FEEDS_SOCKET_COMPRESS": "true",
            "TRINITY_FEEDS_BACKOFF_CAP_MS": "1000",
        },
    )
    assert config.mode is Mode.SANDBOX
    assert config.venues == (Venue.OKX,)
    assert config.ws_urls == {Venue.OKX: "ws://127.0.0.1:1/ws"}
    assert config.flush_ms == 2.5
    assert config.quotes.timeout_ms == 900
    assert config.socket.compress
    assert config.backoff.cap_ms == 1_000


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"venues": []}, "venues"),
        ({"venues": ["okx", "okx"]}, "twice"),
        ({"venues": ["nyse"]}, "venues"),
        ({"mode": "paper"}, "mode"),
        ({"worker": ""}, "worker"),
        ({"worker": "ü"}, "worker"),
        ({"flush_ms": 0}, "flush_ms"),
        ({"flush_ms": 400, "heartbeat_ms": 500}, "flush_ms"),
        ({"heartbeat_ms": 1_001}, "heartbeat_ms"),
        ({"streams_max": 0}, "streams_max"),
        ({"stagger_ms": -1}, "stagger_ms"),
        ({"call_ms": 0}, "call_ms"),
        ({"ws_urls": {"okx": "https://x.example"}}, "ws_urls"),
        ({"rest_urls": {"okx": "okx.example"}}, "rest_urls"),
        ({"socket": {"queue_len_max": 0}}, "queue_len_max"),
        ({"quotes": {"rate_share": 2}}, "rate_share"),
        ({"flush": 3}, "flush_ms"),
    ],
    ids=str,
)
def test_a_senseless_setting_is_refused_by_its_name(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        settings(**wrong)


@pytest.mark.parametrize(
    "url",
    [
        "ws://ws.okx.com/",
        "wss://localhost:1/",
        "wss://127.0.0.1/",
        "wss://[::1]/",
        "wss://10.0.0.7/",
        "wss://a.localhost/",
    ],
)
def test_live_mode_takes_no_address_that_a_sandbox_could_have(url: str) -> None:
    with pytest.raises(ConfigError, match="sandbox"):
        settings(ws_urls={"okx": url})


def test_live_mode_takes_a_venues_other_public_address() -> None:
    assert settings(ws_urls={"okx": "wss://wsus.okx.com:8443/ws/v5/public"}).ws_urls[Venue.OKX].startswith("wss://wsus")


def test_sandbox_mode_never_falls_back_to_a_live_address() -> None:
    urls = {"okx": "ws://127.0.0.1:1"}
    with pytest.raises(ConfigError, match=r"ws_urls.*kraken"):
        settings(mode="sandbox", venues=["okx", "kraken"], ws_urls=urls)
    with pytest.raises(ConfigError, match=r"rest_urls.*okx"):
        settings(mode="sandbox", venues=["okx"], ws_urls=urls)
