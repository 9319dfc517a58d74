"""Composition of our own gateway: the price contract, a replica for hot reads, keys."""

from __future__ import annotations

import importlib.resources

import grpc.aio
from fastapi import FastAPI

from trinity.price.v1 import price_pb2
from trinity_client import PriceBook
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


def open_price_channel(address: str) -> grpc.aio.Channel:
    """A channel for the bridge alone: no interceptors (deadlines are set per call), small windows for streams."""
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

    `channel` leads to the price service (`open_price_channel`), `replica` answers the plain
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
