"""Which deliveries a request is about. Pure."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from trinity.webhook.v1 import webhook_pb2
from trinity_core.errors import invalid_field
from trinity_core.webhook_store import DeliveryFilter
from trinity_core.webhooks import DeliveryClass, DeliveryState
from trinity_mesh.wire import unstamp


def filter_of(request: webhook_pb2.ListDeliveriesRequest, *, associate: str | None) -> DeliveryFilter:
    """The deliveries to list. Raises INVALID_FIELD."""
    start_ns = read_time(request.start_time, "start_time") if request.HasField("start_time") else None
    end_ns = read_time(request.end_time, "end_time") if request.HasField("end_time") else None
    if start_ns is not None and end_ns is not None and start_ns >= end_ns:
        raise invalid_field("end_time", "it must be after start_time")
    for name in ("classes", "states"):
        for index, number in enumerate(getattr(request, name)):
            if not number:
                raise invalid_field(f"{name}[{index}]", "0 is no value; leave the field out for all")
    return DeliveryFilter(
        associate=associate,
        endpoint=request.endpoint,
        subscription=request.subscription,
        kinds=tuple(map(DeliveryClass, request.classes)),
        states=tuple(map(DeliveryState, request.states)),
        start_ns=start_ns,
        end_ns=end_ns,
    )


def range_of(request: webhook_pb2.ReplayRangeRequest) -> DeliveryFilter:
    """The alerts to send again. Raises INVALID_FIELD."""
    start_ns, end_ns = read_time(request.start_time, "start_time"), read_time(request.end_time, "end_time")
    if start_ns >= end_ns:
        raise invalid_field("end_time", "it must be after start_time")
    states = (DeliveryState.FAILED,) if request.failed_only else (DeliveryState.DELIVERED, DeliveryState.FAILED)
    return DeliveryFilter(
        endpoint=request.endpoint,
        subscription=request.subscription,
        kinds=(DeliveryClass.ALERT,),
        states=states,
        start_ns=start_ns,
        end_ns=end_ns,
    )


def read_time(message: Timestamp, path: str) -> int:
    """A time that RFC 3339 can say, unix nanoseconds. Raises INVALID_FIELD."""
    found = unstamp(message)
    # What a database's timestamps hold, and RFC 3339 can say.
    if not 0 <= message.seconds < 253_402_300_800 or not 0 <= message.nanos < 10**9:
        raise invalid_field(path, "use a time from 1970-01-01T00:00:00Z to 9999-12-31T23:59:59Z")
    return found
