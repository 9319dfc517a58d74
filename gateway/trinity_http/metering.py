"""How long answers of the bridge take to begin, by route and status; what the fast lane answers is not among them."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from trinity_core.tables import MEDIA_TYPES, Form
from trinity_http.request import Request, Send
from trinity_mesh.clock import Clock
from trinity_mesh.telemetry.metrics import LATENCY_BOUNDS, Histogram

_VERBS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_FORMS: Final = {media_type.partition(";")[0].encode("ascii"): form for form, media_type in MEDIA_TYPES.items()}
_OK: Final = 200

Kind = tuple[str, str, int]
"""Verb, route, status."""


class HttpMeter:
    """Measures the bridge of one port."""

    def __init__(self, *, clock: Clock) -> None:
        self._now_ns = clock.monotonic_ns
        self.durations: dict[Kind, Histogram] = {}
        """Seconds. Routes are those of the contract, so there are only so many."""
        self.forms: Counter[Form] = Counter()
        """Good answers by their form."""

    def begin(self, request: Request, send: Send) -> Send:
        """What to send the answer to a request with, which begins now."""
        began_ns = self._now_ns()
        started = False

        async def metered(message: Any) -> None:
            nonlocal started
            if not started and message["type"] == "http.response.start":
                started = True
                self._started(request, message["status"], message["headers"], began_ns)
            await send(message)

        return metered

    def _started(self, request: Request, status: int, headers: Any, began_ns: int) -> None:
        kind = (request.method if request.method in _VERBS else "_OTHER", request.route, status)
        durations = self.durations.get(kind)
        if durations is None:
            durations = self.durations[kind] = Histogram(LATENCY_BOUNDS)
        durations.add((self._now_ns() - began_ns) / 1e9)
        if status == _OK:
            form = _FORMS.get(
                next((value for name, value in headers if name == b"content-type"), b"").partition(b";")[0]
            )
            if form is not None:
                self.forms[form] += 1
