"""The ways in which a caller reaches an RPC: through a gateway, directly, over HTTP. One table of questions fits all.

A way takes a request message and tells what a caller sees of the answer, so the same matrix runs on each. A new way
implements `Way`; `HttpWay` needs no more than the address of a gateway.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc.aio
import httpx
from google.api import httpbody_pb2
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message
from google.rpc import status_pb2

from trinity_admission.principal import METADATA_KEY, Principal, metadata_of
from trinity_http.contract import Contract, HttpRule, Method
from trinity_http.main import own_contract
from trinity_mesh.status import from_rpc_error, from_status

PATIENT_S = 30.0
_VARIABLE = re.compile(r"\{([a-z_.]+)(?:=[^}]*)?\}")
_PASSING = frozenset({"date", "x-request-id"})
"""Headers whose values are of one answer only."""


@dataclass(frozen=True)
class Who:
    """A caller: whose principal a gateway names, and the key that it sends itself."""

    principal: Principal
    text: str


@dataclass(frozen=True)
class Told:
    """Everything that a refused caller is told, but for what differs with every call."""

    code: int
    reason: str
    message: str
    metadata: Mapping[str, str]
    fields: Sequence[str]
    retry_after_ms: int | None
    beside: Sequence[str]
    """Names of headers or trailing metadata; over HTTP the length of the body too."""


@dataclass(frozen=True)
class Seen:
    """What a caller sees of one call."""

    shown: bytes
    """The answer, as it came."""
    told: Told | None = None
    """Why there is none."""


def methods() -> dict[str, Method]:
    """Every RPC of every service in the descriptor set, by "Service.Method"; its messages' classes are loaded."""
    for file in FileDescriptorSet.FromString(own_contract()).file:
        if file.package.startswith("trinity."):
            importlib.import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2")
    return {".".join(method.full_name.rsplit(".", 2)[1:]): method for method in Contract.of(own_contract()).methods}


class Way(Protocol):
    """How calls are made."""

    judges_keys: bool
    """Keys come this way, and are judged; else the caller is believed to be whom a gateway names."""

    def reaches(self, method: Method) -> bool:
        """Whether an RPC can be called so."""
        ...

    async def ask(self, method: Method, request: Message, who: Who | None, *, claims: Principal | None = None) -> Seen:
        """Call it; `claims` is whom the caller says it is besides."""
        ...


class GrpcWay:
    """Over a channel: with the metadata of a gateway (`judges_keys` False), or with the caller's own key."""

    def __init__(self, channel: grpc.aio.Channel, *, judges_keys: bool) -> None:
        self._channel = channel
        self.judges_keys = judges_keys

    def reaches(self, method: Method) -> bool:
        return True

    async def ask(self, method: Method, request: Message, who: Who | None, *, claims: Principal | None = None) -> Seen:
        metadata: list[tuple[str, str]] = list(metadata_of(claims)) if claims is not None else []
        if who is not None:
            own = [("authorization", f"Bearer {who.text}")] if self.judges_keys else metadata_of(who.principal)
            metadata += own
        return await self.send(method, request, metadata)

    async def send(self, method: Method, request: Message, metadata: Sequence[tuple[str, str]]) -> Seen:
        """With just this metadata."""
        pool = descriptor_pool.Default()
        answer_type = message_factory.GetMessageClass(pool.FindMessageTypeByName(method.output.full_name))
        make: Any = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        rpc = make(
            method.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer_type.FromString,
        )
        call = rpc(request, metadata=tuple(metadata), timeout=PATIENT_S)
        try:
            if not method.server_streaming:
                return Seen((await call).SerializeToString())
            shown = b""
            async for message in call:
                if not isinstance(message, httpbody_pb2.HttpBody):
                    # Those streams have no end; what they begin with tells whom they are for.
                    call.cancel()
                    return Seen(message.SerializeToString())
                shown += message.data
            return Seen(shown)
        except grpc.aio.AioRpcError as error:
            names = sorted(key for key, _ in error.trailing_metadata() or ())
            return Seen(b"", _told(error.code().value[0], from_rpc_error(error), names))


class HttpWay:
    """Over HTTP, as the contract's rules say; `base_url` is that of any gateway of this contract."""

    judges_keys = True

    def __init__(self, client: httpx.AsyncClient, base_url: str) -> None:
        self._client = client
        self._base_url = base_url

    def reaches(self, method: Method) -> bool:
        return bool(method.rules)

    async def ask(self, method: Method, request: Message, who: Who | None, *, claims: Principal | None = None) -> Seen:
        headers = {"accept": "application/x-ndjson" if _is_endless(method) else "application/json"}
        if who is not None:
            headers["authorization"] = f"Bearer {who.text}"
        if claims is not None:
            headers[METADATA_KEY] = metadata_of(claims)[0][1]
        path, parameters, body = http_request_of(method.rules[0], request)
        url = f"{self._base_url}{path}"
        async with self._client.stream(
            method.rules[0].http_method, url, params=parameters, json=body, headers=headers, timeout=PATIENT_S
        ) as response:
            if response.status_code == httpx.codes.OK and _is_endless(method):
                return Seen((await anext(aiter(response.aiter_lines()))).encode())
            data = await response.aread()
        if response.is_success:
            return Seen(data)
        status = json_format.Parse(data, status_pb2.Status())
        names = [f"{name}: {len(data)}" if name == "content-length" else name for name in response.headers]
        return Seen(data, _told(response.status_code, from_status(status), sorted(names)))


def http_request_of(rule: HttpRule, request: Message) -> tuple[str, list[tuple[str, str]], Any]:
    """Path, query and body of a request, as google/api/http.proto says it."""
    fields = json_format.MessageToDict(request, preserving_proto_field_name=True)

    def taken(found: re.Match[str]) -> str:
        *outer, name = found[1].split(".")
        holder = fields
        for each in outer:
            holder = holder[each]
        return str(holder.pop(name))

    path = _VARIABLE.sub(taken, rule.template)
    if rule.body == "*":
        return path, [], fields
    body = fields.pop(rule.body, {}) if rule.body else None
    return path, list(_flat("", fields)), body


def _flat(prefix: str, fields: Mapping[str, Any]) -> Any:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{name}.", value)
        else:
            for each in value if isinstance(value, list) else [value]:
                yield f"{prefix}{name}", str(each).lower() if isinstance(each, bool) else str(each)


def _is_endless(method: Method) -> bool:
    return method.server_streaming and method.output.full_name != "google.api.HttpBody"


def _told(code: int, error: Any, beside: Sequence[str]) -> Told:
    return Told(
        code=code,
        reason=str(error.reason),
        message=error.message,
        metadata=error.metadata,
        fields=[f"{each.field}: {each.description}" for each in error.violations],
        retry_after_ms=error.retry_after_ms,
        beside=[name for name in beside if name not in _PASSING],
    )
