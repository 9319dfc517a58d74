"""The six venues' sessions, one module each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from trinity_core.venues import Venue
from trinity_feeds.session import Session
from trinity_feeds.venues.coinbase import CoinbaseSession
from trinity_feeds.venues.cryptocom import CryptocomSession
from trinity_feeds.venues.gateio import GateioSession
from trinity_feeds.venues.gemini import GeminiSession
from trinity_feeds.venues.kraken import KrakenSession
from trinity_feeds.venues.okx import OkxSession

VENUES: Mapping[Venue, type[Session]] = MappingProxyType(
    {
        Venue.COINBASE: CoinbaseSession,
        Venue.GEMINI: GeminiSession,
        Venue.KRAKEN: KrakenSession,
        Venue.GATEIO: GateioSession,
        Venue.CRYPTOCOM: CryptocomSession,
        Venue.OKX: OkxSession,
    }
)
"""Each venue's session class."""
