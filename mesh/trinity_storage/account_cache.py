"""Copies of keys and of shared settings in Valkey, for a day: `apikey:<key id>` and `app:config`.

A cache only: PostgreSQL has the truth, and losing the copy loses nothing. Records of keys
bear a MAC, because a service that starts while PostgreSQL is away takes them from here: who can write into the
cache must not be able to give a key more than it has.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Final

from trinity_storage.valkey import Valkey, Word

KEY_PREFIX: Final = "apikey:"
SETTINGS_KEY: Final = "app:config"
LIFE_S: Final = 86_400

_MAC_BYTES: Final = 16
_AT_ONCE: Final = 500
_RECORD_BYTES_MAX: Final = 64 << 10


class AccountCache:
    """Stores and finds copies. Every call raises TrinityError as `Valkey.pipeline` does."""

    def __init__(self, valkey: Valkey, *, secret: bytes) -> None:
        """`secret` keys the MAC; `valkey` stays its owner's to close."""
        self._valkey = valkey
        self._secret = secret

    async def store_keys(self, records: Mapping[str, bytes]) -> None:
        """Replace the copies of some keys, for a day from now. Records are serialised KeyRecord messages."""
        commands: list[tuple[Word, ...]] = [
            ("SET", f"{KEY_PREFIX}{key_id}", self._mac(key_id, record) + record, "EX", LIFE_S)
            for key_id, record in records.items()
            if len(record) <= _RECORD_BYTES_MAX
        ]
        for start in range(0, len(commands), _AT_ONCE):
            await self._valkey.pipeline(commands[start : start + _AT_ONCE])

    async def load_keys(self) -> Mapping[str, bytes]:
        """Every copy of a key that is whole and ours."""
        found: dict[str, bytes] = {}
        cursor = b"0"
        while True:
            cursor, names = await self._valkey.call("SCAN", cursor, "MATCH", f"{KEY_PREFIX}*", "COUNT", _AT_ONCE)
            values = await self._valkey.call("MGET", *names) if names else []
            for name, value in zip(names, values, strict=True):
                key_id = name.decode("ascii", "replace").removeprefix(KEY_PREFIX)
                if value is None or not key_id.isascii():
                    continue
                mac, record = value[:_MAC_BYTES], value[_MAC_BYTES:]
                if hmac.compare_digest(mac, self._mac(key_id, record)):
                    found[key_id] = record
            if cursor == b"0":
                return found

    async def drop_keys(self, unless: Callable[[str], bool]) -> int:
        """Remove copies of keys that are not known (any more); how many there were."""
        dropped = 0
        cursor = b"0"
        while True:
            cursor, names = await self._valkey.call("SCAN", cursor, "MATCH", f"{KEY_PREFIX}*", "COUNT", _AT_ONCE)
            strangers = [name for name in names if not unless(name.decode("ascii", "replace").removeprefix(KEY_PREFIX))]
            if strangers:
                dropped += int(await self._valkey.call("DEL", *strangers))
            if cursor == b"0":
                return dropped

    async def store_settings(self, document: bytes) -> None:
        """Replace the copy of the shared settings, a JSON object by key, for a day from now."""
        await self._valkey.call("SET", SETTINGS_KEY, document, "EX", LIFE_S)

    def _mac(self, key_id: str, record: bytes) -> bytes:
        message = f"{KEY_PREFIX}{key_id}\0".encode("ascii") + record
        return hmac.digest(self._secret, message, "sha256")[:_MAC_BYTES]
