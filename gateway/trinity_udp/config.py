"""Settings of the datagram endpoints, part of a gateway worker's; docs/configuration.md has a row for each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PortConfig:
    """Where to listen and how much to give to whom, whatever the port is for."""

    listen: tuple[str, ...]
    """Addresses, "host:port" or "[host]:port"; port 0 picks a free one."""
    reuse_port: bool = False
    """Several workers share the addresses (SO_REUSEPORT). Off, a second endpoint on a port refuses to start."""
    batch_max: int = 64
    """Most datagrams answered before other work of the process gets its turn."""
    batched: bool = True
    """Receive and send a batch with one system call each (recvmmsg, sendmmsg), where the system has them."""
    receive_buffer_bytes: int = 4 << 20
    """Size asked for the socket's receive buffer; the system may grant less."""
    demo_per_s: float = 50.0
    """Lines a second for each /24 (IPv4) or /56 (IPv6) of sources without a session."""
    demo_burst: int = 500
    """Lines such a prefix may ask at once after a rest."""
    session_per_s: float = 50_000.0
    """Lines with a session a second for each such prefix, good or not: what checking them may cost."""
    session_burst: int = 100_000
    """Lines with a session such a prefix may send at once after a rest."""
    strict_answers_max: int = 10_000
    """With usage durability "strict": most answers that wait for the disk; more are not given."""
    prefixes_max: int = 65_536
    """Most prefixes remembered."""

    def __post_init__(self) -> None:
        if not self.listen:
            raise ValueError("listen: at least one address is needed, such as 127.0.0.1:2679")
        for name in ("demo_per_s", "session_per_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be greater than 0")
        _at_least_one(
            self,
            "session_burst",
            "strict_answers_max",
            "batch_max",
            "receive_buffer_bytes",
            "demo_burst",
            "prefixes_max",
        )


@dataclass(frozen=True, slots=True)
class UdpConfig(PortConfig):
    """The port for prices."""

    listen: tuple[str, ...] = ("127.0.0.1:2679", "[::1]:2679")
    """Addresses, "host:port" or "[host]:port"; port 0 picks a free one."""
    demo: bool = True
    """Sources without a session may ask for prices, one asset a line, within their prefix's allowance."""
    lookup_timeout_ms: int = 2_000
    """Longest wait for the price service when the replica lacks a price."""
    lookup_interval_ms: int = 250
    """Shortest time between two such calls for one asset."""
    lookup_assets_max: int = 64
    """Most such calls under way."""
    lookup_waiters_max: int = 64
    """Most datagrams that wait for one such call."""

    def __post_init__(self) -> None:
        if self.demo_per_s <= 0:
            raise ValueError("demo_per_s must be greater than 0; set demo to false to switch the allowance off")
        PortConfig.__post_init__(self)
        _at_least_one(self, "lookup_timeout_ms", "lookup_interval_ms", "lookup_assets_max", "lookup_waiters_max")


@dataclass(frozen=True, slots=True)
class ReportUdpConfig(PortConfig):
    """The port for reports."""

    listen: tuple[str, ...] = ("127.0.0.1:2680", "[::1]:2680")
    """Addresses, "host:port" or "[host]:port"; port 0 picks a free one."""
    totals_kept_ms: int = 1_000
    """How long totals of a key, or that they cannot be had, are answered again without asking the services."""
    totals_kept_max: int = 10_000
    """Most keys whose totals are kept so."""
    totals_timeout_ms: int = 2_000
    """Longest wait for the report and the usage service."""
    totals_calls_max: int = 64
    """Most keys whose totals are being asked for; each is two calls."""
    totals_waiters_max: int = 2_048
    """Most lines that wait for the totals of one key."""

    def __post_init__(self) -> None:
        PortConfig.__post_init__(self)
        _at_least_one(
            self,
            "totals_kept_ms",
            "totals_kept_max",
            "totals_timeout_ms",
            "totals_calls_max",
            "totals_waiters_max",
        )


def _at_least_one(config: PortConfig, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1")
