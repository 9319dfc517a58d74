"""Modes: which parts of the mesh one machine or task runs."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Final


class Part(Enum):
    """What a machine can do for the mesh; each is a set of processes."""

    PRICES = "prices over HTTP, UDP and gRPC, with feeds of their own"
    REPORTS = "reports over HTTP and UDP"
    SYNC = "the nightly copy of the usage log into the cache"
    WEBHOOKS = "pushes prices and alerts to customers"


class Mode(StrEnum):
    """What `trinity serve --mode` takes."""

    APP_SERVER = "APP_SERVER"
    REPORT_SERVER = "REPORT_SERVER"
    APP_REPORT_SERVER = "APP_REPORT_SERVER"
    WEBHOOK_SERVER = "WEBHOOK_SERVER"
    SYNC = "SYNC"


PARTS: Final[Mapping[Mode, frozenset[Part]]] = MappingProxyType(
    {
        Mode.APP_SERVER: frozenset({Part.PRICES}),
        Mode.REPORT_SERVER: frozenset({Part.REPORTS}),
        Mode.APP_REPORT_SERVER: frozenset({Part.PRICES, Part.REPORTS}),
        Mode.WEBHOOK_SERVER: frozenset({Part.WEBHOOKS}),
        Mode.SYNC: frozenset({Part.SYNC}),
    }
)
"""The parts of each mode; `trinity up` is all of them."""
