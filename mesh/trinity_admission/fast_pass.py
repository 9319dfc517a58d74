"""One key's short way through admission, for answers that are at hand: what was judged once is not judged again.

    fast = admission.fast_pass(held, transport=…, method="GetPrice", scopes=…, address=peer)   # once a connection
    fields = None if fast is None else fast.answer("BTC")                                    # for each answer
    if fields is None: …                                                                   # the long way

A pass never refuses: whatever is not plainly good goes the long way, which says why, counts it and
asks the usage service for more. What both let in, they count and charge alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trinity_admission.held_key import NEVER_NS, HeldKey
from trinity_admission.keyring import Keyring
from trinity_admission.seat import Counts, Seat
from trinity_core.errors import TrinityError
from trinity_core.usage import Outcome, Transport
from trinity_mesh.clock import Clock

if TYPE_CHECKING:
    from trinity_admission.ledger import Slot

_SEVERAL_MAX: Final = 256
"""Most sets of assets whose counters a pass has at hand."""
_LINES: Final = 'ratelimit-policy: {}\r\nratelimit: "rate";r=%d;t=%d\r\n'


class FastPass:
    """Made by `Admission.fast_pass`; good until it says None for good, and for one address alone."""

    __slots__ = (
        "_assets",
        "_count",
        "_counts",
        "_expires",
        "_good_at_ns",
        "_good_at_unix_ns",
        "_held",
        "_keyring",
        "_leased",
        "_lines",
        "_method",
        "_monotonic_ns",
        "_seat",
        "_several",
        "_slots",
        "_transport",
        "_unix_ns",
    )

    def __init__(
        self,
        held: HeldKey,
        seat: Seat,
        *,
        keyring: Keyring,
        counts: Counts,
        clock: Clock,
        assets: frozenset[str],
        leased: bool,
        transport: Transport,
        method: str,
    ) -> None:
        """The key was found good, and good for this transport and method and the caller's address."""
        self._held = held
        self._seat = seat
        self._keyring = keyring
        self._counts = counts
        self._count = counts.count
        self._monotonic_ns = clock.monotonic_ns
        self._unix_ns = clock.unix_ns
        self._assets = assets if held.assets is None else assets & held.assets
        self._leased = leased and held.monthly_quota > 0
        self._good_at_ns = self._good_at_unix_ns = -1
        self._expires = held.expire_unix_ns != NEVER_NS
        self._transport = transport
        self._method = method
        self._lines = _LINES.format(seat.policy).encode("ascii")
        self._slots: dict[str, Slot] = {}
        self._several: dict[tuple[str, ...], tuple[Slot, ...]] = {}

    @property
    def over(self) -> bool:
        """The key's record was replaced, or is gone: the pass says None from now on."""
        return self._held.dropped

    def good(self, now_ns: int, unix_ns: int) -> bool:
        """Whether the key itself is good, by clocks that were read already; what one reading of them said holds."""
        held = self._held
        if held.dropped:
            return False
        if now_ns == self._good_at_ns and unix_ns == self._good_at_unix_ns:
            return True
        if now_ns > self._keyring.good_until_ns or unix_ns >= held.expire_unix_ns:
            return False
        self._good_at_ns, self._good_at_unix_ns = now_ns, unix_ns
        return True

    def answer(self, asset: str) -> bytes | None:
        """Let one answer about one asset in, and count it as LOCAL: it must be handed to the kernel next.

        Returns the lines of its header fields, as HTTP/1.1 has them; None where the long way
        must be gone, and then nothing was counted.
        """
        return self.answer_at(asset, self._monotonic_ns())

    def answer_at(self, asset: str, now_ns: int) -> bytes | None:
        """The same, for callers who have just read the monotonic clock."""
        held = self._held
        if held.dropped or now_ns > self._keyring.good_until_ns:
            return None
        if self._expires and self._unix_ns() >= held.expire_unix_ns:
            return None
        slot = self._slots.get(asset) or self._slot(asset)
        if slot is None:
            return None
        seat = self._seat
        lease = None
        if self._leased:
            lease = seat.lease
            if lease is None or lease.over(self._unix_ns()) or not lease.allows(now_ns) or lease.wants(now_ns):
                return None
        told = seat.bucket.take_told(now_ns)
        if told is None:
            return None
        try:
            self._count(slot)
        except TrinityError:
            return None
        if lease is not None:
            lease.used += 1
        return self._lines % told

    def answers_at(self, assets: tuple[str, ...], now_ns: int, unix_ns: int, n: int = 1) -> tuple[Slot, ...] | None:
        """Let `n` answers about each of the assets in, all or none, by clocks that were read already.

        Only while the pass is `good`. Returns where they were counted, to be given back to `Counts`
        should they not leave; None where the long way must be gone, and then nothing was counted.
        """
        slots = self._several.get(assets) or self._slots_of(assets)
        if slots is None:
            return None
        seat, count = self._seat, len(slots) * n
        lease = None
        if self._leased:
            lease = seat.lease
            if lease is None or lease.over(unix_ns) or not lease.allows(now_ns, count) or lease.wants(now_ns):
                return None
        if seat.bucket.take(now_ns, count):
            return None
        if not self._counts.count_each(slots, unix_ns, n):
            return None
        if lease is not None:
            lease.used += count
        return slots

    def _slots_of(self, assets: tuple[str, ...]) -> tuple[Slot, ...] | None:
        slots: list[Slot] = []
        for asset in assets:
            slot = self._slots.get(asset) or self._slot(asset)
            if slot is None:
                return None
            slots.append(slot)
        if len(self._several) >= _SEVERAL_MAX:
            self._several.clear()
        made = self._several[assets] = tuple(slots)
        return made

    def _slot(self, asset: str) -> Slot | None:
        if asset not in self._assets:
            return None
        try:
            slot = self._seat.slot(self._counts, self._transport, self._method, asset, Outcome.LOCAL)
        except TrinityError:
            return None
        self._slots[asset] = slot
        return slot


class UnkeyedPass:
    """Likewise for callers without a key, whom nothing bounds but the adapter itself: nothing but the count."""

    __slots__ = ("_assets", "_counts", "_method", "_seat", "_slots", "_transport")

    def __init__(
        self, seat: Seat, *, counts: Counts, assets: frozenset[str], transport: Transport, method: str
    ) -> None:
        self._seat = seat
        self._counts = counts
        self._assets = assets
        self._transport = transport
        self._method = method
        self._slots: dict[str, tuple[Slot, ...]] = {}

    def answer_at(self, asset: str, unix_ns: int, n: int = 1) -> tuple[Slot, ...] | None:
        """Count `n` answers about one asset as LOCAL, all or none; None where the long way must be gone."""
        slots = self._slots.get(asset)
        if slots is None:
            if asset not in self._assets:
                return None
            try:
                slot = self._seat.slot(self._counts, self._transport, self._method, asset, Outcome.LOCAL)
            except TrinityError:
                return None
            slots = self._slots[asset] = (slot,)
        return slots if self._counts.count_each(slots, unix_ns, n) else None
