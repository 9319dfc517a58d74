"""The six venues' sessions, one module each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from trinity_core.venues import Venue

from trinity_feeds.session import Session

VENUES: Mapping[Venue, type[Session]] = MappingProxyType({})
"""Each venue's session class."""
