"""What our own gateway passes on of reports: how they are asked for, and what is told beside their bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from trinity_http.settings import GatewaySettings

SERVICE: Final = "trinity.report.v1.ReportService"

ASKED: Final = ("accept", "x-export-end")
"""Headers that choose the form of a report, and the proof at its end."""
TOLD: Final = (
    "content-disposition",
    "x-cells-defused",
    "x-next-page-token",
    "x-served-from",
    "x-total-billed",
    "x-total-unbilled",
    "x-truncated",
)
"""What the service tells at the beginning of a report, as headers."""
PROVED: Final = ("x-export-rows", "x-export-sha256")
"""What it tells at the end of an export, as trailers."""


def with_reports(settings: GatewaySettings) -> GatewaySettings:
    """The settings of a gateway that serves reports beside what it serves already."""
    return replace(
        settings,
        forward_headers=_with(settings.forward_headers, ASKED),
        return_metadata=_with(settings.return_metadata, TOLD),
        return_trailers=_with(settings.return_trailers, PROVED),
    )


def _with(names: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*names, *more)))
