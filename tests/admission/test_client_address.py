"""Whose address a request comes from: X-Forwarded-For is believed as far as trusted proxies wrote it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_admission.client_address import ClientAddress
from trinity_http.settings import GatewaySettings

PROXIES = ("10.0.0.0/8", "2001:db8:1::/48")


def of(peer: str, forwarded: str | None, *, trusted: tuple[str, ...] = PROXIES) -> str:
    headers = {} if forwarded is None else {b"x-forwarded-for": forwarded.encode("latin-1")}
    return ClientAddress(trusted)(peer, headers)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.7, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.7, 203.0.113.9, 10.2.3.4", "203.0.113.9"),
        ("10.0.0.1", "10.9.9.9, 10.2.3.4", "10.9.9.9"),
        ("2001:db8:1::5", "2001:db8:2::9", "2001:db8:2::9"),
        ("10.0.0.1", "203.0.113.9:51234", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8:2::9]:51234", "2001:db8:2::9"),
        ("10.0.0.1", "unknown", ""),
        ("10.0.0.1", "203.0.113.9, _hidden", ""),
        ("", "203.0.113.9", ""),
    ],
)
def test_the_first_address_from_the_right_that_is_no_proxy_is_the_clients(
    peer: str, forwarded: str | None, client: str
) -> None:
    assert of(peer, forwarded) == client


def test_without_trusted_proxies_nobody_is_believed() -> None:
    assert of("10.0.0.1", "203.0.113.9", trusted=()) == "10.0.0.1"


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=60))
def test_a_client_cannot_choose_its_address(written: str) -> None:
    assert of("10.0.0.1", f"{written}, 203.0.113.9") == "203.0.113.9"


def test_a_thousand_hops_change_nothing() -> None:
    assert of("10.0.0.1", "x," * 1_000 + "203.0.113.9") == "203.0.113.9"


def test_networks_that_are_none_and_headers_of_the_mesh_are_refused_in_settings() -> None:
    with pytest.raises(ValueError, match=r"10\.0"):
        GatewaySettings(trusted_proxies=("10.0",))
    with pytest.raises(ValueError, match="x-trinity-principal"):
        GatewaySettings(forward_headers=("x-trinity-principal",))
