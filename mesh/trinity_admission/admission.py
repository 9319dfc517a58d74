"""Who may ask, how often, and the count of what was answered: one object for HTTP, datagrams and direct gRPC.

    held = admission.find(key)                       # TrinityError INVALID_KEY, BACKEND_UNAVAILABLE
    await admission.prepare(held)                    # only where waiting is possible; see there
    admitted = admission.admit(held, transport=Transport.HTTP, method="GetPrice", scopes=("prices.read",))
    try:
        admitted.ask(("BTC",))                       # once the request is known
        …
        admitted.answered(Outcome.LOCAL)             # before the answer is handed to the kernel
    finally:
        admitted.close()

The order of checks: is the key good, does it come from a network it may come from, has its bucket a
token, has its plan this transport, has it the scopes, the assets, and is anything left of the month.
What is refused before the bucket is looked at costs no token, so that a stranger who found a
key cannot drain it from elsewhere; everything later costs one.

docs/admission.md says what is billed. All of it is look-ups and arithmetic: nothing here waits
for the account service, the usage service or a store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Final, NoReturn

from trinity_admission import refusals
from trinity_admission.admitted import Admitted
from trinity_admission.asked import outcome_of_code
from trinity_admission.fast_pass import FastPass, UnkeyedPass
from trinity_admission.held_key import NEVER_NS, HeldKey
from trinity_admission.keyring import Keyring
from trinity_admission.quota import Lease, Take, until_reset_ms
from trinity_admission.quota_leases import Leases
from trinity_admission.ratelimit_fields import LIMIT, month_spent
from trinity_admission.refusals import RefusedError
from trinity_admission.seat import Cell, Counts, Seat
from trinity_core.errors import Reason, TrinityError
from trinity_core.usage import Transport, hour_of
from trinity_mesh.clock import Clock

log = logging.getLogger(__name__)

SWEEP_S: Final = 0.25
"""How often open streams are judged anew: a stream outlives its key by no more, once the revocation is here."""

_UNKEYED_MAX: Final = 16


def own_cell(key_id: str) -> Cell | None:
    """Where a key's bucket stands: in this process."""
    return None


