"""Settings of what pushes datagrams; every one has a row in docs/configuration.md."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpSenderConfig:
    """What pushes datagrams to UDP endpoints.

    Raises ValueError, naming the setting, when a value makes no sense.
    """

    receipt_ms: int = 3_000
    """How long a message waits to be confirmed; it is sent three times meanwhile."""
    resolve_ms: int = 60_000
    """How often a name is resolved anew. A new address must renew before anything but heartbeats goes there."""
    flows_max: int = 10_000
    """Endpoints that may be held at once."""
    waiting_max: int = 4_096
    """Messages that may wait to be confirmed at once."""
    buffer_bytes_max: int = 1_048_576
    """Bytes that may wait in this process for the network; beyond it ticks are not sent."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("receipt_ms", 10, 60_000),
            ("resolve_ms", 1_000, 3_600_000),
            ("flows_max", 1, 1_000_000),
            ("waiting_max", 1, 1_000_000),
            ("buffer_bytes_max", 65_536, 1 << 30),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be between {low} and {high}")
