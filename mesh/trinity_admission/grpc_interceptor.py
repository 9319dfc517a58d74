"""Admission of direct gRPC callers: whose key a call carries, what it may do, and the count of its answer.

    MeshServer(address="0.0.0.0:50051", services=[…], interceptors=with_admission(admission))

A peer on a Unix socket belongs to the mesh and passes; what it says of its own callers is for
`principal_of` to read. Any other needs `authorization: Bearer <key>` for every method of ours that is not
anonymous; health checks and reflection need none. The key's limits go back as trailing metadata
`ratelimit-policy` and `ratelimit`. A stream is counted with its first message, and ends when its
key stops being good for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.message import Message

from trinity.options.v1 import options_pb2
from trinity_admission.admission import Admission
from trinity_admission.admitted import Admitted
from trinity_admission.asked import assets_of, outcome_of_code, outcome_of_response
from trinity_admission.client_address import ClientAddress
from trinity_admission.keyring import invalid_key
from trinity_admission.principal import from_unix_socket, judged
from trinity_admission.refusals import RefusedError
from trinity_core.errors import Code, Reason, TrinityError
from trinity_core.usage import Outcome, Transport
from trinity_mesh.interceptors import Handler, Interceptor, wrapped
from trinity_mesh.standard import standard

Context = grpc.aio.ServicerContext[Any, Any]

_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9\-._~+/]{1,512}=*)")
_PEER: Final = re.compile(r"ipv[46]:(.*):[0-9]+")
_OURS: Final = "/trinity."


def with_admission(admission: Admission, client_address: ClientAddress | None = None) -> tuple[Interceptor, ...]:
    """The list every server starts with, and admission in its place: before a request is looked at."""
    return standard(AdmissionInterceptor(admission, client_address))


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    scopes: tuple[str, ...]


class AdmissionInterceptor:
    """Lets calls in, one by one."""

    name = "admission"

    def __init__(self, admission: Admission, client_address: ClientAddress | None = None) -> None:
        """`admission` is this process's; `client_address` tells a client's address behind proxies, if there are any."""
        self._admission = admission
        self._client_address = client_address

    def around(self, method: str, handler: Any) -> Any:
        """Judge the calls of methods of ours that are not for anybody."""
        rule = _rule(method) if method.startswith(_OURS) else None
        return handler if rule is None else wrapped(handler, lambda inner: self._around(inner, rule))

    def _around(self, inner: Handler, rule: _Rule) -> Handler:
        if inspect.isasyncgenfunction(inner):

            async def admitted_stream(request: Any, context: Context) -> AsyncIterator[Any]:
                if from_unix_socket(context):
                    async for response in inner(request, context):
                        yield response
                    return
                entry = await self._enter(request, context, rule)
                try:
                    async with contextlib.aclosing(self._answers(inner(request, context), entry, context)) as answers:
                        async for response in answers:
                            yield response
                finally:
                    entry.close()

            return admitted_stream

        async def admitted(request: Any, context: Context) -> Any:
            if from_unix_socket(context):
                return await inner(request, context)
            entry = await self._enter(request, context, rule)
            try:
                try:
                    response = await inner(request, context)
                except Exception as error:
                    self._failed(entry, error, context)
                    _tell(context, entry.fields())
                    raise
                await self._answered(entry, outcome_of_response(_message(response)))
                _tell(context, entry.fields())
                return response
            finally:
                entry.close()

        return admitted

    async def _enter(self, request: Any, context: Context, rule: _Rule) -> Admitted:
        """Let the call in. Raises TrinityError."""
        given = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
        if not given:
            raise TrinityError(Reason.MISSING_KEY, "send the key as `authorization: Bearer tbk_…`")
        found = _BEARER.fullmatch(str(given[0])) if len(given) == 1 else None
        if found is None:
            raise invalid_key()
        held = self._admission.find(found[1])
        if held.monthly_quota:
            await self._admission.prepare(held)
        message = _message(request)
        try:
            entry = self._admission.admit(
                held,
                transport=Transport.GRPC,
                method=rule.name,
                scopes=rule.scopes,
                address=self._address(context),
                assets=None if message is None else assets_of(message),
            )
        except RefusedError as error:
            _tell(context, error.fields)
            raise
        judged.set(entry.held.principal)
        return entry

    def _address(self, context: Context) -> str:
        """The caller's, as the peer tells where that is a proxy that is trusted."""
        peer = address_of_peer(context.peer())
        if self._client_address is None:
            return peer
        told = [str(value) for key, value in context.invocation_metadata() or () if key == "x-forwarded-for"]
        return self._client_address(peer, {b"x-forwarded-for": ",".join(told).encode("latin-1", "replace")})

    async def _answers(
        self, responses: AsyncGenerator[Any, None], entry: Admitted, context: Context
    ) -> AsyncGenerator[Any, None]:
        """Pass a stream on, counted with its first message or its good end."""
        ended: asyncio.Future[TrinityError] = asyncio.get_running_loop().create_future()
        step: asyncio.Future[Any] | None = None
        counted = False
        try:
            while True:
                step = asyncio.ensure_future(anext(responses))
                await asyncio.wait((step, ended), return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    raise ended.result()
                try:
                    response = step.result()
                except StopAsyncIteration:
                    break
                if not counted:
                    await self._answered(entry, Outcome.SERVED)
                    counted = True
                    entry.opened(ended.set_result)
                yield response
            if not counted:
                await self._answered(entry, Outcome.SERVED)
        except Exception as error:
            if not counted:
                self._failed(entry, error, context)
            _tell(context, entry.fields())
            raise
        else:
            # At the end, for the servicer may have set metadata of its own.
            _tell(context, entry.fields())
        finally:
            if step is not None and not step.done():
                step.cancel()
                await asyncio.wait((step,))
            await responses.aclose()

    async def _answered(self, entry: Admitted, outcome: Outcome) -> None:
        entry.answered(outcome)
        counts = self._admission.counts
        if counts.strict:
            await counts.committed()

    def _failed(self, entry: Admitted, error: Exception, context: Context) -> None:
        """Count a refusal or failure that is about to be told."""
        if isinstance(error, TrinityError):
            code = error.row.code
        elif isinstance(error, grpc.aio.AbortError):
            # grpc gives the number here, whatever its stubs say.
            told: Any = context.code()
            code = Code(told.value[0] if isinstance(told, grpc.StatusCode) else told)
        else:
            code = Code.INTERNAL
        entry.answered(outcome_of_code(code))


def _rule(path: str) -> _Rule | None:
    """What a method demands; None for one that takes calls without a key."""
    service, _, name = path.removeprefix("/").rpartition("/")
    method = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    rules = method.GetOptions().Extensions[options_pb2.method]
    return None if rules.anonymous else _Rule(name, tuple(rules.scopes))


def address_of_peer(peer: str) -> str:
    """The address in what gRPC says of a peer ("ipv4:192.0.2.1:5000", "ipv6:%5B::1%5D:5000"); empty where none is."""
    found = _PEER.fullmatch(unquote(peer))
    return found[1].removeprefix("[").removesuffix("]") if found is not None else ""


def _tell(context: Context, fields: Mapping[str, str]) -> None:
    """Add the key's limits to what the servicer tells at the end."""
    own = tuple(context.trailing_metadata() or ())
    context.set_trailing_metadata((*own, *fields.items()))


def _message(value: Any) -> Message | None:
    return value if isinstance(value, Message) else None
