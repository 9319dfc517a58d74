"""Settings of admission, part of every process that answers callers; docs/configuration.md has a row for each."""

from __future__ import annotations

from dataclasses import dataclass, field

from trinity_admission.ledger_config import CollectorConfig, LedgerConfig
from trinity_mesh.addresses import parse_addresses


@dataclass(frozen=True, slots=True)
class QuotaConfig:
    """How quotas are leased. Raises ValueError, naming the setting, for a wrong one."""

    ahead_s: int = 10
    """For how long, at a key's full rate, a lease should last; a thousandth of the month at most is asked for."""
    deadline_ms: int = 1_000
    """Longest that one call to the usage service may take."""
    again_ms: int = 1_000
    """How long after the word that nothing is left the service is asked again."""
    calls_max: int = 64
    """Most such calls under way."""
    wait_ms: int = 250
    """Longest that a request waits for a lease before it is let in on trust."""
    trust_s: int = 86_400
    """How long keys go on beyond their leases while the usage service cannot be asked."""

    def __post_init__(self) -> None:
        _between("quota.ahead_s", self.ahead_s, 1, 3_600)
        _between("quota.deadline_ms", self.deadline_ms, 10, 60_000)
        _between("quota.again_ms", self.again_ms, 10, 3_600_000)
        _between("quota.calls_max", self.calls_max, 1, 10_000)
        _between("quota.wait_ms", self.wait_ms, 0, 60_000)
        _between("quota.trust_s", self.trust_s, 0, 31_622_400)


@dataclass(frozen=True, slots=True)
class AdmissionConfig:
    """Admission of one process. Raises ValueError, naming the setting, for a wrong one."""

    account: str = "127.0.0.1:50052"
    """gRPC address of the account service, whose keys are followed: "unix:/path" or "host:port", several of them with
    commas, or "dns:name:port"."""
    usage: str = "127.0.0.1:50053"
    """gRPC address of the usage service, which takes the counts and leases quotas; likewise."""
    secrets_file: str = "secrets.json"
    """File with the secrets that the parts of the mesh share, mode 0600."""
    spool: str = "spool"
    """Folder of the ledger's files, on a local disk; the processes of a host share it."""
    keys_copy: str = ""
    """File that keeps the known keys for a process that starts while the account service is away; empty: none."""
    rates_file: str = ""
    """File through which the processes of a host share rates and datagram windows; empty: each has its own."""
    rate_share: float = 1.0
    """Part of each key's rate and burst that this host (without `rates_file`: this process) gives."""
    age_max_s: int = 86_400
    """How long known keys hold while the account service cannot be reached."""
    keys_max: int = 200_000
    """Most keys held; others are unknown here."""
    udp_sessions_max: int = 65_536
    """Most datagram sessions remembered; no key has more than a quarter of them."""
    ready_wait_ms: int = 10_000
    """Longest that a process waits for the keys before it serves without them."""
    quota: QuotaConfig = field(default_factory=QuotaConfig)
    ledger: LedgerConfig = field(default_factory=LedgerConfig)
    collector: CollectorConfig = field(default_factory=CollectorConfig)

    def __post_init__(self) -> None:
        for name in ("account", "usage", "secrets_file", "spool"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        parse_addresses(self.account)
        parse_addresses(self.usage)
        if not 0 < self.rate_share <= 1:
            raise ValueError(f"rate_share is {self.rate_share}; it must be greater than 0 and at most 1")
        _between("age_max_s", self.age_max_s, 1, 31_622_400)
        _between("keys_max", self.keys_max, 1, 10_000_000)
        _between("udp_sessions_max", self.udp_sessions_max, 4, 10_000_000)
        _between("ready_wait_ms", self.ready_wait_ms, 0, 60_000)


def _between(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; it must lie between {low} and {high}")
