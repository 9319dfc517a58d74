"""Which part of the mesh may make which call: the table in the contracts, and the interceptor that holds calls to it.

    rpc WatchKeys(…) returns (stream …) {
      option (trinity.options.v1.method) = {scopes: "mesh" mesh_callers: "gateway" …};
    }

`scopes` says what a caller with a key needs; `mesh_callers` names the services that may call over mutual TLS, by the
names in their certificates. A method without any is for no peer on another host. On a Unix socket the peer
is the owner of the socket, and the interceptor is not there.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Collection
from contextvars import ContextVar
from typing import Any, Final

import grpc.aio
from google.protobuf import descriptor_pool

from trinity_core.errors import Reason, TrinityError
from trinity_mesh.interceptors import Handler, wrapped
from trinity_mesh.spiffe import SpiffeId, parse
from trinity_mesh.validate import method_rules

Context = grpc.aio.ServicerContext[Any, Any]

mesh_peer: ContextVar[SpiffeId | None] = ContextVar("mesh_peer", default=None)
"""The peer that this call came from, once it is known and may make it; None on Unix sockets and for keys."""

_URI: Final = "peer_uri"
"""Names of a peer's certificate in what gRPC tells of it: those that stand there as URI."""


def mesh_callers(method: str) -> frozenset[str]:
    """The services that may call a method over mutual TLS; none for a method that no contract knows."""
    service, _, name = method.removeprefix("/").rpartition("/")
    try:
        found = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    except KeyError:
        return frozenset()
    return frozenset(method_rules(found.GetOptions()).mesh_callers)


class MeshCallers:
    """Lets a call in when the peer's certificate names a service that the table has for it."""

    name = "identity"

    def __init__(self, *, trust_domain: str, allowed: Collection[str] = ()) -> None:
        """`allowed` narrows the table to these services; empty for all of them."""
        self._trust_domain = trust_domain
        self._allowed = frozenset(allowed)

    def around(self, method: str, handler: Any) -> Any:
        """Judge every call of a method by its row."""
        callers = mesh_callers(method)
        if self._allowed:
            callers &= self._allowed
        return wrapped(handler, lambda inner: self._around(inner, method, callers))

    def _around(self, inner: Handler, method: str, callers: frozenset[str]) -> Handler:
        if inspect.isasyncgenfunction(inner):

            async def judged_stream(request: Any, context: Context) -> AsyncIterator[Any]:
                mesh_peer.set(self._peer(context, method, callers))
                async for response in inner(request, context):
                    yield response

            return judged_stream

        async def judged(request: Any, context: Context) -> Any:
            mesh_peer.set(self._peer(context, method, callers))
            return await inner(request, context)

        return judged

    def _peer(self, context: Context, method: str, callers: frozenset[str]) -> SpiffeId:
        """Who calls. Raises TrinityError UNKNOWN_PEER or PEER_NOT_ALLOWED."""
        names = tuple(context.auth_context().get(_URI) or ())
        if len(names) != 1:
            raise TrinityError(
                Reason.UNKNOWN_PEER, f"the peer's certificate has {len(names)} URI names; exactly one is needed"
            )
        try:
            peer = parse(names[0].decode("ascii"))
        except ValueError as error:
            raise TrinityError(Reason.UNKNOWN_PEER, f"the peer's certificate names nobody: {error}") from error
        if peer.trust_domain != self._trust_domain or not peer.service or peer.service not in callers:
            words = ", ".join(sorted(callers)) or "nobody"
            raise TrinityError(
                Reason.PEER_NOT_ALLOWED,
                f"{peer} may not call {method}: over mutual TLS it is for {words} of {self._trust_domain}",
                metadata={"peer": str(peer), "method": method},
            )
        return peer
