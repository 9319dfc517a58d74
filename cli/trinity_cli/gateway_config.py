"""Settings of a gateway worker; every one has a row in docs/configuration.md."""

from __future__ import annotations

from dataclasses import dataclass, field

from trinity_admission.admission_config import AdmissionConfig
from trinity_http.settings import GatewaySettings, HttpLimits
from trinity_mesh.addresses import parse_addresses
from trinity_mesh.tls_config import TlsConfig
from trinity_udp.config import ReportUdpConfig, UdpConfig


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Everything that may be set about one gateway worker. Raises ValueError, naming the setting, for a wrong one."""

    price: str = "127.0.0.1:50051"
    """gRPC address of the price service: "unix:/path" or "host:port", several of them with commas, or "dns:name:port"
    for all that a name stands for; empty for a worker that serves no prices."""
    report: str = ""
    """gRPC address of the report service, likewise; empty for a worker that serves no reports."""
    webhook: str = ""
    """gRPC address of the webhook service, likewise, served beside prices over HTTP; empty where there is none."""
    http: str = "127.0.0.1:8080"
    """Address of prices over HTTP; shared with other workers (SO_REUSEPORT)."""
    reports_http: str = "127.0.0.1:9090"
    """Address of reports over HTTP; shared likewise."""
    privatelink_http: str = ""
    """Address of prices over HTTP for bridge.trusted_proxies that begin each connection with PROXY protocol v2, as a
    balancer behind PrivateLink does; shared likewise. Empty: none."""
    ready_wait_ms: int = 10_000
    """Longest that the worker waits for a complete replica before it serves without one."""
    bridge: GatewaySettings = field(default_factory=GatewaySettings)
    limits: HttpLimits = field(default_factory=HttpLimits)
    udp: UdpConfig = field(default_factory=lambda: UdpConfig(reuse_port=True))
    reports_udp: ReportUdpConfig = field(default_factory=lambda: ReportUdpConfig(reuse_port=True))
    admission: AdmissionConfig = field(default_factory=AdmissionConfig)
    tls: TlsConfig = field(default_factory=TlsConfig)

    def __post_init__(self) -> None:
        if not self.price and not self.report:
            raise ValueError("price and report are both empty; a worker needs at least one of the two services")
        for name in filter(None, (self.price, self.report, self.webhook)):
            parse_addresses(name)
        for name in ("http", "reports_http"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        if self.privatelink_http and not self.bridge.trusted_proxies:
            raise ValueError("privatelink_http needs bridge.trusted_proxies: it hears nobody else")
        if not 0 <= self.ready_wait_ms <= 60_000:
            raise ValueError(f"ready_wait_ms is {self.ready_wait_ms}; it must lie between 0 and 60000")
