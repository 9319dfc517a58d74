"""The list of interceptors that every server of the mesh has, and where what a server adds to it belongs."""

from __future__ import annotations

from trinity_mesh.deadlines import Deadlines
from trinity_mesh.interceptors import Errors, Interceptor, RequestIds, Validation
from trinity_mesh.ordering import SERVER_ORDER, checked
from trinity_mesh.shedding import Shedding, SheddingSettings
from trinity_mesh.telemetry.server_calls import ServerTelemetry


def standard(*more: Interceptor, shedding: SheddingSettings | None = None) -> tuple[Interceptor, ...]:
    """The list for one server, outermost first, with `more` in their places.

    Raises OrderError for a name that stands there twice or is none that a server has.
    """
    every: tuple[Interceptor, ...] = (
        ServerTelemetry(),
        Shedding(shedding),
        RequestIds(),
        Errors(),
        Deadlines(),
        Validation(),
        *more,
    )
    ordered = sorted(every, key=lambda each: SERVER_ORDER.index(each.name) if each.name in SERVER_ORDER else -1)
    checked([each.name for each in ordered], SERVER_ORDER, side="the server")
    return tuple(ordered)
