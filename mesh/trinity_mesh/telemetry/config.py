"""Settings of sight; every one has a row in docs/configuration.md."""

from __future__ import annotations

from dataclasses import dataclass, field

EXPORTERS = ("none", "console", "file", "otlp")
FORMS = ("auto", "json", "text")


@dataclass(frozen=True, slots=True)
class TraceConfig:
    """Traces. Off unless an exporter is named; then a caller's decision to sample is kept."""

    exporter: str = "none"
    """Where spans go: "none" (nothing is traced), "console" (stderr), "file" or "otlp"."""
    ratio: float = 0.0
    """Part of the traces that begin here and are sampled, 0 to 1; a trace that a caller began goes by its own flag."""
    file: str = ""
    """File of exporter "file": a span a line, as JSON."""
    file_mib_max: int = 64
    """Size at which the file is begun anew, the one before kept beside it."""
    endpoint: str = "http://127.0.0.1:4317"
    """Collector of exporter "otlp", by gRPC; needs `trinity-beast[otlp]`."""
    queue_len_max: int = 2_048
    """Spans that wait to be exported; further ones are dropped."""

    def __post_init__(self) -> None:
        if self.exporter not in EXPORTERS:
            raise ValueError(f"traces.exporter is {self.exporter!r}; it must be one of {', '.join(EXPORTERS)}")
        if not 0 <= self.ratio <= 1:
            raise ValueError(f"traces.ratio is {self.ratio}; it must lie between 0 and 1")
        if self.exporter == "file" and not self.file:
            raise ValueError("traces.file is needed with exporter file: name a file to write spans to")
        _between("traces.file_mib_max", self.file_mib_max, 1, 10_000)
        _between("traces.queue_len_max", self.queue_len_max, 1, 100_000)


@dataclass(frozen=True, slots=True)
class TelemetryConfig:
    """What a process tells of itself. Raises ValueError, naming the setting, for a wrong one."""

    metrics: bool = True
    """Whether calls and times are counted for metrics, and metrics told; the ledger counts answers all the same."""
    listen: str = ""
    """Where metrics are served to Prometheus: "host:port" (0: a free port) or "unix:/path"; empty: nowhere. Of
    `trinity up` and `trinity serve` the address for all their processes, 127.0.0.1 and a free port by default."""
    emf: str = ""
    """Where CloudWatch's embedded metric format goes, once a period: "stdout" or a file; empty: nowhere."""
    emf_period_s: int = 60
    """Time between two lots of it."""
    emf_file_mib_max: int = 16
    """Size at which the file is begun anew, the one before kept beside it."""
    log_form: str = "auto"
    """"json", "text", or "auto": text on a terminal, JSON lines elsewhere."""
    log_level: str = "INFO"
    """Least level that is logged: DEBUG, INFO, WARNING or ERROR."""
    traces: TraceConfig = field(default_factory=TraceConfig)

    def __post_init__(self) -> None:
        if self.log_form not in FORMS:
            raise ValueError(f"log_form is {self.log_form!r}; it must be one of {', '.join(FORMS)}")
        if self.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ValueError(f"log_level is {self.log_level!r}; it must be DEBUG, INFO, WARNING or ERROR")
        if self.listen and not self.listen.startswith("unix:") and ":" not in self.listen:
            raise ValueError(
                f'listen is {self.listen!r}; it must be an address such as "127.0.0.1:9464" or "unix:/path"'
            )
        _between("emf_period_s", self.emf_period_s, 1, 3_600)
        _between("emf_file_mib_max", self.emf_file_mib_max, 1, 10_000)


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; it must lie between {low} and {high}")
