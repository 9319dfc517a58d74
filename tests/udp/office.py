"""A desk with admission, and sessions of its keys, for the tests of the datagram endpoints."""

from __future__ import annotations

from typing import Any

from admission.stage import Desk as Keys
from admission.stage import make_key, record_of
from trinity.account.v1 import account_pb2
from trinity.price.v1 import price_pb2
from trinity_admission.udp_sessions import UdpSessions
from trinity_core import udp_frame
from trinity_core.udp_mac import SessionMacs, signed_line
from trinity_core.udp_session import UdpSession, open_session
from trinity_udp.admitting import Admitting
from udp.counter import UNIX_S, Counter, open_counter

MASTER = b"m" * 32
A, B = make_key(1), make_key(2)


def holder(key: Any = A, **fields: Any) -> account_pb2.KeyRecord:
    """A key that may ask at both ports, as often as a test likes."""
    return record_of(
        key, **{"scopes": ["prices.read", "reports.read"], "rate_per_s": 10_000, "burst": 10_000, **fields}
    )


class Office:
    """A desk with admission, and sessions opened with key A."""

    def __init__(self, *records: account_pb2.KeyRecord, clock: Any = None, **desk: Any) -> None:
        self.keys = Keys() if clock is None else Keys(clock=clock)
        if clock is None:
            self.keys.clock.jump_wall(UNIX_S - self.keys.clock.unix_ns() // 10**9)
        self.keys.open(*(records or [record_of(A, burst=50)]))
        self.sessions = UdpSessions(master=MASTER, keyring=self.keys.keyring, sessions_max=100)
        self.doors = Admitting(self.keys.admission, self.sessions)
        self.counter: Counter = open_counter(doors=self.doors, **desk)
        self.sequence = 0
        self.session = self.open()

    def open(self, key: Any = A) -> UdpSession:
        now_s = self.keys.clock.unix_ns() // 10**9
        return open_session(MASTER, key_id=key.key_id, now_s=now_s, nonce=self.sequence)

    def line(self, text: str = "GET BTC USD", *, session: UdpSession | None = None, ago_s: int = 0) -> bytes:
        self.sequence += 1
        session = session or self.session
        now_s = self.keys.clock.unix_ns() // 10**9
        line = signed_line(
            session.key(MASTER), text, session=session.text, unix_s=now_s - ago_s, sequence=self.sequence
        )
        return line.encode()

    def binary(
        self,
        *assets: str,
        session: UdpSession | None = None,
        ago_s: int = 0,
        cookie: bytes = b"",
        payload: bytes | None = None,
        signed: bool = True,
        **query: Any,
    ) -> bytes:
        """A binary query; `query` are fields of its payload beside the assets."""
        self.sequence += 1
        session = session or self.session
        made = udp_frame.make_frame(
            (udp_frame.MAC if signed else 0) | (udp_frame.COOKIE if cookie else 0),
            request_id=self.sequence.to_bytes(8, "big"),
            session_id=session.session_id if signed else 0,
            unix_s=self.keys.clock.unix_ns() // 10**9 - ago_s,
            sequence=self.sequence,
            payload=price_pb2.UdpQuery(assets=assets, **query).SerializeToString() if payload is None else payload,
            cookie=cookie,
        )
        return made + SessionMacs(session.key(MASTER)).query(made) if signed else made

    def ask(self, datagram: bytes, host: str = "192.0.2.7") -> str:
        return self.ask_bytes(datagram, host).decode()

    def ask_bytes(self, datagram: bytes, host: str = "192.0.2.7") -> bytes:
        self.counter.now_ns = self.keys.clock.monotonic_ns()
        return self.counter.ask(datagram, host, unix_ns=self.keys.clock.unix_ns())

    def ask_binary(self, datagram: bytes, host: str = "192.0.2.7") -> tuple[udp_frame.Frame, price_pb2.UdpReply]:
        """The reply to a binary query, its MAC checked."""
        reply = self.ask_bytes(datagram, host)
        told, asked = udp_frame.read_frame(reply), udp_frame.read_frame(datagram)
        assert told is not None, reply
        assert asked is not None
        assert (told.request_id, told.session_id, told.sequence) == (asked.request_id, asked.session_id, asked.sequence)
        if asked.mac is not None:
            assert told.mac == SessionMacs(self.session.key(MASTER)).reply(asked.mac, told.signed)
        return told, price_pb2.UdpReply.FromString(told.payload)

    def counted(self, name: str = A.key_id) -> dict[Any, int]:
        return self.keys.counts.of(name)
