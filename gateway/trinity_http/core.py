"""What every way of asking shares: routes, who may ask, errors, metadata, the headers of every answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import grpc.aio
from google.protobuf.message import Message

from trinity_admission.client_address import ClientAddress
from trinity_core.errors import Reason, TrinityError
from trinity_http.answer import (
    Admission,
    Admitted,
    Answer,
    Authenticator,
    Call,
    Headers,
    OpenAdmission,
    Outcome,
    Principal,
    RefusedError,
)
from trinity_http.auth import authorize
from trinity_http.bind import Body
from trinity_http.contract import Contract, ContractError
from trinity_http.cors import Cors
from trinity_http.endpoint import Endpoint, Endpoints
from trinity_http.failures import UNFORESEEN, Failure, Failures
from trinity_http.forward import Metadata, metadata_of, returned
from trinity_http.live import Item, LiveStream, LiveStreams
from trinity_http.payload import check_media_type, items_of, read_body
from trinity_http.request import Receive, Request, Send
from trinity_http.resume import Patience, StreamResume
from trinity_http.router import Found, Router
from trinity_http.settings import GatewaySettings
from trinity_http.template import TemplateError
from trinity_http.upstream import Pause, Upstream

log = logging.getLogger(__name__)


class Core:
    """One contract, compiled, with the ports that the gateway was given."""

    def __init__(
        self,
        *,
        contract: Contract,
        channels: Mapping[str, grpc.aio.Channel],
        settings: GatewaySettings,
        authenticator: Authenticator | None,
        admission: Admission | None,
        resumes: Mapping[str, StreamResume],
        patience: Mapping[str, Patience],
        live: LiveStreams | None,
    ) -> None:
        """Compile every rule whose service has a channel.

        Raises ContractError, naming the method, for a rule that cannot be served, or when
        there is none at all.
        """
        self.contract = contract
        self.settings = settings
        self.authenticator = authenticator
        self.resumes = resumes
        self._patience = patience
        self._live = live
        self.router: Router[Endpoint] = Router()
        self.endpoints: list[Endpoint] = []
        self.failures = Failures(contract.types)
        self.cors = Cors(settings)
        self.streams: set[Upstream | LiveStream] = set()
        """Every stream that is open now."""
        self.streams_refused = 0
        """Streams that were one too many."""
        self._admission = admission or OpenAdmission()
        self._client_address = ClientAddress(settings.trusted_proxies)
        self._stopping = False
        make = Endpoints(contract, settings).make
        for method in contract.methods:
            for rule in method.rules if method.service in channels else ():
                endpoint = make(method, rule, channels[method.service])
                try:
                    self.router.add(endpoint.binding.template, rule.http_method, endpoint)
                except TemplateError as error:
                    raise ContractError(f"{method.full_name}: {error}") from error
                self.endpoints.append(endpoint)
        if not self.endpoints:
            raise ContractError(
                "there is nothing to serve: no service with a channel has a method with google.api.http"
            )

    def stop(self) -> None:
        """Open no more streams, and end those that are open with STOPPING, so that their clients go elsewhere."""
        self._stopping = True
        for upstream in tuple(self.streams):
            upstream.end(STOPPING)

    def upstream(self, call: Any, endpoint: Endpoint, message: Message | None) -> Upstream:
        """A call that streams responses to a request; None where requests are a stream of their own."""
        patience = self._patience.get(endpoint.method.full_name)
        return Upstream(call, patience_s=patience(message) if patience is not None and message is not None else None)

    def live(self, endpoint: Endpoint, message: Message) -> LiveStream | None:
        """A stream that is made in this process; None where the service must be asked."""
        if self._live is None or endpoint.renderer.raw or endpoint.binding.rule.response_body:
            return None
        return self._live.open(endpoint.method.full_name, message)

    def opened(self, upstream: Upstream | LiveStream) -> None:
        """Take note of a stream; it must be discarded from `streams` at its end."""
        self.streams.add(upstream)
        if self._stopping:
            upstream.end(STOPPING)

    async def settled(self, admitted: Admitted, answer: Answer, outcome: Outcome, request: Request) -> Answer:
        """The answer with what admission adds to it, or admission's own error in its place."""
        try:
            extra = await admitted.answer(outcome)
        except TrinityError as error:
            return self.failure_of(error, "", request).answer()
        return Answer(answer.status, [*answer.headers, *extra], answer.body) if extra else answer

    async def admit(self, request: Request, endpoint: Endpoint, transport: str) -> tuple[Call, Admitted]:
        """Who asks, and whether they may. Raises TrinityError."""
        principal: Principal | None = None
        if self.authenticator is not None:
            principal = await authorize(request.headers.get(b"authorization"), endpoint.method, self.authenticator)
        address = self._client_address(request.address, request.headers)
        call = Call(endpoint.method, principal, request.request_id, transport, request.method, address)
        return call, self._admission.admit(call)

    def check_stream_room(self) -> None:
        """Raise TrinityError when no stream can be opened now."""
        if self._stopping:
            raise STOPPING
        if len(self.streams) >= self.settings.streams_max:
            self.streams_refused += 1
            raise TrinityError(
                Reason.TOO_MANY_STREAMS, "this gateway has as many streams as it takes; try again", retry_after_ms=1_000
            )

    def metadata(self, request: Request, principal: Principal | None) -> Metadata:
        """The gRPC metadata of a request's call."""
        return metadata_of(request.headers, self.settings, request_id=request.request_id, principal=principal)

    async def returned(self, upstream: Upstream | LiveStream, first: bytes | Item | Pause) -> Headers:
        """What of a stream's initial metadata becomes headers; `first` is what came of it first."""
        wanted = self.settings.return_metadata
        if not wanted or not isinstance(upstream, Upstream):
            return []
        return returned(await upstream.initial(wait=first is not Pause.SILENCE), wanted)

    async def body(self, request: Request, endpoint: Endpoint, receive: Receive) -> Body | None:
        """The request's body; None where it has none. Raises TrinityError and ClientGoneError."""
        headers = request.headers
        if headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers:
            # An empty file is one: it has a type. Nothing else can be told of a body of no bytes.
            empty_file = endpoint.binding.raw_body and b"content-type" in headers
            return Body(b"", headers[b"content-type"].decode("latin-1")) if empty_file else None
        media_type = check_media_type(headers, endpoint.binding) if endpoint.binding.takes_body else ""
        return Body(await read_body(headers, receive, bytes_max=self.settings.body_bytes_max), media_type)

    def payloads(self, found: Found[Endpoint], request: Request, body: Body | None) -> Any:
        """The serialised messages of a client stream, all bound before the first is sent. Raises TrinityError."""
        binding = found.target.binding
        if body is None or binding.raw_body:
            return _each([binding.serialize(binding.bind(found.values, request.query, body))])
        payloads = []
        for index, item in enumerate(items_of(body)):
            values, query = (found.values, request.query) if index == 0 else ((), b"")
            try:
                payloads.append(binding.serialize(binding.bind_item(item, values=values, query=query)))
            except TrinityError as error:
                text = f"item {index} of the stream: {error.message}"
                raise TrinityError(error.reason, text, error.metadata, violations=error.violations) from None
        return _each(payloads)

    def headers_of(self, request: Request, own: Headers) -> Headers:
        """An answer's own headers with those that every answer has."""
        headers = [*own, (b"x-request-id", request.request_id.encode("ascii")), _NO_SNIFF]
        if self.cors.origins and b"origin" in request.headers:
            headers.extend(self.cors.headers(request.headers[b"origin"]))
        return headers

    async def send(self, request: Request, answer: Answer, send: Send) -> None:
        """Send a whole answer, with the headers that every answer has."""
        headers = self.headers_of(request, answer.headers)
        if answer.status not in _BODILESS:
            headers.append((b"content-length", b"%d" % len(answer.body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else answer.body})

    def failure_of(self, error: Exception, service: str, request: Request) -> Failure:
        """Any error as a failure; one that nobody foresaw is logged and tells nothing."""
        if isinstance(error, TrinityError):
            failure = self.failures.of(error, request.request_id)
            if isinstance(error, RefusedError):
                failure = replace(failure, headers=[*failure.headers, *error.headers])
            return failure
        if isinstance(error, grpc.aio.AioRpcError):
            return self.failures.of_call(error, service, request.request_id)
        log.error("unforeseen error in request %s", request.request_id, exc_info=error)
        return self.failures.of(UNFORESEEN, request.request_id)


def counted(failure: Failure) -> Outcome:
    """A failure as admission counts it."""
    return Outcome(failure.code, failure.http_status, failure.reason)


async def _each(payloads: list[bytes]) -> Any:
    for payload in payloads:
        yield payload


STOPPING: Final = TrinityError(
    Reason.STOPPING, "this gateway is stopping; open the stream again, elsewhere", retry_after_ms=1_000
)
_BODILESS: Final = frozenset({204, 304})
_NO_SNIFF: Final = (b"x-content-type-options", b"nosniff")
