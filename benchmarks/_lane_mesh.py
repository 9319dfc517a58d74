"""Our own mesh for the lanes benchmark: `trinity up` as it is, its gateway worker alone on the server's core.

Settings that differ from the defaults: the sandbox makes 200 quotes a second, and the datagram port
lets one address ask as much as it likes, because all load comes from one.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from _lane_process import LOAD_CORE, PeerError, asked, running

ENVIRON = {
    "TRINITY_SANDBOX_TICKS_PER_S": "200",
    **{f"TRINITY_GATEWAY_UDP_{name}_PER_S": "1000000000" for name in ("DEMO", "SESSION")},
    **{f"TRINITY_GATEWAY_UDP_{name}_BURST": "1000000000" for name in ("DEMO", "SESSION")},
}
COOKIE_PADDING = 120
FIRST_PRICE_S = 60
FLAG_RESPONSE, FLAG_MAC, FLAG_REFUSED = 1, 2, 16
HEAD_BYTES, MAC_BYTES = 28, 16


@dataclass(frozen=True, slots=True)
class Session:
    """A session for datagrams."""

    session_id: str
    """16 hexadecimal digits."""
    key: bytes


class Mesh:
    """A running mesh."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self._facts = facts
        self.key = str(facts["key"])
        self.http_port = _port(facts["http"])
        self.udp_port = _port(facts["udp"])
        self.price_address = str(facts["grpc"]["price"])
        self.metrics = str(facts["metrics"])

    def pids(self, part: str) -> list[int]:
        """The processes of a part: "gateway" or "price"."""
        return [pid for name, pid in self._facts["pids"].items() if name.partition("-")[0] == part]

    def http_request(self, target: str) -> bytes:
        """A request with the customer's key."""
        lines = (f"GET {target} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {self.key}")
        return "\r\n".join((*lines, "", "")).encode("ascii")

    def answer(self, target: str, body: bytes | None = None) -> tuple[dict[str, str], bytes]:
        """What the gateway answers: headers (lower case) and body. Raises HTTPError for a refusal."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}{target}",
            data=body,
            headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return {name.lower(): value for name, value in response.getheaders()}, response.read()

    def first_price(self, target: str) -> tuple[dict[str, str], bytes]:
        """The same once there is a price to answer with, which takes a moment after the start."""
        deadline = time.monotonic() + FIRST_PRICE_S
        while True:
            try:
                return self.answer(target)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise PeerError(f"the mesh has no price within {FIRST_PRICE_S} s: {error}") from error
                time.sleep(0.1)

    def session(self) -> Session:
        """A new session."""
        told = json.loads(self.answer("/v1/udp/sessions", b"{}")[1])
        return Session(told["sessionId"], base64.b64decode(told["sessionKey"]))

    def cookie(self) -> str:
        """Proof of our address, for lines of text; empty where the gateway gives none."""
        line = b"GET BTC,ETH USD id=1".ljust(COOKIE_PADDING) + b"\n"
        first, _, rest = asked(self.udp_port, line, wait_s=1).decode("ascii", "replace").partition(" ")
        return rest.split()[0] if first == "COOKIE" and rest.split() else ""

    def speaks_binary(self) -> bool:
        """Whether one signed binary datagram is answered by one that is signed and no refusal."""
        session = self.session()
        pattern = bytearray(binary_pattern(session.session_id))
        pattern[4:12] = (1).to_bytes(8, "big")
        pattern[20:28] = int(time.time()).to_bytes(4, "big") + (1).to_bytes(4, "big")
        mac = hmac.digest(session.key, b"q" + bytes(pattern[:-MAC_BYTES]), hashlib.sha256)[:MAC_BYTES]
        pattern[-MAC_BYTES:] = mac
        reply = asked(self.udp_port, bytes(pattern), wait_s=1)
        if len(reply) < HEAD_BYTES + MAC_BYTES or reply[1] & FLAG_REFUSED or not reply[1] & FLAG_RESPONSE:
            return False
        signed = b"r" + mac + reply[:-MAC_BYTES]
        return hmac.digest(session.key, signed, hashlib.sha256)[:MAC_BYTES] == reply[-MAC_BYTES:]


def binary_pattern(session_id: str) -> bytes:
    """A binary request for BTC with room for id, time, sequence and MAC, in the order of docs/udp.md."""
    payload = b"\x0a\x03BTC"  # price.v1.UdpQuery: assets, one of them
    head = bytes((0xF1, FLAG_MAC)) + len(payload).to_bytes(2, "big") + bytes(8) + bytes.fromhex(session_id) + bytes(8)
    return head + payload + bytes(MAC_BYTES)


@contextlib.contextmanager
def our_mesh(folder: Path, environ: Mapping[str, str] = MappingProxyType({})) -> Iterator[Mesh]:
    """The whole mesh on the load's core; whoever measures a part of it moves that part. Ended afterwards."""
    ready = folder / "ready.json"
    words = (
        *(sys.executable, "-m", "trinity_cli.main", "up", "--workers", "1", "--seed", "7"),
        *("--http-port", "0", "--report-port", "0", "--udp-port", "0", "--udp-report-port", "0"),
        *("--data-dir", str(folder / "data"), "--ready-file", str(ready)),
    )
    log = folder / "mesh.log"
    # Stores of the environment are somebody's: this mesh has its own.
    for name in [name for name in os.environ if name.startswith("TRINITY_")]:
        del os.environ[name]
    with running(words, core=LOAD_CORE, log=log, environ={**ENVIRON, **environ}, ready=ready.exists):
        yield Mesh(json.loads(ready.read_text("utf-8")))


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