class Admission:
    """Admission of one process, on one event loop."""

    def __init__(
        self,
        *,
        keyring: Keyring,
        counts: Counts,
        leases: Leases | None,
        clock: Clock,
        assets: Collection[str],
        share: float = 1.0,
        trust_ms: int = 86_400_000,
        wait_ms: int = 250,
        cell_of: Callable[[str], Cell | None] = own_cell,
    ) -> None:
        """Nothing runs yet; `run` must.

        Args:
            keyring: the replica of the keys; its owner keeps it up to date.
            counts: the ledger.
            leases: renews quotas; None where quotas are not looked at.
            clock: the machine's.
            assets: ids that an answer may be counted under; others are counted under none.
            share: how much of a key's rate and burst this process gives.
            trust_ms: how long keys go on beyond their leases while the usage service cannot be asked.
            wait_ms: longest that `prepare` waits for it.
            cell_of: where the bucket of a key id stands; None for in this process.
        """
        self._keyring = keyring
        self._leases = leases
        self._clock = clock
        self._share = share
        self._trust_ns = trust_ms * 1_000_000
        self._wait_s = wait_ms / 1_000
        self._cell_of = cell_of
        self._seats: dict[str, Seat] = {}
        self._unkeyed: dict[str, Seat] = {}
        self._swept_hour = 0
        self.now_ns = clock.monotonic_ns
        self.counts = counts
        self.assets = frozenset(assets)
        self.streams: set[Admitted] = set()
        """Streams that are open."""
        self.refusals: dict[str, int] = {}
        """Refusals to holders of valid keys, by reason."""

    def find(self, key: str) -> HeldKey:
        """The key that a caller presents. Raises TrinityError INVALID_KEY or BACKEND_UNAVAILABLE."""
        return self._keyring.find(key, mono_ns=self._clock.monotonic_ns(), unix_ns=self._clock.unix_ns())

    async def prepare(self, held: HeldKey) -> None:
        """Wait, at most `wait_ms`, for the usage service's word where an answer now would go beyond the lease.

        Without it `admit` lets such a request in on trust; with it quotas are kept exactly as
        long as the service answers.
        """
        if not held.monthly_quota or self._leases is None or held.dropped:
            return
        seat = self._seat(held)
        lease = self._lease(seat)
        if lease is None or not lease.awaits_word(self._clock.monotonic_ns()):
            return
        lease.waiting += 1
        try:
            async with asyncio.timeout(self._wait_s):
                # Others may take what comes first; then it is asked for again.
                while lease.awaits_word(self._clock.monotonic_ns()) and (task := self._ask(seat, lease)) is not None:
                    await asyncio.wait((task,))
        except TimeoutError:
            pass
        finally:
            lease.waiting -= 1

    def admit(
        self,
        key: HeldKey | str,
        *,
        transport: Transport,
        method: str,
        scopes: tuple[str, ...] = (),
        address: str = "",
        assets: tuple[str, ...] | None = None,
    ) -> Admitted:
        """Let one request in.

        Args:
            key: found before, or as it was presented.
            transport: how the request came.
            method: short name of what is asked for, as it is counted: "GetPrice".
            scopes: scopes that the method needs, all of them.
            address: the caller's; empty for a local socket, which is in no network.
            assets: ids that are asked for, upper case; empty for all, None where it is not known yet.

        Raises TrinityError INVALID_KEY and BACKEND_UNAVAILABLE, and RefusedError, which is
        counted already: NETWORK_NOT_ALLOWED, RATE_LIMITED, TRANSPORT_NOT_ALLOWED,
        MISSING_SCOPE, ASSET_NOT_ALLOWED, QUOTA_EXHAUSTED.
        """
        now_ns = self._clock.monotonic_ns()
        held = self.find(key) if isinstance(key, str) else key
        unix_ns = 0
        if held.dropped or now_ns > self._keyring.good_until_ns or held.expire_unix_ns != NEVER_NS:
            unix_ns = self._clock.unix_ns()
            held = self._keyring.judge(held, mono_ns=now_ns, unix_ns=unix_ns)
        seat = self._seats.get(held.key_id)
        if seat is None or seat.held is not held:
            seat = self._seat(held)
        admitted = Admitted(
            self, seat, transport=transport, method=method, scopes=scopes, address=address, assets=assets
        )
        if held.networks is not None and not held.networks.hold(address):
            self._refuse(admitted, refusals.network_not_allowed(address))
        wait_ns = seat.bucket.take(now_ns)
        if wait_ns:
            self._refuse(admitted, refusals.rate_limited(held.rate_per_s, wait_ns))
        error = seat.verdict(transport, scopes, method)
        if error is None and assets is not None and held.assets is not None:
            error = seat.asset_verdict(assets)
        if error is not None:
            self._refuse(admitted, error)
        if held.monthly_quota and self._leases is not None:
            admitted.lease = self._reserve(admitted, seat, now_ns, unix_ns or self._clock.unix_ns())
        return admitted

    def fast_pass(
        self, held: HeldKey, *, transport: Transport, method: str, scopes: tuple[str, ...], address: str
    ) -> FastPass | None:
        """A short way for a key's answers that are at hand; None where it has to go the long one."""
        if self.counts.strict or held.dropped or (held.networks is not None and not held.networks.hold(address)):
            return None
        seat = self._seat(held)
        if seat.verdict(transport, scopes, method) is not None:
            return None
        return FastPass(
            held,
            seat,
            keyring=self._keyring,
            counts=self.counts,
            clock=self._clock,
            assets=self.assets,
            leased=self._leases is not None,
            transport=transport,
            method=method,
        )

    def unkeyed(self, name: str, *, transport: Transport, method: str, assets: tuple[str, ...] | None) -> Admitted:
        """Let a caller without a key in, to be counted under `name`; there are no bounds but the adapter's own."""
        seat = self._unkeyed_seat(name)
        return Admitted(self, seat, transport=transport, method=method, scopes=(), address="", assets=assets)

    def unkeyed_pass(self, name: str, *, transport: Transport, method: str) -> UnkeyedPass | None:
        """A short way for such callers' answers that are at hand; None where they have to go the long one."""
        if self.counts.strict:
            return None
        seat = self._unkeyed_seat(name)
        return UnkeyedPass(seat, counts=self.counts, assets=self.assets, transport=transport, method=method)

    async def run(self) -> None:
        """End streams whose keys are good no more, and let go of what is not needed, until cancelled."""
        while True:
            await self._clock.sleep(SWEEP_S)
            try:
                self.sweep()
            except Exception:
                # Whatever it was, streams must go on being judged.
                log.exception("unforeseen error while streams were judged anew")

    def sweep(self) -> None:
        """One round of `run`."""
        now_ns, unix_ns = self._clock.monotonic_ns(), self._clock.unix_ns()
        for admitted in tuple(self.streams):
            try:
                held = self._keyring.judge(admitted.held, mono_ns=now_ns, unix_ns=unix_ns)
                if held is not admitted.held:
                    self._seat(held)
                admitted.rejudge()
            except TrinityError as error:
                admitted.end(error)
        hour = hour_of(unix_ns)
        if hour != self._swept_hour:
            self._swept_hour = hour
            for seat in (*self._seats.values(), *self._unkeyed.values()):
                seat.forget_slots()
            for key_id in [key_id for key_id in self._seats if self._keyring.get(key_id) is None]:
                del self._seats[key_id]

    def _unkeyed_seat(self, name: str) -> Seat:
        seat = self._unkeyed.get(name)
        if seat is None:
            if len(self._unkeyed) >= _UNKEYED_MAX:
                raise ValueError(f"{name} is one name too many for callers without keys")
            seat = self._unkeyed[name] = Seat(name)
        return seat

    def _seat(self, held: HeldKey) -> Seat:
        seat = self._seats.get(held.key_id)
        if seat is None:
            cell = self._cell_of(held.key_id)
            seat = self._seats[held.key_id] = Seat(held.key_id, held, share=self._share, cell=cell)
        elif seat.held is not held:
            seat.adopt(held, share=self._share)
        return seat

    def _lease(self, seat: Seat) -> Lease | None:
        """The lease of the month that it is now."""
        if seat.lease is not None and seat.lease.over(self._clock.unix_ns()):
            seat.lease = Lease()
        return seat.lease

    def _reserve(self, admitted: Admitted, seat: Seat, now_ns: int, unix_ns: int) -> Lease:
        lease = seat.lease
        assert lease is not None
        if lease.over(unix_ns):
            lease = seat.lease = Lease()
        took = lease.take(now_ns, trust_ns=self._trust_ns)
        if took is Take.TRUSTED or took is Take.UNKNOWN or lease.wants(now_ns):
            self._ask(seat, lease)
        if took is Take.SPENT:
            assert seat.held is not None
            reset_ms = until_reset_ms(lease, unix_ns)
            self._refuse(admitted, refusals.quota_exhausted(seat.held.monthly_quota, reset_ms))
        if took is Take.UNKNOWN:
            self._refuse(admitted, refusals.quota_unknown())
        return lease

    def _ask(self, seat: Seat, lease: Lease) -> asyncio.Task[None] | None:
        assert self._leases is not None
        assert seat.held is not None
        bucket = seat.bucket
        return self._leases.ask(
            seat.key_id,
            lease,
            monthly_quota=seat.held.monthly_quota,
            rate_per_s=bucket.rate_per_s,
            burst=bucket.burst,
        )

    def _refuse(self, admitted: Admitted, error: TrinityError) -> NoReturn:
        reason = str(error.reason)
        self.refusals[reason] = self.refusals.get(reason, 0) + 1
        admitted.answered(outcome_of_code(error.row.code))
        fields = admitted.fields()
        if error.reason is Reason.QUOTA_EXHAUSTED:
            fields[LIMIT] = month_spent(fields[LIMIT], error.retry_after_ms)
        raise RefusedError.of(error, fields)
