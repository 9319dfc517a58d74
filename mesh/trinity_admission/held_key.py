"""One key as a replica holds it: the account service's record, made ready to be judged by."""

from __future__ import annotations

import re
from typing import Final

from trinity.account.v1 import account_pb2
from trinity_admission.networks import Networks
from trinity_admission.principal import MESH, Principal, metadata_of
from trinity_core.usage import Transport

DIGEST_BYTES: Final = 32
NEVER_NS: Final = 1 << 63
"""The end of a key that has none, unix nanoseconds."""

_ID: Final = re.compile(r"[0-9A-Za-z._-]{1,64}")
_LISTS_MAX: Final = {"scopes": 16, "allowed_networks": 64, "assets": 200, "transports": 3}
"""Most items of each list, as the contract has them."""


class HeldKey:
    """A key's record. It never changes: a record that changed is another HeldKey, and this one is dropped."""

    __slots__ = (
        "assets",
        "associate",
        "burst",
        "digest",
        "dropped",
        "expire_unix_ns",
        "key_id",
        "metadata",
        "monthly_quota",
        "networks",
        "principal",
        "rate_per_s",
        "transports",
        "wire",
    )

    def __init__(self, record: account_pb2.KeyRecord) -> None:
        """Raises ValueError for a record that no account service would send."""
        if not _ID.fullmatch(record.key_id) or not record.associate or len(record.digest) != DIGEST_BYTES:
            raise ValueError("a record needs a key id, an associate and a digest of 32 bytes")
        for name, most in _LISTS_MAX.items():
            if len(getattr(record, name)) > most:
                raise ValueError(f"{name} has more than {most} items")
        if not record.rate_per_s or not record.burst:
            raise ValueError("rate_per_s and burst must be at least 1")
        self.key_id = record.key_id
        self.associate = record.associate
        self.digest = record.digest
        self.principal = Principal(record.key_id, record.associate, frozenset(record.scopes) - {MESH})
        self.metadata = metadata_of(self.principal)
        """What tells a service over a Unix socket who asks."""
        self.networks = Networks(record.allowed_networks) if record.allowed_networks else None
        """None: any address."""
        self.assets = frozenset(record.assets) or None
        """None: all assets."""
        self.transports = frozenset(map(Transport, record.transports)) or None
        """None: all transports."""
        self.rate_per_s = record.rate_per_s
        self.burst = record.burst
        self.monthly_quota = record.monthly_quota
        """Answers in a calendar month for the associate; 0 sets no bound."""
        self.expire_unix_ns = record.expire_time.ToNanoseconds() if record.HasField("expire_time") else NEVER_NS
        self.wire = record.SerializeToString(deterministic=True)
        """The record as it came, to compare and to keep."""
        self.dropped = False
        """The replica holds this record no more: it was replaced, revoked, or is gone."""

    def __repr__(self) -> str:
        return f"HeldKey({self.key_id}, {self.associate})"
