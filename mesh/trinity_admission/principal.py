"""Who asks: the holder of a key, or a peer of the mesh, and how it travels from a gateway to a service.

A gateway that has judged a key calls services over a Unix socket (mode 0600) and names the
caller in the metadata `x-trinity-principal`: base64 of a JSON object with "key_id",
"associate" and "scopes". So it does by mutual TLS from another host. From any other peer that
metadata means nothing. A peer of the mesh that names nobody speaks for the mesh itself; from another host
only the operator's certificate has the rights of an admin too.
"""

from __future__ import annotations

import base64
import binascii
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import grpc.aio
import msgspec

from trinity_core.errors import Reason, TrinityError
from trinity_mesh.identity import OPERATOR
from trinity_mesh.mesh_callers import mesh_peer

METADATA_KEY: Final = "x-trinity-principal"
"""Metadata that a gateway sends and never takes from its own callers."""

ADMIN: Final = "admin"
"""Implies every scope but `MESH`."""
MESH: Final = "mesh"
"""Held by the parts of the mesh, never by a key."""

_VALUE_LENGTH_MAX: Final = 4_096

judged: ContextVar[Principal | None] = ContextVar("judged", default=None)
"""The holder of the key that this call came with; set by the interceptor that judged the key."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, and what they may do."""

    key_id: str
    """Public id of the key; empty for a peer of the mesh."""
    associate: str
    """Id of the associate that owns the key; empty for a peer of the mesh."""
    scopes: frozenset[str]
    """Scopes as they were granted; `holds` knows what they imply."""

    def holds(self, scope: str) -> bool:
        """Whether the caller may do what `scope` allows."""
        return scope in self.scopes or (scope != MESH and ADMIN in self.scopes)


MESH_PEER: Final = Principal("", "", frozenset({MESH, ADMIN}))
"""A part of the mesh, or its operator, that speaks for itself."""
REMOTE_PEER: Final = Principal("", "", frozenset({MESH}))
"""A part of the mesh on another host that speaks for itself."""


class _Wire(msgspec.Struct, frozen=True):
    key_id: str
    associate: str
    scopes: tuple[str, ...]


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(_Wire)


def encode(principal: Principal) -> str:
    """The value of `x-trinity-principal` for a caller with a key."""
    wire = _Wire(principal.key_id, principal.associate, tuple(sorted(principal.scopes - {MESH})))
    return base64.b64encode(_ENCODER.encode(wire)).decode("ascii")


def metadata_of(principal: Principal) -> tuple[tuple[str, str], ...]:
    """The metadata a gateway adds to a call to a service, on behalf of a caller with a key."""
    return ((METADATA_KEY, encode(principal)),)


def decode(value: str | bytes) -> Principal:
    """The caller that a value of `x-trinity-principal` names; `mesh` is never among its scopes.

    Raises ValueError for anything that `encode` would not write.
    """
    if len(value) > _VALUE_LENGTH_MAX:
        raise ValueError(f"longer than {_VALUE_LENGTH_MAX} characters")
    try:
        wire = _DECODER.decode(base64.b64decode(value, validate=True))
    except (binascii.Error, msgspec.MsgspecError, ValueError) as error:
        raise ValueError("not base64 of a JSON object with key_id, associate and scopes") from error
    if not wire.key_id or not wire.associate:
        raise ValueError("key_id and associate must not be empty")
    return Principal(wire.key_id, wire.associate, frozenset(wire.scopes) - {MESH})


def principal_of(context: grpc.aio.ServicerContext[Any, Any]) -> Principal:
    """Who asks, inside a servicer.

    Raises TrinityError MISSING_KEY where nobody judged a key and the peer is none of the
    mesh, INVALID_KEY where a peer of the mesh names the caller in a way that cannot be read:
    it never falls back to the peer's own rights.
    """
    found = judged.get()
    if found is not None:
        return found
    peer = mesh_peer.get()
    if peer is None and not from_unix_socket(context):
        raise TrinityError(Reason.MISSING_KEY, "send the key as `authorization: Bearer tbk_…`")
    named = [value for key, value in context.invocation_metadata() or () if key == METADATA_KEY]
    if not named:
        return MESH_PEER if peer is None or peer.service == OPERATOR else REMOTE_PEER
    try:
        (value,) = named
        return decode(value)
    except ValueError as error:
        raise TrinityError(Reason.INVALID_KEY, f"{METADATA_KEY} does not name a caller") from error


def from_unix_socket(context: grpc.aio.ServicerContext[Any, Any]) -> bool:
    """Whether the peer came through a Unix socket, whose mode lets in only who runs the mesh."""
    return context.peer().startswith("unix:")


def require(principal: Principal, scope: str) -> None:
    """Raise TrinityError MISSING_SCOPE unless the caller holds `scope`."""
    if not principal.holds(scope):
        raise TrinityError(
            Reason.MISSING_SCOPE,
            f"this needs the scope {scope}, which the key does not have",
            metadata={"scope": scope},
        )
