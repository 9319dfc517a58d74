"""What a mesh on one machine was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from trinity_cli.abroad import Abroad
from trinity_cli.edge import EdgeSettings
from trinity_cli.modes import Part
from trinity_cli.plan import Venues


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSettings:
    """What a mesh was asked for."""

    parts: frozenset[Part]
    host: str
    http_port: int
    report_port: int
    udp_port: int
    udp_report_port: int
    grpc_port: int | None
    """Port for gRPC callers with keys; None for none."""
    data_dir: Path
    secrets_file: Path | None
    """File with the mesh's secrets; None for one in the data folder."""
    workers: int
    venues: Venues
    seed: int
    ready_file: Path | None
    unattended: bool = False
    """It runs as a service does, and logs so."""
    abroad: Abroad = field(default_factory=Abroad)
    """Other machines of its mesh."""
    env: str | None
    """The word in the text of new keys; None for the account service's own setting."""
    privatelink_port: int | None = None
    """Port for balancers of PrivateLink; None for none."""
    edge: EdgeSettings | None = None
    """Envoy before it all; None for none."""
    logs: str = "files"
    """"stderr": what the processes print goes there as well as to their files."""

    @property
    def has_gateway(self) -> bool:
        """Whether anything answers callers."""
        return bool(self.parts & {Part.PRICES, Part.REPORTS})

    @property
    def has_prices(self) -> bool:
        """Whether it makes prices, for callers or for its own webhooks."""
        return bool(self.parts & {Part.PRICES, Part.WEBHOOKS}) and "price" not in self.abroad.remotes

    @property
    def has_stores(self) -> bool:
        """Whether any of its processes keeps something in a store; gateways do not."""
        needed = {"account", "usage"}
        needed |= {"price", "webhook"} if Part.PRICES in self.parts else set()
        needed |= {"report"} if Part.REPORTS in self.parts else set()
        return not (self.parts <= {Part.PRICES, Part.REPORTS} and needed <= set(self.abroad.remotes))

    @property
    def simulated(self) -> bool:
        """Whether its prices are made by the sandbox."""
        return self.has_prices and self.venues is Venues.SANDBOX
