"""Asks the usage service for leases: ahead of need, one call a key at a time, never in an answer's way."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import grpc.aio

from trinity.usage.v1 import usage_pb2, usage_service_pb2_grpc
from trinity_admission.quota import Grant, Lease, wanted
from trinity_core.backoff import Backoff
from trinity_core.errors import Code, Reason, TrinityError
from trinity_mesh.channels import call
from trinity_mesh.clock import Clock
from trinity_mesh.deadline_budget import for_everybody

log = logging.getLogger(__name__)

_WANTED_MAX: Final = 1_000_000_000
_EXPIRES_NS_MAX: Final = 3_600_000_000_000
_FAR_NS: Final = 1 << 63
_REFUSALS: Final = frozenset({Code.NOT_FOUND, Code.INVALID_ARGUMENT})


class Leases:
    """Renews the leases of one process."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        holder: str,
        clock: Clock,
        ahead_s: float,
        deadline_ms: int,
        again_ms: int,
        calls_max: int,
        backoff: Backoff | None = None,
    ) -> None:
        """Nothing is asked yet.

        Args:
            channel: leads to the usage service; the caller closes it.
            holder: id of this process, different from that of every other and of its earlier lives.
            clock: the machine's.
            ahead_s: for how long, at full rate, a lease should last.
            deadline_ms: longest that one call may take.
            again_ms: how long after a refusal the service is asked again.
            calls_max: most calls under way.
            backoff: waits after calls that failed; 50 ms doubling up to 2 s by default.
        """
        self._stub = usage_service_pb2_grpc.UsageServiceStub(channel)
        self._holder = holder
        self._clock = clock
        self._ahead_s = ahead_s
        self._deadline_s = deadline_ms / 1_000
        self._again_ns = again_ms * 1_000_000
        self._calls_max = calls_max
        self._backoff = backoff or Backoff()
        self._not_before_ns = 0
        self._asking: dict[str, asyncio.Task[None]] = {}
        self.failures = 0
        """Calls that failed."""
        self.grants = 0
        """Leases that came."""

    def ask(
        self, key_id: str, lease: Lease, *, monthly_quota: int, rate_per_s: float, burst: int
    ) -> asyncio.Task[None] | None:
        """Have a lease renewed; the call that is under way for the key, None where none can be now."""
        task = self._asking.get(key_id)
        if task is not None:
            return task
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._not_before_ns or len(self._asking) >= self._calls_max:
            return None
        used = lease.asked(now_ns)
        request = usage_pb2.LeaseQuotaRequest(
            holder=self._holder,
            key_id=key_id,
            wanted=min(
                _WANTED_MAX,
                wanted(
                    monthly_quota=monthly_quota,
                    rate_per_s=rate_per_s,
                    burst=burst,
                    ahead_s=self._ahead_s,
                    waiting=lease.waiting,
                ),
            ),
            used=used,
        )
        # The lease is for all who come with the key: what the first of them has left of its time does not bound it.
        with for_everybody():
            task = self._asking[key_id] = asyncio.get_running_loop().create_task(self._renew(request, lease))
        task.add_done_callback(lambda _: self._asking.pop(key_id, None))
        return task

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = tuple(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _renew(self, request: usage_pb2.LeaseQuotaRequest, lease: Lease) -> None:
        unix_ns = self._clock.unix_ns()
        try:
            answer = await call(self._stub.LeaseQuota(request, timeout=self._deadline_s))
        except TrinityError as error:
            self._failed(lease, error)
            return
        except Exception as error:
            log.exception("lease of a quota: unforeseen error")
            self._failed(lease, TrinityError(Reason.INTERNAL, type(error).__name__))
            return
        if self._backoff.failures:
            log.info("leases of quotas come again")
        self._backoff.succeeded()
        self.grants += 1
        grant = Grant(
            allowed=answer.allowed,
            unlimited=answer.unlimited,
            expires_in_ns=min(_EXPIRES_NS_MAX, answer.expire_time.ToNanoseconds() - unix_ns),
            reset_unix_ns=answer.reset_time.ToNanoseconds() if answer.HasField("reset_time") else _FAR_NS,
        )
        lease.granted(grant, self._clock.monotonic_ns(), again_ns=self._again_ns)

    def _failed(self, lease: Lease, error: TrinityError) -> None:
        now_ns = self._clock.monotonic_ns()
        if error.row.code in _REFUSALS:
            # The service was asked, and says no; a key that is new may have to reach it first.
            lease.refused(now_ns, again_ns=self._again_ns)
            return
        if not self._backoff.failures:
            log.warning("no leases of quotas now, keys go on without: %s", error)
        self.failures += 1
        lease.failed(now_ns)
        self._not_before_ns = now_ns + round(self._backoff.failed_s() * 1e9)
