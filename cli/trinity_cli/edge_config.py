"""Envoy's configuration for the edge of a mesh: what an ALB, an NLB and PrivateLink do elsewhere, on one machine. Pure.

    configuration(Edge(…), Behind(…))      # a document that Envoy takes as JSON

One listener of TLS sends requests on by host name: prices, reports, gRPC. Two of datagrams send them on as they
are. One of TLS passes connections on as bytes, with PROXY protocol v2 and the id of a VPC endpoint before them, as a
balancer behind PrivateLink does. Every target is asked whether it is well, and left out while it is not.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

VPC_ENDPOINT: Final = "vpce-0123456789abcdef0"
"""Id of the endpoint that every connection of the private listener is said to come through."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Where the edge listens, under which names, and with which files."""

    https: str
    """"host:port", as all of these; empty: there is no such listener."""
    udp: str
    udp_reports: str
    privatelink: str
    domain: str
    """Prices are at api.DOMAIN, reports at reports.DOMAIN, gRPC at grpc.DOMAIN."""
    certificate: str
    """File with the certificate for those names."""
    key: str
    """File with its private key."""
    admin_socket: str
    """File of the Unix socket of Envoy's own interface; empty: it has none."""
    source: str = ""
    """Address that connections to the targets come from; empty: whatever the system chooses."""


@dataclass(frozen=True, slots=True)
class Behind:
    """The targets, each "host:port"; several of a kind where several machines answer."""

    prices: Sequence[str] = ()
    reports: Sequence[str] = ()
    grpc: Sequence[str] = ()
    udp: Sequence[str] = ()
    """In the order of `prices`: the same processes, which are asked over HTTP whether they are well."""
    udp_reports: Sequence[str] = ()
    """In the order of `reports`."""
    privatelink: Sequence[str] = ()


def host_names(domain: str) -> dict[str, str]:
    """The host name of each kind of target that TLS leads to."""
    return {kind: f"{word}.{domain}" for kind, word in _WORDS.items()}


def configuration(edge: Edge, behind: Behind) -> dict[str, Any]:
    """The whole document."""
    listeners = []
    if edge.https:
        listeners.append(_https(edge, behind))
    for name, address, targets in (
        ("udp", edge.udp, behind.udp),
        ("udp_reports", edge.udp_reports, behind.udp_reports),
    ):
        if address and targets:
            listeners.append(_datagrams(name, address))
    if edge.privatelink and behind.privatelink:
        listeners.append(_private(edge))
    clusters = [
        _cluster("prices", behind.prices, _READYZ, source=edge.source),
        _cluster("reports", behind.reports, _READYZ, source=edge.source),
        _cluster("grpc", behind.grpc, _GRPC_HEALTH, source=edge.source, more=_http2()),
        _cluster("udp", behind.udp, _CONNECTS, checked=behind.prices),
        _cluster("udp_reports", behind.udp_reports, _CONNECTS, checked=behind.reports),
        _cluster("privatelink", behind.privatelink, _CONNECTS, source=edge.source, more=_proxy_protocol()),
    ]
    admin = {"admin": {"address": {"pipe": {"path": edge.admin_socket, "mode": 0o600}}}} if edge.admin_socket else {}
    return {
        **admin,
        "static_resources": {"listeners": listeners, "clusters": [one for one in clusters if one]},
        # A limit on what may be open, as everything that faces strangers has.
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": _type("resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"),
                        "max_active_downstream_connections": 50_000,
                    },
                }
            ]
        },
    }


