"""Clients that keep their own count: of what they asked, and of the answers that they have read whole."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import grpc.aio

from system.billing import Ask, Tally, kind_of
from system.customers import Customer
from trinity.price.v1 import price_pb2, price_service_pb2_grpc
from trinity_admission.asked import outcome_of_code
from trinity_core.errors import Code, Reason, TrinityError
from trinity_core.udp_mac import signed_line
from trinity_core.usage import Outcome, Transport

ASSETS: Final = ("BTC", "ETH", "SOL", "XRP", "ADA", "DOGE", "LTC", "AVAX")
LATE_S: Final = 0.5
"""After this time a datagram's answer counts as lost, until it comes after all."""

_AGAIN_S: Final = 0.02
_TURNS: Final = 50
"""So often a client asks before it comes from another port, so that every worker gets its share."""
_PATIENCE_S: Final = 30
_WAITING_MAX: Final = 4_096
_HTTP: Final = (
    *((f"/v1/prices/{asset}", Ask(Transport.HTTP, "GetPrice", asset)) for asset in ASSETS),
    ("/price?asset=NOSUCH", Ask(Transport.HTTP, "GetPrice", "")),
    ("/v1/prices:batchGet?assets=BTC&assets=ETH", Ask(Transport.HTTP, "BatchGetPrices", "")),
)
_OPENED: Final = Ask(Transport.HTTP, "CreateUdpSession", "")
_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3})")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_KNOWN: Final = re.compile(rb"\r\nratelimit-policy: ", re.IGNORECASE)
_TIER: Final = re.compile(rb'"tier":"TIER_(LOCAL|CACHE|LIVE)"')


class Asker(Protocol):
    """One client."""

    stopping: bool

    async def run(self) -> None: ...


