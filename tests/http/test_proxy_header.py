"""PROXY protocol version 2: what balancers write is read as they mean it, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_bytes import LOCAL, SIGNATURE, proxy_header
from trinity_http.proxy_header import HEADER_BYTES_MAX, ProxyHeader, ProxyHeaderError, read_proxy_header


def extra(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


@given(st.ip_addresses(), st.integers(0, 65_535), st.binary(max_size=50))
def test_the_source_is_who_the_balancer_says(address: object, port: int, behind: bytes) -> None:
    data = proxy_header(str(address), port)
    assert read_proxy_header(data + behind) == ProxyHeader((str(address), port), "", len(data))


def test_the_vpc_endpoint_is_found_among_other_extras() -> None:
    more = extra(0x03, b"\x01\x02\x03\x04") + extra(0xEA, b"\x09other") + extra(0xEA, b"\x01vpce-08d2bf15fac5001c9")
    header = read_proxy_header(proxy_header("192.0.2.7", more=more + extra(0x04, b"")))
    assert header is not None
    assert header.vpc_endpoint == "vpce-08d2bf15fac5001c9"
    assert header.length == len(proxy_header("192.0.2.7", more=more + extra(0x04, b"")))


def test_a_balancers_own_connection_tells_no_source_whatever_it_carries() -> None:
    assert read_proxy_header(LOCAL) == ProxyHeader(None, "", 16)
    assert read_proxy_header(SIGNATURE + b"\x20\x11\x00\x03abc") == ProxyHeader(None, "", 19)


@given(st.integers(0, 200))
def test_a_part_of_a_header_waits_for_the_rest(cut: int) -> None:
    whole = proxy_header("2001:db8::7", endpoint="vpce-1")
    assert (read_proxy_header(whole[:cut]) is None) == (cut < len(whole))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET /price?asset=BTC HTTP/1.1\r\n", "does not begin"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 50000 443\r\n", "does not begin"),
        (b"\r\n\r\nG", "does not begin"),
        (SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12), "version 1"),
        (SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12), "command 2"),
        (SIGNATURE + b"\x21\x12\x00\x0c" + bytes(12), "not TCP"),
        (SIGNATURE + b"\x21\x00\x00\x00", "not TCP"),
        (SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11), "too short"),
        (SIGNATURE + b"\x21\x21\x00\x0c" + bytes(12), "too short"),
        (proxy_header("192.0.2.7", more=b"\x03"), "breaks off"),
        (proxy_header("192.0.2.7", more=b"\xea\x00\x05\x01v"), "breaks off"),
        (SIGNATURE + b"\x21\x11" + HEADER_BYTES_MAX.to_bytes(2, "big"), "at most"),
    ],
)
def test_what_is_no_header_is_refused_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(ProxyHeaderError, match=why):
        read_proxy_header(data)


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_do_anything_else_than_wait_read_or_refuse(data: bytes, signed: bool) -> None:
    try:
        header = read_proxy_header((SIGNATURE if signed else b"") + data)
    except ProxyHeaderError:
        return
    assert header is None or 16 <= header.length <= HEADER_BYTES_MAX
