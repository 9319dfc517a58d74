"""The vectors for other languages are what the code says, and hold by the page's words alone."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest

from udp.vectors import FILE, vectors

KNOWN: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
KEY = bytes.fromhex(KNOWN["session"]["key"])


def half(message: bytes) -> str:
    return hmac.new(KEY, message, hashlib.sha256).hexdigest()[:32]


def test_the_vectors_are_what_the_code_says() -> None:
    assert vectors() == KNOWN


def test_the_session_follows_from_the_master_secret_as_the_page_says() -> None:
    session = KNOWN["session"]
    context = session["key_id"].encode() + session["expire_unix"].to_bytes(8, "big")
    message = b"udp1" + bytes.fromhex(session["id"]) + context
    assert hmac.new(bytes.fromhex(session["master"]), message, hashlib.sha256).digest() == KEY


@pytest.mark.parametrize("vector", KNOWN["binary"], ids=lambda vector: vector["name"])
def test_each_binary_mac_is_the_one_of_the_page(vector: dict[str, Any]) -> None:
    request, reply = (bytes.fromhex(vector[side]["bytes"]) for side in ("request", "reply"))
    assert reply[1] & 1
    assert request[4:20] == reply[4:20]
    assert request[24:28] == reply[24:28]
    assert len(reply) <= 3 * len(request) or "cookie" in vector["request"]
    if "mac" in vector["request"]:
        assert half(b"q" + request[:-16]) == vector["request"]["mac"]
        assert half(b"r" + request[-16:] + reply[:-16]) == vector["reply"]["mac"]
    else:
        assert "mac" not in vector["reply"]


@pytest.mark.parametrize("vector", KNOWN["text"], ids=lambda vector: vector["name"])
def test_each_line_with_a_session_is_answered_exactly_if_its_mac_is_the_one_of_the_page(vector: dict[str, str]) -> None:
    line, _, mac = vector["request"].partition(" m=")
    if mac:
        good = half(b"qt" + line.encode()) == mac and "again" not in vector["name"]
        assert bool(vector["reply"]) is good


def test_the_cookies_are_those_of_rfc_9018() -> None:
    assert [vector["cookie"][24:] for vector in KNOWN["cookies"]] == [
        "5cf79f111f8130c3eee29480",
        "5cf7a871d4a564a1442aca77",
        "5cf7a9acf73a7810aca2381e",
        "5cf7c609a6bb79d16625507a",
    ]
