"""Settings of the report service; every one has a row in docs/configuration.md."""

from __future__ import annotations

from dataclasses import dataclass, field

from trinity_admission.public_server import PublicConfig
from trinity_mesh.tls_config import TlsConfig
from trinity_storage.postgres import PostgresConfig
from trinity_storage.valkey import ValkeyConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConfig:
    """The report service.

    Raises ValueError, naming the setting, when a value makes no sense.
    """

    listen: str = "127.0.0.1:50054"
    """Where it serves: "unix:/path", whose peers are parts of the mesh, or "host:port"."""
    secrets_file: str = "secrets.json"
    """File with the secrets that the parts of the mesh share, mode 0600."""
    copy_check_ms: int = 1_000
    """How old the knowledge may be which hours of the copy in Valkey are still as the database has them."""
    copy_step_ms: int = 2_000
    """Longest that the copy may take for one batch of rows; then the database is asked."""
    summary_ms_max: int = 20_000
    """Longest that the database may take for one summary; a nearer deadline of the caller wins."""
    export_ms_max: int = 900_000
    """Longest that one export may take, the caller's own pace included."""
    exports_max: int = 4
    """Most exports under way at once; each holds a connection to the database."""
    exports_each_max: int = 2
    """Most exports of one associate under way at once."""
    drain_ms: int = 5_000
    """How long calls under way may take to finish once the service stops."""
    postgres: PostgresConfig = field(default_factory=PostgresConfig)
    valkey: ValkeyConfig = field(default_factory=ValkeyConfig)
    tls: TlsConfig = field(default_factory=TlsConfig)
    public: PublicConfig = field(default_factory=PublicConfig)

    def __post_init__(self) -> None:
        for name in ("listen", "secrets_file"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        _between("copy_check_ms", self.copy_check_ms, 0, 60_000)
        _between("copy_step_ms", self.copy_step_ms, 10, 60_000)
        _between("summary_ms_max", self.summary_ms_max, 100, 600_000)
        _between("export_ms_max", self.export_ms_max, 1_000, 86_400_000)
        _between("exports_max", self.exports_max, 1, 100)
        _between("exports_each_max", self.exports_each_max, 1, 100)
        _between("drain_ms", self.drain_ms, 0, 60_000)
        if self.exports_max >= self.postgres.pool_size_max:
            raise ValueError(
                f"exports_max is {self.exports_max}; it must be less than postgres.pool_size_max "
                f"({self.postgres.pool_size_max}), so that exports leave connections to others"
            )


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; it must lie between {low} and {high}")
