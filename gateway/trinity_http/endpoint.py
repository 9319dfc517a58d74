"""One rule of one method with all that is needed to call it: binding, renderer, gRPC call."""

from __future__ import annotations

from typing import Any, Final

import grpc.aio

from trinity_http.bind import Binding
from trinity_http.contract import Contract, ContractError, HttpRule, Method
from trinity_http.protojson_read import JsonReader
from trinity_http.protojson_write import JsonWriter
from trinity_http.render import Renderer
from trinity_http.settings import GatewaySettings


class Endpoint:
    """Where one route leads. Requests and responses cross the channel as bytes: each is parsed once, here."""

    __slots__ = ("binding", "invoke", "method", "renderer")

    def __init__(self, *, binding: Binding, renderer: Renderer, channel: grpc.aio.Channel) -> None:
        self.binding = binding
        self.renderer = renderer
        self.method: Method = binding.method
        kind = _KINDS[binding.method.client_streaming, binding.method.server_streaming]
        self.invoke: Any = getattr(channel, kind)(binding.method.path)
        """The grpc.aio multi-callable; takes and gives bytes."""


class Endpoints:
    """Makes the endpoints of one contract."""

    def __init__(self, contract: Contract, settings: GatewaySettings) -> None:
        self.contract = contract
        self.reader = JsonReader(contract.types, ignore_unknown=settings.ignore_unknown_fields)
        self.writer = JsonWriter(contract.types)
        self._settings = settings

    def make(self, method: Method, rule: HttpRule, channel: grpc.aio.Channel) -> Endpoint:
        """The endpoint of a rule. Raises ContractError when the rule does not fit."""
        binding = Binding(self.contract, method, rule, reader=self.reader, parameters_max=self._settings.parameters_max)
        renderer = Renderer(binding, types=self.contract.types, writer=self.writer)
        if method.client_streaming and binding.raw_body and binding.body_field is not None:
            raise ContractError(f"{method.full_name}: a stream of requests cannot have an HttpBody inside its messages")
        return Endpoint(binding=binding, renderer=renderer, channel=channel)


_KINDS: Final = {
    (False, False): "unary_unary",
    (False, True): "unary_stream",
    (True, False): "stream_unary",
    (True, True): "stream_stream",
}
