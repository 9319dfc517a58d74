"""Composition of our own gateway: our contracts, a replica for hot reads, keys and the count of answers."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping

import grpc.aio
from fastapi import FastAPI

from trinity.price.v1 import price_pb2
from trinity_client import PriceBook
from trinity_http.admitting import Admitting
from trinity_http.answer import Admission, Authenticator
from trinity_http.app import Ready, create_app
from trinity_http.prices import SERVICE, PriceAnswers, Replica, price_resumes
from trinity_http.settings import GatewaySettings
from trinity_http.upstream import CHANNEL_OPTIONS
from trinity_mesh.clock import Clock


class BookReplica:
    """A PriceBook as the price answers read it."""

    def __init__(self, book: PriceBook) -> None:
        self._book = book

    def get(self, asset: str, /) -> price_pb2.Price | None:
        """The newest price with the state that it has now."""
        return self._book.message(asset)


def own_contract() -> bytes:
    """The descriptor set of this mesh's contracts, with their comments."""
    return importlib.resources.files("trinity").joinpath("api.binpb").read_bytes()


def open_upstream_channel(address: str) -> grpc.aio.Channel:
    """A channel to a service for the bridge: no interceptors (a call has its deadline), small windows for streams."""
    return grpc.aio.insecure_channel(
        address,
        options=[
            *CHANNEL_OPTIONS,
            ("grpc.max_receive_message_length", 16 << 20),
            ("grpc.keepalive_time_ms", 10_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            ("grpc.use_local_subchannel_pool", 1),
        ],
    )


def make_price_app(
    *,
    channel: grpc.aio.Channel,
    replica: Replica,
    authenticate: Authenticator | None,
    clock: Clock,
    ready: Ready,
    admission: Admission | None = None,
    settings: GatewaySettings | None = None,
) -> FastAPI:
    """The price gateway's application; see `create_app` for its parts.

    `channel` leads to the price service (`open_upstream_channel`), `replica` answers the plain
    GetPrice (`BookReplica` of a PriceBook that the caller keeps running).
    """
    return create_app(
        descriptor_set=own_contract(),
        channels={SERVICE: channel},
        settings=settings,
        authenticate=authenticate,
        admission=admission,
        local=PriceAnswers(replica, clock=clock),
        resumes=price_resumes(),
        ready=ready,
    )


def make_gateway_app(
    *,
    channels: Mapping[str, grpc.aio.Channel],
    admitting: Admitting,
    clock: Clock,
    ready: Ready,
    replica: Replica | None = None,
    settings: GatewaySettings | None = None,
) -> FastAPI:
    """One port of our own gateway: every call needs a key, and every answer is counted.

    Args:
        channels: a channel for each service that the port serves, by full name. Services take a call that
            names no caller for one of the mesh itself: that no call of a stranger does is why
            `admitting` is no option here.
        admitting: judges keys, and counts.
        clock: tells how long a rendered price may be used again.
        ready: asked by GET /readyz.
        replica: answers the plain GetPrice (`BookReplica` of a PriceBook that the caller keeps running).
        settings: bounds and what is forwarded.
    """
    return create_app(
        descriptor_set=own_contract(),
        channels=channels,
        settings=settings,
        authenticate=admitting,
        admission=admitting,
        local=None if replica is None else PriceAnswers(replica, clock=clock),
        resumes=price_resumes(),
        ready=ready,
    )
