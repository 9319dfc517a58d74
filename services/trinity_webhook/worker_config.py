"""Settings of a webhook worker; every one has a row in docs/configuration.md."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from trinity_admission.ledger_config import CollectorConfig, LedgerConfig
from trinity_mesh.addresses import parse_addresses
from trinity_mesh.tls_config import TlsConfig
from trinity_storage.postgres import PostgresConfig
from trinity_webhook.sender_config import SenderConfig
from trinity_webhook.udp_config import UdpSenderConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookWorkerConfig:
    """A worker that evaluates rules and delivers.

    Raises ValueError, naming the setting, when a value makes no sense.
    """

    price: str = "127.0.0.1:50051"
    """gRPC address of the price service, of this mesh or of another: "unix:/path" or "host:port", several of them with
    commas, or "dns:name:port"."""
    price_key: str = field(default="", repr=False)
    """API key for a price service that asks for one; empty: none is sent."""
    usage: str = "127.0.0.1:50053"
    """gRPC address of the usage service, which takes the counts of deliveries; likewise."""
    spool: str = "spool"
    """Folder of the ledger's files, on a local disk; the processes of a host share it."""
    secrets_file: str = "secrets.json"
    """File with the secrets that the parts of the mesh share, mode 0600; one of them opens customers' secrets."""
    loopback: bool = False
    """Call endpoints on this machine, and by http. For a sandbox; never where strangers may register endpoints."""
    refused_networks: tuple[str, ...] = ()
    """Networks in CIDR form that are never called, besides those that never are: those of one's own servers."""
    lease_ms: int = 3_000
    """How long a worker holds its share of the endpoints without a renewal; a killed worker's pass on after it."""
    poll_ms: int = 1_000
    """Longest time until a change of endpoints or subscriptions is seen, where its announcement is lost."""
    claim_ms: int = 500
    """Longest time until what was asked for elsewhere, a test or a redelivery, is seen."""
    states_ms: int = 5_000
    """How often what rules remember is stored where no alert depends on it."""
    in_flight_max: int = 256
    """Most alerts, tests and challenges under way in one worker."""
    ticks_in_flight_max: int = 1_024
    """Most batches of ticks under way in one worker."""
    alerts_waiting_max: int = 10_000
    """Most alerts that wait to be stored; beyond it rules wait, each with the newest price."""
    log_waiting_max: int = 20_000
    """Most attempts of ticks that wait to be logged; beyond it ticks wait, and are folded. 0: they are not logged."""
    drain_ms: int = 5_000
    """How long deliveries under way may take to finish once the worker stops."""
    tls: TlsConfig = field(default_factory=TlsConfig)
    https: SenderConfig = field(default_factory=SenderConfig)
    udp: UdpSenderConfig = field(default_factory=UdpSenderConfig)
    postgres: PostgresConfig = field(default_factory=PostgresConfig)
    ledger: LedgerConfig = field(default_factory=LedgerConfig)
    collector: CollectorConfig = field(default_factory=CollectorConfig)

    def __post_init__(self) -> None:
        for name in ("price", "usage", "spool", "secrets_file"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        parse_addresses(self.price)
        parse_addresses(self.usage)
        for text in self.refused_networks:
            try:
                ipaddress.ip_network(text)
            except ValueError:
                raise ValueError(f"refused_networks: {text[:64]!r} is no network such as 203.0.113.0/24") from None
        _between("lease_ms", self.lease_ms, 500, 600_000)
        _between("poll_ms", self.poll_ms, 50, 60_000)
        _between("claim_ms", self.claim_ms, 20, 60_000)
        _between("states_ms", self.states_ms, 100, 600_000)
        _between("in_flight_max", self.in_flight_max, 1, 10_000)
        _between("ticks_in_flight_max", self.ticks_in_flight_max, 1, 100_000)
        _between("alerts_waiting_max", self.alerts_waiting_max, 1, 1_000_000)
        _between("log_waiting_max", self.log_waiting_max, 0, 1_000_000)
        _between("drain_ms", self.drain_ms, 0, 60_000)


def _between(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}")
