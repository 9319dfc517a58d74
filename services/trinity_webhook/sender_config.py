"""Settings of what sends deliveries; every one has a row in docs/configuration.md."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderConfig:
    """What sends deliveries over HTTPS.

    Raises ValueError, naming the setting, when a value makes no sense.
    """

    connect_ms: int = 5_000
    """How long resolving a name, connecting and the TLS handshake may take together."""
    total_ms: int = 15_000
    """How long an attempt may take, from its first step to the last byte of the answer."""
    idle_ms: int = 4_000
    """How long a connection without a request is kept. Less than the 5 s after which common servers close it."""
    age_ms_max: int = 60_000
    """How old a connection may be and take another request; afterwards the name is resolved anew."""
    idle_per_endpoint_max: int = 8
    """Connections without a request that are kept for one endpoint."""
    idle_max: int = 2_048
    """Connections without a request that are kept in all; beyond it those that waited longest are closed."""
    in_flight_max: int = 1_024
    """Attempts under way at once; others wait for their turn."""
    answer_bytes_max: int = 65_536
    """Most bytes of an answer, head and body, that are read; a longer one counts as failed."""
    resolver_threads: int = 16
    """Threads that resolve names. A name server that hangs holds one of them for as long as the system lets it."""
    ca_file: str = ""
    """File of root certificates in PEM form; empty: those of the system."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("connect_ms", 1, 60_000),
            ("total_ms", 1, 120_000),
            ("idle_ms", 0, 600_000),
            ("age_ms_max", 0, 3_600_000),
            ("idle_per_endpoint_max", 0, 64),
            ("idle_max", 0, 65_536),
            ("in_flight_max", 1, 65_536),
            ("answer_bytes_max", 1_024, 1 << 24),
            ("resolver_threads", 1, 256),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be between {low} and {high}")
