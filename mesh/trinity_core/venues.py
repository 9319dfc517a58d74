"""The six venues, by the ids that the contracts use."""

from __future__ import annotations

from enum import StrEnum


class Venue(StrEnum):
    """Id of a venue, lower case, as in contracts, configuration and metrics."""

    COINBASE = "coinbase"
    GEMINI = "gemini"
    KRAKEN = "kraken"
    GATEIO = "gateio"
    CRYPTOCOM = "cryptocom"
    OKX = "okx"
