"""Byte-exact vectors of the datagram protocol, for programs in other languages to check themselves against.

    PYTHONPATH=tests python tests/udp/vectors.py     write tests/vectors/udp.json anew

Every value is made by the code that serves, at a desk with fixed keys, clock and prices. What stands in the file
is the protocol: a difference that a test finds here breaks clients.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trinity.price.v1 import price_pb2
from trinity_core import udp_frame
from trinity_core.siphash import siphash24
from trinity_core.udp_cookie import make_cookie
from trinity_udp.allowance import source_of
from udp.counter import UNIX_S, make_price
from udp.office import MASTER, A, Office

FILE = Path(__file__).resolve().parents[1] / "vectors" / "udp.json"

_RFC_9018 = (
    ("e5e973e5a6b2a43f48e7dc849e37bfcf", "198.51.100.100", 1_559_731_985, "2464c4abcf10c957"),
    ("e5e973e5a6b2a43f48e7dc849e37bfcf", "198.51.100.100", 1_559_734_385, "2464c4abcf10c957"),
    ("e5e973e5a6b2a43f48e7dc849e37bfcf", "203.0.113.203", 1_559_734_700, "fc93fc62807ddb86"),
    ("445536bcd2513298075a5d379663c962", "2001:db8:220:1:59de:d0f4:8769:82b8", 1_559_741_961, "22681ab97d52c298"),
)


def vectors() -> dict[str, Any]:
    """Everything that stands in the file."""
    office = Office(burst=10**6, session_burst=10**6)
    office.counter.shelf.prices["BTC"] = make_price(sequence=4_711)
    session = office.session
    return {
        "about": "docs/udp.md says what these are; bytes are hexadecimal, text is ASCII",
        "session": {
            "master": MASTER.hex(),
            "key_id": A.key_id,
            "expire_unix": session.expire_s,
            "id": session.text,
            "key": session.key(MASTER).hex(),
        },
        "prices": [
            {"asset": "BTC", "price": "67000.10", "receive_unix": UNIX_S, "sources": 6, "sequence": 4_711},
            {"asset": "ETH", "price": "3000.5", "receive_unix": UNIX_S, "sources": 6, "sandbox": True},
        ],
        "server_unix": UNIX_S,
        "source": "192.0.2.7",
        "siphash24": [
            {
                "key": bytes(range(16)).hex(),
                "message": bytes(range(n)).hex(),
                "hash": siphash24(bytes(range(16)), bytes(range(n))).hex(),
            }
            for n in (0, 1, 8, 20, 32)
        ],
        "cookies": [
            {
                "secret": secret,
                "client": client,
                "address": address,
                "unix": now_s,
                "cookie": make_cookie(
                    bytes.fromhex(secret), bytes.fromhex(client), source_of(address), now_s=now_s
                ).hex(),
            }
            for secret, address, now_s, client in _RFC_9018
        ],
        "text": _text(office),
        "binary": _binary(office),
    }


def _text(office: Office) -> list[dict[str, str]]:
    told = [
        _said(office, name, datagram)
        for name, datagram in (
            ("a price without a session, compact", b"GET BTC USD"),
            ("a price without a session, full, by padding", b"GET BTC USD id=7        "),
            ("a simulated price has a star", b"GET ETH USD"),
            ("several assets take a cookie", b"GET BTC,ETH USD id=1"),
            ("too short even for a cookie", b"GET BTC,ETH"),
            ("the time", b"TIME id=t"),
        )
    ]
    cookie = told[3]["reply"].split()[1]
    told.append(_said(office, "several assets with the cookie", f"GET BTC,ETH USD id=1 c={cookie}".encode()))
    line = office.line("GET BTC USD id=7")
    told.append(_said(office, "a price with a session", line))
    told.append(_said(office, "the same datagram again is silence", line))
    told.append(_said(office, "a wrong MAC is silence", forged(office.line("GET BTC USD"))))
    return told


def _said(office: Office, name: str, datagram: bytes) -> dict[str, str]:
    return {"name": name, "request": datagram.decode(), "reply": office.ask(datagram)}


def forged(line: bytes) -> bytes:
    """The line with another last digit."""
    return line[:-1] + (b"0" if line[-1:] != b"0" else b"1")


def _binary(office: Office) -> list[dict[str, Any]]:
    many = ["BTC", "ETH"] * 4
    told = [
        _framed(office, "a price, MAC both ways", office.binary("BTC")),
        _framed(office, "a price without a session", office.binary("BTC", signed=False)),
        _framed(office, "a simulated price and an asset that is none", office.binary("ETH", "NOPE")),
        _framed(office, "a large reply takes a cookie", office.binary(*many)),
        _framed(office, "a quote that there is none in", office.binary("BTC", quote="EUR")),
    ]
    cookie = bytes.fromhex(told[3]["reply"]["cookie"])
    told.append(_framed(office, "the large reply, with the cookie", office.binary(*many, cookie=cookie)))
    told.append(_framed(office, "a reply that is cut", office.binary(*["BTC"] * 60, cookie=cookie)))
    return told


def _framed(office: Office, name: str, request: bytes) -> dict[str, Any]:
    reply = office.ask_bytes(request)
    told = _parts(reply)
    results = price_pb2.UdpReply.FromString(bytes.fromhex(told["payload"])).results
    told["says"] = [f"{each.asset} {each.price or each.reason}" for each in results]
    return {"name": name, "request": _parts(request), "reply": told}


def _parts(datagram: bytes) -> dict[str, Any]:
    frame = udp_frame.read_frame(datagram)
    assert frame is not None
    parts = {"bytes": datagram.hex(), "flags": frame.flags, "payload": frame.payload.hex()}
    if frame.cookie is not None:
        parts["cookie"] = frame.cookie.hex()
    if frame.mac is not None:
        parts["mac"] = frame.mac.hex()
    return parts


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), indent=2) + "\n", "utf-8")
