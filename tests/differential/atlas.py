"""The service behind both: it answers with what it was asked, and keeps that by the request's x-row."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import grpc
import grpc.aio
from google.protobuf import text_format
from google.rpc import error_details_pb2, status_pb2

from trinity_http.contract import Contract

SERVICE = "atlas.v1.Atlas"
ROW = "x-row"
FORWARDED = ("x-plain", "traceparent", "x-data-bin")
"""What our bridge is set to send on; Envoy sends everything on."""
LOOKED_AT = (*FORWARDED, "x-other")
DEADLINES_S = (1, 11, 61)


class Atlas:
    """Answers every method of atlas.v1.Atlas."""

    def __init__(self, contract: Contract) -> None:
        self.received: dict[str, list[str]] = defaultdict(list)
        """By x-row: method, and each message as text."""
        self._types = contract.types
        self._methods = {method.name: method for method in contract.methods}

    def handler(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            SERVICE, {name: self._handler_of(name, method) for name, method in self._methods.items()}
        )

    def message(self, name: str, /, **fields: Any) -> Any:
        kind = self._types.find(name)
        assert kind is not None
        return kind(**fields)

    def _handler_of(self, name: str, method: Any) -> Any:
        kinds = {True: "stream", False: "unary"}
        make = getattr(grpc, f"{kinds[method.client_streaming]}_{kinds[method.server_streaming]}_rpc_method_handler")
        act = getattr(self, f"_{name}", self._echo)

        def note(message: Any, context: Any) -> None:
            row = dict(context.invocation_metadata()).get(ROW, "")
            self.received[row].append(f"{name} {{{text_format.MessageToString(message, as_one_line=True)}}}")

        async def all_of(requests: Any, context: Any) -> list[Any]:
            messages = []
            async for message in requests:
                note(message, context)
                messages.append(message)
            return messages

        async def unary(request: Any, context: Any) -> Any:
            if method.client_streaming:
                request = await all_of(request, context)
            else:
                note(request, context)
            return await act(request, context)

        async def streaming(request: Any, context: Any) -> Any:
            if method.client_streaming:
                request = await all_of(request, context)
            else:
                note(request, context)
            async for reply in act(request, context):
                yield reply

        return make(
            streaming if method.server_streaming else unary,
            request_deserializer=self._types.of(method.input).FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    async def _echo(self, request: Any, context: Any) -> Any:
        return request

    async def _DeletePlace(self, request: Any, context: Any) -> Any:
        return self.message("google.protobuf.Empty")

    async def _GetFile(self, request: Any, context: Any) -> Any:
        return self.message("google.api.HttpBody", content_type="text/markdown", data=f"# {request.path}".encode())

    async def _StreamFile(self, request: Any, context: Any) -> Any:
        for part in (b"one,", b"two,", b"three"):
            yield self.message("google.api.HttpBody", content_type="text/csv", data=part)
        if request.note == "fail":
            await context.abort(grpc.StatusCode.DATA_LOSS, "torn page")

    async def _Fail(self, request: Any, context: Any) -> Any:
        code = next(code for code in grpc.StatusCode if code.value[0] == request.code)
        if not request.detailed:
            await context.abort(code, request.message)
        status = status_pb2.Status(code=request.code, message=request.message)
        info = error_details_pb2.ErrorInfo(reason="TORN", domain="atlas.test", metadata={"page": "7"})
        status.details.add().Pack(info)
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(1_500)
        status.details.add().Pack(retry)
        status.details.add().Pack(error_details_pb2.RequestInfo(request_id="r-1"))
        status.details.add().Pack(self.message("atlas.v1.Spot", label="here"))
        if request.message == "unknown":
            status.details.add(type_url="type.googleapis.com/nobody.knows.This", value=b"\x01")
        await context.abort(code, request.message, (("grpc-status-details-bin", status.SerializeToString()),))

    async def _GetMetadata(self, request: Any, context: Any) -> Any:
        left = context.time_remaining()
        await context.send_initial_metadata((("x-reply", "oak"),))
        found: dict[str, str] = {}
        for key, value in context.invocation_metadata():
            if key in LOOKED_AT:
                text = value if isinstance(value, str) else value.hex()
                found[key] = f"{found[key]}, {text}" if key in found else text
        within_s = 0
        if request.id == "deadline" and left is not None:
            within_s = next((bound for bound in DEADLINES_S if left <= bound), 9_999)
        return self.message("atlas.v1.MetadataReply", metadata=found, within_s=within_s)

    async def _Count(self, request: Any, context: Any) -> Any:
        for number in range(1, request.to + 1):
            yield self.message("atlas.v1.CountReply", number=number)
            if number == request.fail_after:
                await context.abort(grpc.StatusCode.DATA_LOSS, "lost count")
        if request.fail_after < 0:
            await context.abort(grpc.StatusCode.NOT_FOUND, "nothing to count")

    async def _Add(self, requests: Any, context: Any) -> Any:
        total, units = sum(number.value for number in requests), [number.unit for number in requests]
        return self.message("atlas.v1.Sum", value=total, count=len(requests), units=units)

    async def _Running(self, requests: Any, context: Any) -> Any:
        total = 0
        for count, number in enumerate(requests, 1):
            total += number.value
            if total < 0:
                await context.abort(grpc.StatusCode.OUT_OF_RANGE, "below zero")
            yield self.message("atlas.v1.Sum", value=total, count=count, units=[number.unit])
