"""SPIFFE IDs are read as the specification says, and no other way."""

from __future__ import annotations

import pytest

from trinity_mesh.spiffe import SpiffeId, id_of, is_service_name, parse, server_name


@pytest.mark.parametrize(
    ("text", "trust_domain", "path"),
    [
        ("spiffe://trinity.internal/price", "trinity.internal", "/price"),
        ("spiffe://trinity.internal", "trinity.internal", ""),
        ("spiffe://a_b-c.d9/Ns/x/sa/Y_z.1", "a_b-c.d9", "/Ns/x/sa/Y_z.1"),
        ("spiffe://d/...", "d", "/..."),
        (f"spiffe://{'a' * 255}/x", "a" * 255, "/x"),
        (f"spiffe://d/{'x' * 2_037}", "d", f"/{'x' * 2_037}"),
    ],
)
def test_a_spiffe_id_is_a_trust_domain_and_a_path(text: str, trust_domain: str, path: str) -> None:
    assert parse(text) == SpiffeId(trust_domain, path)
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spiffe://",
        "spiffe:///price",
        "spiffe:/trinity.internal/price",
        "SPIFFE://trinity.internal/price",
        "https://trinity.internal/price",
        "spiffe://Trinity.internal/price",
        "spiffe://trinity.internal:443/price",
        "spiffe://user@trinity.internal/price",
        "spiffe://trinity%2einternal/price",
        "spiffe://trinity.internal/",
        "spiffe://trinity.internal/price/",
        "spiffe://trinity.internal//price",
        "spiffe://trinity.internal/./price",
        "spiffe://trinity.internal/../price",
        "spiffe://trinity.internal/pr%69ce",
        "spiffe://trinity.internal/prix é",
        "spiffe://trinity.internal/price?x=1",
        "spiffe://trinity.internal/price#x",
        "spiffe://trinity.internal?x",
        "spiffe://trinity.internal/price\n",
        "spiffe://trinity.internal\n/price",
        "spiffe://пример/price",
        f"spiffe://{'a' * 256}/x",
        f"spiffe://d/{'x' * 2_038}",
    ],
)
def test_what_the_specification_does_not_allow_is_no_spiffe_id(text: str) -> None:
    with pytest.raises(ValueError, match=r"SPIFFE ID|trust domain"):
        parse(text)


def test_a_path_of_one_segment_names_a_service_and_no_other_does() -> None:
    assert parse("spiffe://d/webhook-worker").service == "webhook-worker"
    for text in ("spiffe://d", "spiffe://d/price/2", "spiffe://d/Price", "spiffe://d/price_2", "spiffe://d/-price"):
        assert parse(text).service == ""


def test_a_services_name_does_as_a_label_of_dns() -> None:
    assert server_name("trinity.internal", "price") == "price.trinity.internal"
    assert is_service_name("a" * 63)
    assert not is_service_name("a" * 64)
    with pytest.raises(ValueError, match="no name of a service"):
        id_of("trinity.internal", "webhook_worker")
