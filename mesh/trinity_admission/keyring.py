"""All keys of the mesh in this process, and the check of a presented key. Pure: batches in, verdicts out.

What the replica holds is good as long as the account service was heard of lately (`age_max_ms`), so
that known keys work while everything behind it is down. A key that the service revokes is dropped
with the batch that says so. Expiry is judged by the wall clock at each request.

A presented key costs the same whether its id is unknown or its secret is wrong: one
HMAC-SHA256 under the pepper and one comparison in constant time. Only what cannot be a key at all,
by its form or its own checksum, which anybody can compute, is refused earlier.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Iterable
from typing import Final

from trinity.account.v1 import account_pb2
from trinity_admission.held_key import DIGEST_BYTES, HeldKey
from trinity_core.errors import Reason, TrinityError
from trinity_core.keys import digest_of, parse
from trinity_core.udp_session import tag_of_key

log = logging.getLogger(__name__)

NEVER_WAS: Final = -1 << 63
"""Before any time."""
_NO_DIGEST: Final = b"\0" * DIGEST_BYTES


class WatchBrokenError(Exception):
    """A batch broke the rules of WatchKeys; the text says which. The next stream must start from a snapshot."""


class Keyring:
    """The replica. For one event loop; everything is a look-up but `receive`."""

    def __init__(
        self,
        *,
        pepper: bytes,
        age_max_ms: int,
        keys_max: int,
        digest: Callable[[str, bytes], bytes] = digest_of,
    ) -> None:
        """An empty replica that judges nobody yet.

        Args:
            pepper: the mesh's secret that digests of keys are made with.
            age_max_ms: how long records hold after the account service was last heard of.
            keys_max: most keys that are held; the service's others are refused, and counted.
            digest: makes a key's digest.
        """
        self._pepper = pepper
        self._age_max_ns = age_max_ms * 1_000_000
        self._keys_max = keys_max
        self._digest = digest
        self._keys: dict[str, HeldKey] = {}
        self._by_tag: dict[int, tuple[str, ...]] = {}
        self._gathered: dict[str, HeldKey] | None = None
        self._needs_snapshot = True
        self.version = 0
        """Everything up to this version of the account service's tables is held."""
        self.heard_ns: int | None = None
        """When the replica was last known to be right, monotonic; None before it ever was."""
        self.good_until_ns = NEVER_WAS
        """Until when the replica may be believed, monotonic, if nothing is heard meanwhile."""
        self.changes = 0
        """Grows with every change of what is held."""
        self.revoked = 0
        """Keys dropped because the service said so."""
        self.refused = 0
        """Records that could not be held: one too many, or not as a record must be."""

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, key_id: str) -> HeldKey | None:
        """The record of a key, valid now or not; None for one that is not held."""
        return self._keys.get(key_id)

    def with_tag(self, tag: int) -> tuple[str, ...]:
        """Ids of the keys whose datagram sessions bear `tag` (trinity_core.udp_session)."""
        return self._by_tag.get(tag, ())

    def wires(self) -> list[bytes]:
        """Every record as it came."""
        return [held.wire for held in self._keys.values()]

    def find(self, text: str, *, mono_ns: int, unix_ns: int) -> HeldKey:
        """The key that `text` is, valid at that time.

        Raises TrinityError INVALID_KEY, the same for every key that is not good, and
        BACKEND_UNAVAILABLE when the replica is too old to say.
        """
        try:
            key_id = parse(text).key_id
        except ValueError:
            raise invalid_key() from None
        digest = self._digest(text, self._pepper)
        held = self._keys.get(key_id)
        same = hmac.compare_digest(_NO_DIGEST if held is None else held.digest, digest)
        if mono_ns > self.good_until_ns:
            raise too_old()
        if held is None or not same or unix_ns >= held.expire_unix_ns:
            raise invalid_key()
        return held

    def judge(self, held: HeldKey, *, mono_ns: int, unix_ns: int) -> HeldKey:
        """The record by which a key found earlier is judged now. Raises TrinityError as `find` does."""
        if held.dropped:
            now = self._keys.get(held.key_id)
            if now is None or now.digest != held.digest:
                raise invalid_key()
            held = now
        if mono_ns > self.good_until_ns:
            raise too_old()
        if unix_ns >= held.expire_unix_ns:
            raise invalid_key()
        return held

    def opened(self) -> int:
        """A stream is opened: the version to resume after, 0 for a snapshot."""
        self._gathered = None
        if self._needs_snapshot:
            return 0
        return self.version

    def distrust(self) -> None:
        """The next stream must start from a snapshot. What is held stays until that is complete."""
        self._needs_snapshot = True

    def restore(self, records: Iterable[account_pb2.KeyRecord], *, version: int, heard_ns: int) -> None:
        """Begin with what an earlier process of this host held; the service's word goes over it."""
        self._replace({held.key_id: held for held in self._held(records)})
        self.version = version
        self._heard(heard_ns)
        self._needs_snapshot = False

    def receive(self, batch: account_pb2.WatchKeysResponse, *, mono_ns: int) -> None:
        """Take one batch. Raises WatchBrokenError."""
        if batch.snapshot:
            self._gather(batch, mono_ns)
            return
        if self._gathered is not None:
            raise WatchBrokenError("changes came before the snapshot was complete")
        if self._needs_snapshot:
            if batch.keys:
                raise WatchBrokenError("changes came before any snapshot")
            return
        if batch.version < self.version:
            raise WatchBrokenError(f"version {batch.version} came after {self.version}")
        if batch.keys:
            self._apply(batch.keys)
        self.version = batch.version
        self._heard(mono_ns)

    @property
    def opening(self) -> bool:
        """The stream has not brought the replica up to date yet."""
        return self._needs_snapshot or self._gathered is not None

    def _heard(self, mono_ns: int) -> None:
        self.heard_ns = mono_ns
        self.good_until_ns = mono_ns + self._age_max_ns

    def _gather(self, batch: account_pb2.WatchKeysResponse, mono_ns: int) -> None:
        if self._gathered is None:
            self._gathered = {}
        gathered = self._gathered
        for record in batch.keys:
            if record.revoked:
                # It need not wait for the rest of the snapshot to stop.
                self._drop(record.key_id)
                gathered.pop(record.key_id, None)
        for held in self._held(batch.keys):
            if len(gathered) >= self._keys_max and held.key_id not in gathered:
                self._refuse(held.key_id, f"more than {self._keys_max} keys")
            else:
                gathered[held.key_id] = held
        if batch.snapshot_complete:
            self._gathered = None
            self._needs_snapshot = False
            self._replace(gathered)
            self.version = batch.version
            self._heard(mono_ns)

    def _replace(self, keys: dict[str, HeldKey]) -> None:
        for key_id in [key_id for key_id in self._keys if key_id not in keys]:
            self._drop(key_id)
        for held in keys.values():
            self._put(held)

    def _apply(self, records: Iterable[account_pb2.KeyRecord]) -> None:
        for record in records:
            if record.revoked:
                self._drop(record.key_id)
                continue
            for held in self._held((record,)):
                if len(self._keys) >= self._keys_max and held.key_id not in self._keys:
                    self._refuse(held.key_id, f"more than {self._keys_max} keys")
                else:
                    self._put(held)

    def _held(self, records: Iterable[account_pb2.KeyRecord]) -> Iterable[HeldKey]:
        """Records that are not revoked. One that makes no sense is refused, and its key with it."""
        for record in records:
            if record.revoked:
                continue
            try:
                yield HeldKey(record)
            except ValueError as error:
                self._refuse(record.key_id, str(error))
                self._drop(record.key_id)

    def _put(self, held: HeldKey) -> None:
        before = self._keys.get(held.key_id)
        if before is None:
            tag = tag_of_key(held.key_id)
            self._by_tag[tag] = (*self._by_tag.get(tag, ()), held.key_id)
        elif before.wire == held.wire:
            return
        else:
            before.dropped = True
        self._keys[held.key_id] = held
        self.changes += 1

    def _drop(self, key_id: str) -> None:
        held = self._keys.pop(key_id, None)
        if held is None:
            return
        held.dropped = True
        self.revoked += 1
        self.changes += 1
        tag = tag_of_key(key_id)
        left = tuple(each for each in self._by_tag[tag] if each != key_id)
        if left:
            self._by_tag[tag] = left
        else:
            del self._by_tag[tag]

    def _refuse(self, key_id: str, why: str) -> None:
        self.refused += 1
        if self.refused % 1_000 == 1:
            log.error("key %.16r is refused by the replica, the %d. so far: %s", key_id, self.refused, why)


def invalid_key() -> TrinityError:
    """The one answer to every key that is not good, whatever is wrong with it."""
    return TrinityError(Reason.INVALID_KEY, "this key is not known; check it, or ask for a new one")


def too_old() -> TrinityError:
    """No key can be judged: the replica was never complete, or has not been confirmed for too long."""
    return TrinityError(
        Reason.BACKEND_UNAVAILABLE,
        "keys cannot be checked now; try again, the key may well be good",
        retry_after_ms=1_000,
    )
