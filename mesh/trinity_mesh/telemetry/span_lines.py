"""Writes spans as JSON lines, to a file or to stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from trinity_mesh.telemetry.config import TraceConfig
from trinity_mesh.telemetry.files import LinesFile

log = logging.getLogger(__name__)


class SpanLines(SpanExporter):
    """An exporter for one machine: what a span is, in the fields that OpenTelemetry names."""

    def __init__(self, config: TraceConfig) -> None:
        """`config.exporter` is "file" or "console"."""
        self._file: LinesFile | None = None
        if config.exporter == "file":
            self._file = LinesFile(Path(config.file), bytes_max=config.file_mib_max << 20)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write spans; on a thread of the SDK's."""
        lines = [_line(span) for span in spans]
        try:
            if self._file is not None:
                self._file.write(lines)
            else:
                sys.stderr.buffer.write(b"".join(line + b"\n" for line in lines))
                sys.stderr.buffer.flush()
        except OSError as error:
            log.warning("spans cannot be written: %s", error)
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS


def _line(span: ReadableSpan) -> bytes:
    own = span.get_span_context()
    assert own is not None
    return msgspec.json.encode(
        {
            "trace_id": f"{own.trace_id:032x}",
            "span_id": f"{own.span_id:016x}",
            "parent_id": "" if span.parent is None else f"{span.parent.span_id:016x}",
            "name": span.name,
            "kind": span.kind.name,
            "service": str(span.resource.attributes.get("service.name", "")),
            "start_unix_ns": span.start_time,
            "end_unix_ns": span.end_time,
            "status": span.status.status_code.name,
            "attributes": dict(span.attributes or {}),
        }
    )