def _https(edge: Edge, behind: Behind) -> dict[str, Any]:
    kinds = {"prices": behind.prices, "reports": behind.reports, "grpc": behind.grpc}
    names = host_names(edge.domain)
    manager = {
        "@type": _type("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "https",
        # The peer is the client. Its address is appended to X-Forwarded-For below, and the targets believe us: what
        # Envoy appends by itself for a client on this machine is another address of the machine.
        "use_remote_address": True,
        "skip_xff_append": True,
        # The targets speak for themselves.
        "server_header_transformation": "PASS_THROUGH",
        "generate_request_id": False,
        "preserve_external_request_id": True,
        "normalize_path": False,
        "request_headers_timeout": "10s",
        "stream_idle_timeout": "60s",
        "delayed_close_timeout": "1s",
        "common_http_protocol_options": {"idle_timeout": "75s", "max_headers_count": 100},
        "max_request_headers_kb": 32,
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 65_536,
            "initial_connection_window_size": 1_048_576,
        },
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {
            "virtual_hosts": [
                *(_host(kind, names[kind]) for kind, targets in kinds.items() if targets),
                {"name": "unknown", "domains": ["*"], "routes": [_UNKNOWN]},
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                # What only proxies read would keep a plain request off the targets' fast lane.
                "typed_config": {"@type": _type("filters.http.router.v3.Router"), "suppress_envoy_headers": True},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "name": "https",
        "address": _address(edge.https),
        "per_connection_buffer_limit_bytes": 65_536,
        "filter_chains": [{"filters": filters, "transport_socket": _tls(edge, "h2", "http/1.1")}],
    }


def _host(kind: str, name: str) -> dict[str, Any]:
    route: dict[str, Any] = {
        "cluster": kind,
        # Streams last; the targets bound everything else themselves.
        "timeout": "0s",
        "retry_policy": {"retry_on": "connect-failure,refused-stream", "num_retries": 2},
    }
    return {
        "name": kind,
        "domains": [name, f"{name}:*"],
        "routes": [{"match": {"prefix": "/"}, "route": route}],
        "request_headers_to_add": [
            {
                "header": {"key": "x-forwarded-for", "value": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"},
                "append_action": "APPEND_IF_EXISTS_OR_ADD",
            }
        ],
        "request_headers_to_remove": ["x-envoy-internal", "x-envoy-external-address"],
    }


def _datagrams(name: str, address: str) -> dict[str, Any]:
    route = {"@type": _type("filters.udp.udp_proxy.v3.Route"), "cluster": name}
    proxy = {
        "@type": _type("filters.udp.udp_proxy.v3.UdpProxyConfig"),
        "stat_prefix": name,
        "idle_timeout": "30s",
        "matcher": {"on_no_match": {"action": {"name": "route", "typed_config": route}}},
    }
    return {
        "name": name,
        "address": _address(address, "UDP"),
        "listener_filters": [{"name": "envoy.filters.udp_listener.udp_proxy", "typed_config": proxy}],
    }


def _private(edge: Edge) -> dict[str, Any]:
    proxy = {
        "@type": _type("filters.network.tcp_proxy.v3.TcpProxy"),
        "stat_prefix": "privatelink",
        "cluster": "privatelink",
        "idle_timeout": "350s",
    }
    filters = [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]
    return {
        "name": "privatelink",
        "address": _address(edge.privatelink),
        "filter_chains": [{"filters": filters, "transport_socket": _tls(edge, "http/1.1")}],
    }


def _tls(edge: Edge, *protocols: str) -> dict[str, Any]:
    pair = {"certificate_chain": {"filename": edge.certificate}, "private_key": {"filename": edge.key}}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _type("transport_sockets.tls.v3.DownstreamTlsContext"),
            "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "tls_certificates": [pair],
                "alpn_protocols": list(protocols),
            },
        },
    }


def _cluster(
    name: str,
    targets: Sequence[str],
    health: Mapping[str, Any],
    *,
    checked: Sequence[str] = (),
    source: str = "",
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any] | None:
    """A group of targets; `checked` are the addresses that are asked in their place."""
    if not targets:
        return None
    asked = checked or targets
    endpoints = [
        {
            "endpoint": {
                "address": _address(target, "UDP" if checked else "TCP"),
                **({"health_check_config": {"address": _address(ask)}} if checked else {}),
            }
        }
        for target, ask in zip(targets, asked, strict=True)
    ]
    check = {"interval": "1s", "timeout": "1s", "healthy_threshold": 1, "unhealthy_threshold": 2, **health}
    bound = {"upstream_bind_config": {"source_address": {"address": source, "port_value": 0}}} if source else {}
    limits = {"max_connections": 16_384, "max_pending_requests": 16_384, "max_requests": 16_384, "max_retries": 64}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "health_checks": [{"no_traffic_interval": "1s", **check}],
        # Where nobody is well, callers are told so at once instead of being sent to one that is not.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        **bound,
        **(more or {}),
    }


def _http2() -> dict[str, Any]:
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {"@type": f"type.googleapis.com/{name}", "explicit_http_config": {"http2_protocol_options": {}}}
    return {"typed_extension_protocol_options": {name: options}}


def _proxy_protocol() -> dict[str, Any]:
    endpoint = base64.b64encode(b"\x01" + VPC_ENDPOINT.encode("ascii")).decode("ascii")
    plain = {
        "name": "envoy.transport_sockets.raw_buffer",
        "typed_config": {"@type": _type("transport_sockets.raw_buffer.v3.RawBuffer")},
    }
    return {
        "transport_socket": {
            "name": "envoy.transport_sockets.upstream_proxy_protocol",
            "typed_config": {
                "@type": _type("transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"),
                "config": {"version": "V2", "added_tlvs": [{"type": _AWS, "value": endpoint}]},
                "transport_socket": plain,
            },
        }
    }


def _address(text: str, protocol: str = "TCP") -> dict[str, Any]:
    host, _, port = text.rpartition(":")
    return {"socket_address": {"protocol": protocol, "address": host.strip("[]"), "port_value": int(port)}}


def _type(name: str) -> str:
    return f"type.googleapis.com/envoy.extensions.{name}"


_AWS: Final = 0xEA
_WORDS: Final[Mapping[str, str]] = {"prices": "api", "reports": "reports", "grpc": "grpc"}
_UNKNOWN: Final[Mapping[str, Any]] = {
    "match": {"prefix": "/"},
    "direct_response": {"status": 421, "body": {"inline_string": "no such host here\n"}},
}
_READYZ: Final[Mapping[str, Any]] = {"http_health_check": {"path": "/readyz"}}
_GRPC_HEALTH: Final[Mapping[str, Any]] = {"grpc_health_check": {}}
_CONNECTS: Final[Mapping[str, Any]] = {"tcp_health_check": {}}
"""A balancer of connections or datagrams asks no more than whether one can connect."""
