"""Prices and totals over UDP, in its binary form: signed, checked, asked again where a datagram is lost.

    async with UdpClient("127.0.0.1:2679", http="http://127.0.0.1:8080", key=key) as client:
        price = await client.get("BTC")
        print(price.price, price.state.name)

Without a key there are prices too, as far as the gateway's demonstration goes. Every try is a datagram
with a sequence of its own, so that one that was answered is never answered twice. What is
not signed by the session's key is no answer.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import socket
from collections.abc import Callable, Iterable, Sequence
from decimal import InvalidOperation
from typing import Final, Self

from google.protobuf.message import DecodeError

from trinity.price.v1 import price_pb2
from trinity.report.v1 import report_pb2
from trinity_client.udp_link import Link, Question
from trinity_client.udp_opening import UdpSessionKey, open_udp_session
from trinity_client.udp_values import AT_PRICES, AT_REPORTS, UdpPrice, UdpUsage, error_of, outcome_of, time_of
from trinity_core import udp_frame
from trinity_core.errors import Reason, TrinityError
from trinity_core.prices import Method
from trinity_core.udp_cookie import CLIENT_BYTES, COOKIE_BYTES
from trinity_core.udp_frame import Frame
from trinity_core.udp_mac import SessionMacs
from trinity_mesh.clock import Clock, SystemClock

DATAGRAM_ASSETS_MAX: Final = 16
"""Assets asked for with one datagram: as many as fit into its reply even with long prices."""

_SPARE_S: Final = 60
"""A session that has less left is replaced."""


class UdpClient:
    """One socket to a gateway's port for prices, one to its port for reports, and a session. Use it as `async with`."""

    def __init__(
        self,
        prices: str = "",
        *,
        reports: str = "",
        session: UdpSessionKey | None = None,
        http: str = "",
        key: str = "",
        timeout_ms: int = 500,
        tries: int = 4,
        clock: Clock | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            prices: "host:port" or "[host]:port" of the port for prices.
            reports: likewise, of the port for reports.
            session: a session that was opened elsewhere.
            http: where to open sessions, and new ones before they end: "https://host".
            key: API key to open them with; without it and without `session` one asks unsigned.
            timeout_ms: wait for each try.
            tries: datagrams sent for one question at most.
            clock: the machine's by default; it must be within 30 s of the gateway's.
        """
        if tries < 1 or timeout_ms < 1:
            raise ValueError("tries and timeout_ms must be at least 1")
        if key and not http:
            raise ValueError("http must say where to open sessions with the key, such as https://host")
        self._addresses = {"prices": prices, "reports": reports}
        self._http, self._key = http, key
        self._timeout_s, self._tries = timeout_ms / 1_000, tries
        self._clock = clock or SystemClock()
        self._links: dict[str, Link] = {}
        self._opening = asyncio.Lock()
        self._session = session
        self._macs = None if session is None else SessionMacs(session.session_key)
        self._sequence = 0
        self._cookie = secrets.token_bytes(CLIENT_BYTES) + bytes(COOKIE_BYTES - CLIENT_BYTES)
        self._asked: dict[bytes, tuple[Question, bytes, SessionMacs | None]] = {}
        self.forged = 0
        """Replies that were not what they have to be: a wrong MAC, an unknown question, no frame at all."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()

    async def get(self, asset: str, *, method: Method | None = None, max_age_ms: int | None = None) -> UdpPrice:
        """One asset's price. Raises TrinityError: what the gateway says, DEADLINE_EXCEEDED where it says nothing."""
        (outcome,) = (await self.batch([asset], method=method, max_age_ms=max_age_ms)).values()
        if isinstance(outcome, TrinityError):
            raise outcome
        return outcome

    async def batch(
        self, assets: Iterable[str], *, method: Method | None = None, max_age_ms: int | None = None
    ) -> dict[str, UdpPrice | TrinityError]:
        """Several assets' prices, by id in upper case, each with its own outcome.

        Raises TrinityError BACKEND_UNAVAILABLE and what `open_udp_session` raises.
        """
        wanted = list(dict.fromkeys(asset.upper() for asset in assets))
        if not wanted:
            raise ValueError("assets must name at least one asset")
        parts = [wanted[at : at + DATAGRAM_ASSETS_MAX] for at in range(0, len(wanted), DATAGRAM_ASSETS_MAX)]
        outcomes: dict[str, UdpPrice | TrinityError] = {}
        for part in parts:
            outcomes.update(await self._prices(part, method, max_age_ms))
        return {asset: outcomes[asset] for asset in wanted}

    async def totals(self) -> UdpUsage:
        """Totals of the session's key. Raises TrinityError."""
        told: list[report_pb2.UdpTotals] = []

        def take(frame: Frame) -> bool:
            told.append(report_pb2.UdpTotals.FromString(frame.payload))
            return True

        if not await self._ask("reports", (), b"", take):
            raise self._silence("reports")
        totals = told[-1]
        if totals.reason:
            raise error_of(totals.reason, totals.detail, elsewhere=AT_PRICES)
        remaining = None if totals.unlimited else totals.remaining
        return UdpUsage(totals.billed_today, totals.billed_this_month, remaining, time_of(totals.read_unix))

    async def _prices(
        self, assets: Sequence[str], method: Method | None, max_age_ms: int | None
    ) -> dict[str, UdpPrice | TrinityError]:
        query = price_pb2.UdpQuery(assets=assets, method=0 if method is None else method.value)  # type: ignore[arg-type]
        if max_age_ms is not None:
            query.max_age.FromMilliseconds(max_age_ms)
        outcomes: dict[str, UdpPrice | TrinityError] = {}

        def take(frame: Frame) -> bool:
            reply = price_pb2.UdpReply.FromString(frame.payload)
            for result in reply.results:
                outcomes.setdefault(result.asset, outcome_of(result, reply))
            rest: TrinityError | None = None
            if reply.reason:
                rest = error_of(reply.reason, reply.detail, elsewhere=AT_REPORTS)
            elif frame.flags & udp_frame.TRUNCATED:
                rest = TrinityError(
                    Reason.NO_PRICE, f"the answer does not fit into a datagram; ask {reply.more} over HTTPS"
                )
            for asset in assets:
                if rest is not None:
                    outcomes.setdefault(asset, rest)
            return outcomes.keys() >= set(assets)

        await self._ask("prices", assets, query.SerializeToString(), take)
        return {asset: outcomes.get(asset) or self._silence("prices") for asset in assets}

    async def _ask(self, port: str, assets: Sequence[str], payload: bytes, take: Callable[[Frame], bool]) -> bool:
        """Send a question until it is answered; False where it never is."""
        await self._keep_session()
        link = await self._link(port)
        question = Question(take, asyncio.Event(), cookied=len(assets) > 1)
        sent: list[bytes] = []
        tries = self._tries
        try:
            while tries and not question.complete:
                tries -= 1
                question.done.clear()
                sent.append(self._send(link, question, payload))
                try:
                    async with asyncio.timeout(self._timeout_s):
                        await question.done.wait()
                except TimeoutError:
                    continue
                if question.refused:
                    raise TrinityError(
                        Reason.BACKEND_UNAVAILABLE,
                        f"nobody listens for datagrams at {self._addresses[port]}; is that a gateway of the mesh?",
                    )
        finally:
            for request_id in sent:
                self._asked.pop(request_id, None)
            link.waiting.discard(question)
        return question.complete

    def _send(self, link: Link, question: Question, payload: bytes) -> bytes:
        """One try; its request id."""
        request_id = secrets.token_bytes(8)
        session, macs = self._session, self._macs
        self._sequence += 1
        flags = (udp_frame.MAC if macs else 0) | (udp_frame.COOKIE if question.cookied else 0)
        made = udp_frame.make_frame(
            flags,
            request_id=request_id,
            session_id=session.session_id if session else 0,
            unix_s=self._clock.unix_ns() // 1_000_000_000,
            sequence=self._sequence,
            payload=payload,
            cookie=self._cookie if question.cookied else b"",
        )
        mac = b"" if macs is None else macs.query(made)
        self._asked[request_id] = (question, mac, macs)
        link.send(made + mac, question)
        return request_id

    def _receive(self, datagram: bytes) -> None:
        frame = udp_frame.read_frame(datagram)
        asked = None if frame is None else self._asked.get(frame.request_id)
        if frame is None or asked is None or not frame.response:
            self.forged += 1
            return
        question, mac, macs = asked
        if macs is not None and not (
            frame.mac is not None and hmac.compare_digest(macs.reply(mac, frame.signed), frame.mac)
        ):
            self.forged += 1
            return
        if frame.cookie is not None:
            # A cookie for no client's part is of no use but to tell that one is wanted.
            if question.cookied and frame.cookie[:CLIENT_BYTES] == self._cookie[:CLIENT_BYTES]:
                self._cookie = frame.cookie
            question.cookied = True
            question.done.set()
            return
        try:
            question.complete = question.take(frame)
        except (DecodeError, InvalidOperation, ValueError):
            self.forged += 1
            return
        if question.complete:
            question.done.set()

    async def _keep_session(self) -> None:
        if not self._key:
            return
        async with self._opening:
            now_s = self._clock.unix_ns() // 1_000_000_000
            if self._session is not None and self._session.expire_s - now_s > _SPARE_S:
                return
            self._session = await open_udp_session(self._http, self._key)
            self._macs, self._sequence = SessionMacs(self._session.session_key), 0

    async def _link(self, port: str) -> Link:
        link = self._links.get(port)
        if link is None:
            address = self._addresses[port]
            host, _, number = address.rpartition(":")
            if not host or not number.isdecimal():
                raise ValueError(f"{port}: {address!r} is no address; write it as 127.0.0.1:2679")
            try:
                _, link = await asyncio.get_running_loop().create_datagram_endpoint(
                    lambda: Link(self._receive),
                    remote_addr=(host.strip("[]"), int(number)),
                    proto=socket.IPPROTO_UDP,
                )
            except (OSError, OverflowError) as error:
                raise TrinityError(Reason.BACKEND_UNAVAILABLE, f"{address}: {error}") from error
            self._links[port] = link
        return link

    def _silence(self, port: str) -> TrinityError:
        return TrinityError(
            Reason.DEADLINE_EXCEEDED,
            f"no answer from {self._addresses[port]} to {self._tries} datagrams; "
            "silence is also how a gateway meets a wrong key, a wrong clock and who asks too much",
        )
