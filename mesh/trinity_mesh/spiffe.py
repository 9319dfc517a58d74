"""SPIFFE IDs: the names that certificates of the mesh carry, as in spiffe://trinity.internal/price.

Read as strictly as the SPIFFE ID specification says: no port, user, query, fragment or
percent-encoding, no empty, "." or ".." segment, nothing in capitals in the trust domain.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_SCHEME: Final = "spiffe://"
_BYTES_MAX: Final = 2_048
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._-]+")
_SERVICE: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SERVICE_LENGTH_MAX: Final = 63


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """A name: who vouches for it, and whose it is."""

    trust_domain: str
    path: str
    """Empty, or "/" and segments."""

    def __str__(self) -> str:
        return f"{_SCHEME}{self.trust_domain}{self.path}"

    @property
    def service(self) -> str:
        """The service that a path of one segment names; empty for any other path."""
        name = self.path.removeprefix("/")
        return name if is_service_name(name) else ""


def id_of(trust_domain: str, service: str) -> SpiffeId:
    """The name of a service. Raises ValueError for a trust domain or service that no name can have."""
    check_trust_domain(trust_domain)
    if not is_service_name(service):
        raise ValueError(f"{service[:80]!r} is no name of a service: write it like price or webhook-worker")
    return SpiffeId(trust_domain, f"/{service}")


def server_name(trust_domain: str, service: str) -> str:
    """The DNS name by which clients know the certificate of a service: price.trinity.internal."""
    return f"{service}.{trust_domain}"


@lru_cache(maxsize=1_024)
def parse(text: str) -> SpiffeId:
    """Read a SPIFFE ID. Raises ValueError, saying what is wrong, for anything that the specification does not allow."""
    if len(text.encode()) > _BYTES_MAX:
        raise ValueError(f"a SPIFFE ID has at most {_BYTES_MAX} bytes")
    if not text.startswith(_SCHEME):
        raise ValueError(f"a SPIFFE ID begins with {_SCHEME}")
    trust_domain, slash, path = text.removeprefix(_SCHEME).partition("/")
    check_trust_domain(trust_domain)
    for segment in path.split("/") if slash else ():
        if not _SEGMENT.fullmatch(segment) or segment in (".", ".."):
            raise ValueError("the path of a SPIFFE ID has segments of letters, digits, dots, dashes and underscores")
    return SpiffeId(trust_domain, slash + path)


def check_trust_domain(text: str) -> None:
    """Raise ValueError unless this can be a trust domain."""
    if not _TRUST_DOMAIN.fullmatch(text):
        raise ValueError(
            f"{text[:80]!r} is no trust domain: small letters, digits, dots, dashes and underscores, 255 at most"
        )


def is_service_name(text: str) -> bool:
    """Whether a service may have this name, which must do as a label of DNS too."""
    return len(text) <= _SERVICE_LENGTH_MAX and _SERVICE.fullmatch(text) is not None
