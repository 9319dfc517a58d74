"""Whose key a request carries: `Authorization: Bearer …`, and a first keyring in a settings file."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from pathlib import Path
from typing import Final

import msgspec

from trinity_core.errors import Reason, TrinityError
from trinity_http.answer import Authenticator, Principal
from trinity_http.contract import Method
from trinity_mesh.clock import Clock
from trinity_mesh.config import ConfigError

log = logging.getLogger(__name__)


async def authorize(authorization: bytes | None, method: Method, authenticator: Authenticator) -> Principal | None:
    """Who may make this call; None for a method that takes calls without a key.

    Raises TrinityError: MISSING_KEY (401) where no bearer key is given, INVALID_KEY (401),
    MISSING_SCOPE (403) where the key does not hold every scope of the method.
    """
    if method.anonymous:
        return None
    found = _BEARER.fullmatch(authorization) if authorization is not None else None
    if found is None:
        raise TrinityError(Reason.MISSING_KEY, "a key is needed; send it as Authorization: Bearer <key>")
    principal = await authenticator.authenticate(found[1].decode("ascii"))
    missing = [scope for scope in method.scopes if principal.scopes is not None and scope not in principal.scopes]
    if missing:
        raise TrinityError(
            Reason.MISSING_SCOPE,
            f"this key lacks the scope {', '.join(missing)}, which {method.name} needs",
            metadata={"scope": ",".join(missing)},
        )
    return principal


def invalid_key() -> TrinityError:
    """The one answer to every key that is not good, whatever is wrong with it."""
    return TrinityError(Reason.INVALID_KEY, "this key is not known; check it, or ask for a new one")


class SettingsFileKeys:
    """Keys listed in a JSON file by their SHA-256, read again when the file changes.

        {"keys": [{"id": "demo", "key_sha256": "<64 hex digits>", "scopes": ["prices.read"]}]}

    The file never holds a key itself. A file that becomes unreadable leaves the keys as they were.
    """

    def __init__(self, path: Path, *, clock: Clock, reread_ms: int = 1_000) -> None:
        """Read the file; `reread_ms` is how often it is looked at again. Raises ConfigError."""
        self._path = path
        self._clock = clock
        self._reread_ns = reread_ms * 1_000_000
        self._looked_ns = clock.monotonic_ns()
        self._seen = _version(path)
        self._by_digest = _read(path)

    async def authenticate(self, key: str) -> Principal:
        """The owner of a key. Raises TrinityError INVALID_KEY."""
        self._reread()
        digest = hashlib.sha256(key.encode("ascii")).digest()
        # What the look-up's timing could tell is of the digest, not of the key; the comparison tells nothing.
        known, principal = self._by_digest.get(digest, _NOBODY)
        if principal is None or not hmac.compare_digest(known, digest):
            raise invalid_key()
        return principal

    def _reread(self) -> None:
        now = self._clock.monotonic_ns()
        if now - self._looked_ns < self._reread_ns:
            return
        self._looked_ns = now
        version = _version(self._path)
        if version == self._seen:
            return
        try:
            self._by_digest = _read(self._path)
        except ConfigError as error:
            log.error("the keys stay as they were: %s", error)  # noqa: TRY400 - the text says all
        else:
            log.info("read %d keys from %s", len(self._by_digest), self._path)
        self._seen = version


class _Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    key_sha256: str
    scopes: list[str] = []


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: list[_Key]


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _read(path: Path) -> dict[bytes, tuple[bytes, Principal | None]]:
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"the key file {path} cannot be read: {error.strerror}") from error
    if len(data) > _FILE_BYTES_MAX:
        raise ConfigError(f"the key file {path} is greater than {_FILE_BYTES_MAX} bytes")
    try:
        keys = msgspec.json.decode(data, type=_File).keys
    except msgspec.DecodeError as error:
        raise ConfigError(f"the key file {path} is not as it should be: {error}") from error
    found: dict[bytes, tuple[bytes, Principal | None]] = {}
    for key in keys:
        if not _ID.fullmatch(key.id) or not _SHA256.fullmatch(key.key_sha256):
            raise ConfigError(f"the key file {path}: {key.id[:64]!a} needs an id and 64 hex digits of SHA-256")
        digest = bytes.fromhex(key.key_sha256)
        if digest in found:
            raise ConfigError(f"the key file {path}: {key.id} is a key that stands in it already")
        found[digest] = (digest, Principal(key.id, frozenset(key.scopes)))
    return found


_NOBODY: Final[tuple[bytes, Principal | None]] = (b"", None)
_FILE_BYTES_MAX: Final = 4 << 20
_BEARER: Final = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9\-._~+/]{1,512}=*)")
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