class HttpAsker:
    """Asks over one connection, one request at a time, and opens another when it breaks or was used for a while."""

    def __init__(self, address: Callable[[], str], customer: Customer, tally: Tally, dice: random.Random) -> None:
        self._address = address
        self._customer = customer
        self._tally = tally
        self._dice = dice
        self._requests = [(self._request("GET", path), ask) for path, ask in _HTTP]
        self.stopping = False

    async def run(self) -> None:
        while not self.stopping:
            try:
                host, _, port = self._address().rpartition(":")
                reader, writer = await asyncio.open_connection(host, int(port))
            except OSError:
                await asyncio.sleep(_AGAIN_S)
                continue
            try:
                for _ in range(_TURNS):
                    if self.stopping:
                        break
                    if await self._ask(reader, writer, *self._dice.choice(self._requests)) is None:
                        self._tally.breaks += 1
                        break
            finally:
                writer.close()

    async def session(self) -> tuple[str, bytes]:
        """Id and key of a session for datagrams, opened over a connection of its own."""
        while True:
            host, _, port = self._address().rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                body = await self._ask(reader, writer, self._request("POST", "/v1/udp/sessions"), _OPENED)
            finally:
                writer.close()
            if body and b"sessionId" in body:
                made = json.loads(body)
                return made["sessionId"], base64.b64decode(made["sessionKey"])
            await asyncio.sleep(_AGAIN_S)

    def _request(self, verb: str, path: str) -> bytes:
        body = "content-type: application/json\r\ncontent-length: 2\r\n\r\n{}" if verb == "POST" else "\r\n"
        head = f"{verb} {path} HTTP/1.1\r\nhost: mesh\r\nauthorization: Bearer {self._customer.key}\r\n"
        return (head + body).encode()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, ask: Ask
    ) -> bytes | None:
        """The body of an answer that was read whole, counted; None where it broke off."""
        self._tally.asked[ask] += 1
        try:
            writer.write(request)
            async with asyncio.timeout(_PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                status, length = _STATUS.match(head), _LENGTH.search(head)
                assert status, head
                assert length, head
                body = await reader.readexactly(int(length[1]))
        except (OSError, EOFError):
            return None
        if _KNOWN.search(head):
            self._tally.answered[kind_of(ask, _outcome(ask, int(status[1]), body))] += 1
        else:
            self._tally.asked[ask] -= 1  # told by a process that did not know the key: it must not be billed
        return body


def _outcome(ask: Ask, status: int, body: bytes) -> Outcome:
    if status >= 400:
        return Outcome.FAILED if status >= 500 else Outcome.REFUSED
    tiers = _TIER.findall(body)
    return max((Outcome[tier.decode()] for tier in tiers), default=Outcome.SERVED)


class UdpAsker(asyncio.DatagramProtocol):
    """Asks by datagrams of several lines, one at a time, signed by a session."""

    def __init__(
        self, address: Callable[[], str], session: tuple[str, bytes], tally: Tally, dice: random.Random, *, lines: int
    ) -> None:
        """A client whose datagrams have `lines` lines with several assets each, and one line of another kind."""
        self._address = address
        self._session, self._key = session
        self._tally = tally
        self._dice = dice
        self._lines = lines
        self._sequence = self._marks = 0
        self._waiting: OrderedDict[bytes, Counter[Ask]] = OrderedDict()
        """What each line still lacks, by its mark; the oldest are given up."""
        self._due = self._first = 0
        """Answers that the last datagram still lacks, and its first mark."""
        self._arrived = asyncio.Event()
        self.stopping = False

    async def run(self) -> None:
        host, _, port = self._address().rpartition(":")
        loop = asyncio.get_running_loop()
        while not self.stopping:
            transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=(host, int(port)))
            try:
                for _ in range(_TURNS):
                    if not self.stopping:
                        await self._ask(transport)
            finally:
                transport.close()

    async def _ask(self, transport: asyncio.DatagramTransport) -> None:
        texts = [("GET " + ",".join(self._dice.sample(ASSETS, len(ASSETS))), ASSETS) for _ in range(self._lines)]
        texts.append(self._dice.choice((("GET BTC USD", ("BTC",)), ("GET NOSUCH", ("",)), ("PING", ()))))
        datagram, now_s = [], int(time.time())
        self._due, self._first = 0, self._marks + 1
        for text, assets in texts:
            self._marks += 1
            self._sequence += 1
            mark = f"{self._marks:x}"
            datagram.append(
                signed_line(
                    self._key, f"{text} id={mark}", session=self._session, unix_s=now_s, sequence=self._sequence
                )
            )
            asked = Counter(Ask(Transport.UDP, "GetPrice", asset) for asset in assets)
            asked = asked or Counter([Ask(Transport.UDP, "Ping", "")])
            self._tally.asked += asked
            self._waiting[mark.encode()] = asked
            self._due += asked.total()
        while len(self._waiting) > _WAITING_MAX:
            self._waiting.popitem(last=False)
        self._arrived.clear()
        transport.sendto("\n".join(datagram).encode())
        try:
            async with asyncio.timeout(LATE_S):
                await self._arrived.wait()
        except TimeoutError:
            self._tally.breaks += 1

    def datagram_received(self, data: bytes, addr: object) -> None:
        for line in data.splitlines():
            words = line.split(b" ", 3)
            waiting = self._waiting.get(words[1])
            if waiting is not None:
                self._answered(words, waiting)
        if self._due <= 0:
            self._arrived.set()

    def _answered(self, words: Sequence[bytes], waiting: Counter[Ask]) -> None:
        asset = "" if words[0] == b"ERR" or words[2] == b"PONG" else words[2].decode()
        outcome = Outcome.LOCAL
        if words[0] == b"ERR":
            outcome = outcome_of_code(TrinityError(Reason(words[2].decode()), "").row.code)
        ask = next(iter(waiting)) if len(waiting) == 1 else Ask(Transport.UDP, "GetPrice", asset)
        self._due -= int(words[1], 16) >= self._first
        # An error to one of several assets does not say to which: it stays in flight.
        if waiting.get(ask):
            waiting[ask] -= 1
            self._tally.answered[kind_of(ask, outcome)] += 1

    def error_received(self, exc: Exception) -> None:
        """Nobody listens: the gateway was killed."""


class GrpcAsker:
    """Asks over direct gRPC, one call at a time."""

    def __init__(self, address: str, customer: Customer, tally: Tally, dice: random.Random) -> None:
        self._address = address
        self._metadata = (("authorization", f"Bearer {customer.key}"),)
        self._tally = tally
        self._dice = dice
        self.stopping = False

    async def run(self) -> None:
        async with grpc.aio.insecure_channel(self._address) as channel:
            stub = price_service_pb2_grpc.PriceServiceStub(channel)
            while not self.stopping:
                ask = Ask(Transport.GRPC, "GetPrice", self._dice.choice(ASSETS))
                self._tally.asked[ask] += 1
                try:
                    answer = await stub.GetPrice(
                        price_pb2.GetPriceRequest(asset=ask.asset), metadata=self._metadata, timeout=_PATIENCE_S
                    )
                except grpc.aio.AioRpcError as error:
                    self._failed(ask, error)
                    await asyncio.sleep(_AGAIN_S)
                    continue
                self._tally.answered[kind_of(ask, Outcome[price_pb2.Tier.Name(answer.price.tier)[5:]])] += 1

    def _failed(self, ask: Ask, error: grpc.aio.AioRpcError) -> None:
        fields = dict(error.trailing_metadata() or ())
        if "ratelimit-policy" in fields:
            code: int = error.code().value[0]
            self._tally.answered[kind_of(ask, outcome_of_code(Code(code)))] += 1
        elif error.code() is grpc.StatusCode.UNAUTHENTICATED:
            self._tally.asked[ask] -= 1
        else:
            self._tally.breaks += 1
