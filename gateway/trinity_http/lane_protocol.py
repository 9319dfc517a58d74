"""uvicorn's HTTP protocol with the fast lane before its parser.

A read that is one whole, plain request on a connection that has nothing else under way is answered at
once. Anything else, byte for byte, is the full parser's: a part of a request, several at once, one while another is
under way, a client that takes its answers slowly, a server that is about to stop.
"""

from __future__ import annotations

from typing import Any, Final

from trinity_http.guard import ConnectionGuard
from trinity_http.lane import Lane, Plan
from trinity_http.protocol import GuardedHttp, Inbound

_PLANS_MAX: Final = 16
"""Plans that one connection keeps at hand."""
_ENDS: Final = b"\r\n\r\n"


class LaneHttp(GuardedHttp):
    """One HTTP connection on a port with a fast lane."""

    def __init__(self, *args: Any, lane: Lane, guard: ConnectionGuard, **kwargs: Any) -> None:
        super().__init__(*args, guard=guard, **kwargs)
        self._lane = lane
        self._bytes_max = guard.limits.head_bytes_max
        self._idle_ns = guard.limits.idle_ms * 1_000_000
        self._now_ns = guard.now_ns
        self._plans: dict[bytes, Plan] = {}
        self._headers: list[tuple[bytes, bytes]] | None = None
        self._first = (b"", b"")
        self._parsing = False
        """The full parser has seen bytes of this connection."""

    def data_received(self, data: bytes) -> None:
        """Answer a plain request; let everything else be parsed."""
        plan = self._plans.get(data)
        if plan is None and data.endswith(_ENDS):
            plan = self._plan(data)
        if plan is not None:
            cycle = self._cycle
            # Nothing may be under way: no answer, no part of a request, no byte that the client has yet to take.
            if (
                (self._inbound is Inbound.DONE or not self._parsing)
                and (cycle is None or cycle.response_complete)
                and not (self.flow.write_paused or self._refused or self._guard.draining or self.pipeline)
            ):
                headers = self.server_state.default_headers
                if headers is not self._headers:
                    self._headers, self._first = headers, _first(headers)
                now_ns = self._now_ns()
                answer = self._lane.answer(plan, self._first, now_ns)
                if answer is not None:
                    self._inbound_due_ns = now_ns + self._idle_ns
                    if self.timeout_keep_alive_task is not None:
                        self._unset_keepalive_if_required()
                    self.transport.write(answer)
                    if not self._lane.answered & self._lane.look:
                        self._lane.durations.add((self._now_ns() - now_ns) / 1e9)
                    return
                if plan.fast.over:
                    self._plans.pop(data, None)
        self._parsing = True
        super().data_received(data)

    def _plan(self, data: bytes) -> Plan | None:
        if len(data) > self._bytes_max:
            return None
        plan = self._lane.plan(data, self._address)
        if plan is not None:
            if len(self._plans) >= _PLANS_MAX:
                self._plans.clear()
            self._plans[data] = plan
        return plan


def _first(headers: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """What answers begin with: 200 and 304, each with the server's own headers."""
    lines = b"".join(b"%b: %b\r\n" % (name.lower(), value) for name, value in headers)
    return b"HTTP/1.1 200 OK\r\n" + lines, b"HTTP/1.1 304 Not Modified\r\n" + lines
