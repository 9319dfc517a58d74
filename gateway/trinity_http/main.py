"""Composition of our own gateway: our contracts, a replica for hot reads, keys and the count of answers."""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable, Mapping
from functools import partial

import grpc.aio
from fastapi import FastAPI

# What the bridge calls by paths is repeated by the rules of its contract, which an import makes known.
from trinity.account.v1 import account_service_pb2  # noqa: F401
from trinity.options.v1 import options_pb2
from trinity.price.v1 import price_service_pb2
from trinity.report.v1 import report_service_pb2  # noqa: F401
from trinity.usage.v1 import usage_service_pb2  # noqa: F401
from trinity.webhook.v1 import webhook_service_pb2  # noqa: F401
from trinity_admission.admission import Admission as Judge
from trinity_admission.client_address import ClientAddress
from trinity_client.messages import BookReplica
from trinity_http.admitting import Admitting
from trinity_http.answer import Admission, Authenticator
from trinity_http.app import Ready, create_app
from trinity_http.lane import METHOD, Lane
from trinity_http.lane_protocol import LaneHttp
from trinity_http.live_prices import LivePrices
from trinity_http.metering import HttpMeter
from trinity_http.prices import SERVICE, PriceAnswers, Replica, price_patience, price_resumes
from trinity_http.server import HttpProtocol
from trinity_http.settings import GatewaySettings
from trinity_http.upstream import CHANNEL_OPTIONS
from trinity_mesh.channels import open_channel
from trinity_mesh.clock import Clock
from trinity_mesh.identity import Identity


def own_contract() -> bytes:
    """The descriptor set of this mesh's contracts, with their comments."""
    return importlib.resources.files("trinity").joinpath("api.binpb").read_bytes()


def open_upstream_channel(address: str, *, identity: Identity | None = None, service: str = "") -> grpc.aio.Channel:
    """A channel to a service for the bridge, which gives each call its deadline: small windows for streams.

    `identity` is the worker's, by which it meets `service` on another host.
    """
    return open_channel(address, identity=identity, service=service, options=CHANNEL_OPTIONS)


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
        patience=price_patience(),
        ready=ready,
    )


def make_gateway_app(
    *,
    channels: Mapping[str, grpc.aio.Channel],
    admitting: Admitting,
    ready: Ready,
    answers: PriceAnswers | None = None,
    live: LivePrices | None = None,
    settings: GatewaySettings | None = None,
    meter: HttpMeter | None = None,
) -> FastAPI:
    """One port of our own gateway: every call needs a key, and every answer is counted.

    Args:
        channels: a channel for each service that the port serves, by full name. Services take a call that
            names no caller for one of the mesh itself: that no call of a stranger does is why
            `admitting` is no option here.
        admitting: judges keys, and counts.
        ready: asked by GET /readyz.
        answers: answers the plain GetPrice in this process.
        live: makes streams of prices in this process.
        settings: bounds and what is forwarded.
        meter: measures what the bridge answers.
    """
    return create_app(
        descriptor_set=own_contract(),
        channels=channels,
        settings=settings,
        authenticate=admitting,
        admission=admitting,
        local=answers,
        resumes=price_resumes(),
        patience=price_patience(),
        live=live,
        ready=ready,
        meter=meter,
    )


def make_lane(
    *,
    replica: BookReplica,
    answers: PriceAnswers,
    admission: Judge,
    clock: Clock,
    settings: GatewaySettings | None = None,
    made: Callable[[Lane], object] = lambda _: None,
) -> HttpProtocol:
    """The HTTP protocol of a port that serves prices, with the fast lane before it; for `serve_http(http=…)`.

    Args:
        replica: what `answers` are rendered from.
        answers: the application's own, so that both ways show the same bytes.
        admission: this process's, as the application's `admitting` has it.
        clock: the machine's.
        settings: the application's.
        made: is told the lane, for its counts.
    """
    method = price_service_pb2.DESCRIPTOR.services_by_name["PriceService"].methods_by_name[METHOD]
    lane = Lane(
        answers=answers,
        replica=replica,
        admission=admission,
        client_address=ClientAddress((settings or GatewaySettings()).trusted_proxies),
        scopes=tuple(method.GetOptions().Extensions[options_pb2.method].scopes),
        clock=clock,
    )
    made(lane)
    return partial(LaneHttp, lane=lane)
