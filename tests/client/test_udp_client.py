"""The datagram client against real endpoints: prices, batches, totals, lost and forged datagrams."""

from __future__ import annotations

import asyncio
import re
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from admission.stage import change
from trinity.account.v1 import account_pb2
from trinity.price.v1 import price_pb2
from trinity_client import UdpClient, UdpPrice, UdpSessionKey, UdpUsage
from trinity_core.errors import Reason, TrinityError
from trinity_core.prices import State, Tier
from trinity_mesh.channels import open_channel
from trinity_mesh.clock import SystemClock
from trinity_mesh.status import to_status
from trinity_udp.config import ReportUdpConfig, UdpConfig
from trinity_udp.drops import Drop
from trinity_udp.endpoint import Endpoint
from trinity_udp.main import make_price_endpoint, make_report_endpoint
from udp.counter import ASSETS, UNIX_S, Shelf, make_price
from udp.office import MASTER, Office, holder
from udp.scripted_totals import ScriptedQuotas, ScriptedReports, quotas_address, reports_address, telling

CLOCK = SystemClock()


class Served:
    """A real endpoint for prices with admission, and what a client needs of a session."""

    def __init__(self, office: Office, shelf: Shelf, endpoint: Endpoint) -> None:
        self.office, self.shelf, self.endpoint = office, shelf, endpoint
        session = office.session
        self.session = UdpSessionKey(session.session_id, session.key(MASTER), session.expire_s)

    def client(self, **settings: Any) -> UdpClient:
        known = {"session": self.session, "timeout_ms": 20_000, "clock": CLOCK, **settings}
        return UdpClient(self.endpoint.addresses[0], **known)


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Served]:
    office = Office(holder(), clock=CLOCK)
    shelf = Shelf({"BTC": make_price(sequence=5), "ETH": make_price("ETH", "3000.5", sandbox=True)})
    endpoint = make_price_endpoint(
        config=UdpConfig(**{"listen": ("127.0.0.1:0",), **settings}),
        replica=shelf,
        assets=[*ASSETS, *(f"A{number}" for number in range(60))],
        lookup=None,
        clock=CLOCK,
        doors=office.doors,
    )
    async with endpoint:
        yield Served(office, shelf, endpoint)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as made:
        yield made


async def test_a_price_has_all_that_the_datagram_tells(served: Served) -> None:
    async with served.client() as client:
        price = await client.get("btc")
        assert isinstance(price, UdpPrice)
        assert (price.asset, price.price, price.state, price.tier) == (
            "BTC",
            Decimal("67000.10"),
            State.FRESH,
            Tier.LOCAL,
        )
        assert (price.source_count, price.sequence, price.sandbox) == (6, 5, False)
        assert price.receive_time == datetime.fromtimestamp(UNIX_S, UTC)
        assert abs((price.server_time - datetime.fromtimestamp(CLOCK.unix_ns() // 10**9, UTC)).total_seconds()) < 60
        assert (await client.get("ETH")).sandbox
    assert served.office.counted() == {("udp", "GetPrice", "BTC", 1): 1, ("udp", "GetPrice", "ETH", 1): 1}


async def test_many_assets_take_a_cookie_and_each_has_its_own_outcome(served: Served) -> None:
    served.shelf.prices.update({f"A{number}": make_price(f"A{number}", "1.5") for number in range(40)})
    async with served.client() as client:
        wanted = ["BTC", *(f"a{number}" for number in range(40)), "NOPE", "SOL"]
        outcomes = await client.batch(wanted)
        assert list(outcomes) == [asset.upper() for asset in wanted]
        errors = {asset: each.reason for asset, each in outcomes.items() if isinstance(each, TrinityError)}
        assert errors == {"NOPE": Reason.UNKNOWN_ASSET, "SOL": Reason.NO_PRICE}
        assert client.forged == 0
        again = await client.batch(["BTC", "ETH"])
        assert all(isinstance(each, UdpPrice) for each in again.values())


async def test_without_a_session_there_is_the_demonstration(served: Served) -> None:
    async with served.client(session=None) as client:
        assert (await client.get("BTC")).price == Decimal("67000.10")
        assert len(await client.batch(["BTC", "ETH"])) == 2
    assert not served.office.counted()


async def test_what_does_not_fit_names_the_way_over_https(served: Served) -> None:
    served.shelf.prices.update({f"A{n}": make_price(f"A{n}", "1." + "5" * 90) for n in range(16)})
    async with served.client() as client:
        outcomes = await client.batch([f"A{n}" for n in range(16)])
        left = [each for each in outcomes.values() if isinstance(each, TrinityError)]
        assert 0 < len(left) < 16
        assert "/v1/prices:batchGet" in left[0].message


async def test_a_refusal_is_raised_with_its_reason_and_when_to_come_again(served: Served) -> None:
    async with served.client() as client:
        with pytest.raises(TrinityError, match="UNKNOWN_ASSET"):
            await client.get("NOPE")
        served.office.keys.say(change(holder(rate_per_s=1, burst=1), version=2))
        await client.get("BTC")
        with pytest.raises(TrinityError) as caught:
            await client.get("BTC")
        assert (caught.value.reason, caught.value.retry_after_ms) == (Reason.RATE_LIMITED, 1_000)


class Between(asyncio.DatagramProtocol):
    """Stands between a client and an endpoint: `rule` says what becomes of each datagram of either side."""

    def __init__(self, server: str, rule: Any) -> None:
        host, _, port = server.rpartition(":")
        self.rule = rule
        self.client: Any = None
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.setblocking(False)
        self.server.connect((host, int(port)))
        asyncio.get_running_loop().add_reader(self.server, self._back)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.client = addr
        for each in self.rule("there", data):
            self.server.send(each)

    def _back(self) -> None:
        for each in self.rule("back", self.server.recv(65_536)):
            self.transport.sendto(each, self.client)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.server)
        self.server.close()
        self.transport.close()


@asynccontextmanager
async def between(served: Served, rule: Any) -> AsyncIterator[str]:
    transport, proxy = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Between(served.endpoint.addresses[0], rule), local_addr=("127.0.0.1", 0)
    )
    try:
        host, port = transport.get_extra_info("sockname")
        yield f"{host}:{port}"
    finally:
        proxy.close()


async def test_a_datagram_that_is_lost_either_way_is_asked_again_with_a_new_sequence(served: Served) -> None:
    seen: dict[str, list[bytes]] = {"there": [], "back": []}

    def rule(way: str, datagram: bytes) -> list[bytes]:
        seen[way].append(datagram)
        return [] if len(seen[way]) == 1 else [datagram]

    async with (
        between(served, rule) as address,
        UdpClient(address, session=served.session, timeout_ms=300, tries=10) as client,
    ):
        assert (await client.get("BTC")).price == Decimal("67000.10")
    sequences = [int.from_bytes(each[24:28], "big") for each in seen["there"]]
    assert len(sequences) >= 3
    assert sequences == sorted(set(sequences))
    assert served.endpoint.tally.dropped[Drop.SESSION_REPLAY] == 0


async def test_a_reply_that_is_bent_or_repeated_or_anothers_is_no_answer(served: Served) -> None:
    def rule(way: str, datagram: bytes) -> list[bytes]:
        if way == "there":
            return [datagram]
        bent = datagram[:40] + bytes((datagram[40] ^ 1,)) + datagram[41:]
        unsigned = datagram[:1] + bytes((datagram[1] & ~2,)) + datagram[2:-16]
        other = datagram[:4] + b"12345678" + datagram[12:]
        return [bent, unsigned, other, b"OK - BTC 1 USD 1 1 F\n", datagram, datagram]

    async with (
        between(served, rule) as address,
        UdpClient(address, session=served.session, timeout_ms=20_000) as client,
    ):
        price = await client.get("BTC")
        assert price.price == Decimal("67000.10")
        assert client.forged >= 4
        assert (await client.get("BTC")).price == Decimal("67000.10")


async def test_silence_ends_with_a_reason_and_what_it_may_mean(served: Served) -> None:
    wrong = UdpSessionKey(served.session.session_id, b"x" * 32, served.session.expire_s)
    async with served.client(session=wrong, timeout_ms=20, tries=2) as client:
        with pytest.raises(TrinityError, match="wrong key") as caught:
            await client.get("BTC")
        assert caught.value.reason is Reason.DEADLINE_EXCEEDED
    assert served.endpoint.tally.dropped[Drop.SESSION_MAC] == 2


async def test_nobody_there_is_told_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        host, port = taken.getsockname()
    async with UdpClient(f"{host}:{port}", timeout_ms=20_000) as client:
        with pytest.raises(TrinityError, match="nobody listens") as caught:
            await client.get("BTC")
    assert caught.value.reason is Reason.BACKEND_UNAVAILABLE


async def test_totals_are_read_at_the_port_for_reports() -> None:
    with tempfile.TemporaryDirectory(prefix="tb-") as name:
        folder = Path(name)
        reports, quotas = ScriptedReports(), ScriptedQuotas()
        office = Office(holder(), clock=CLOCK)
        async with (
            telling(folder, reports, quotas),
            open_channel(reports_address(folder)) as to_reports,
            open_channel(quotas_address(folder)) as to_quotas,
            make_report_endpoint(
                config=ReportUdpConfig(listen=("127.0.0.1:0",), totals_timeout_ms=20_000),
                reports=to_reports,
                quotas=to_quotas,
                clock=CLOCK,
                doors=office.doors,
            ) as endpoint,
        ):
            session = UdpSessionKey(office.session.session_id, office.session.key(MASTER), office.session.expire_s)
            port = endpoint.addresses[0]
            async with UdpClient(port, reports=port, session=session, timeout_ms=20_000) as client:
                told = await client.totals()
                assert isinstance(told, UdpUsage)
                assert (told.billed_this_month, told.remaining) == (4_567, 995_433)
                # The same client: a second one would count the session's sequence anew, and be met with silence.
                with pytest.raises(TrinityError, match="only the port for prices"):
                    await client.get("BTC")
            async with UdpClient(reports=port, timeout_ms=20_000) as client:
                with pytest.raises(TrinityError) as caught:
                    await client.totals()
                assert caught.value.reason is Reason.MISSING_KEY


async def test_totals_are_not_read_out_of_what_the_other_port_says(served: Served) -> None:
    async with UdpClient(reports=served.endpoint.addresses[0], session=served.session, timeout_ms=20_000) as client:
        with pytest.raises(TrinityError, match="only the port for reports"):
            await client.totals()


def documented() -> str:
    """The page's example."""
    page = (Path(__file__).resolve().parents[2] / "docs/clients/python.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (block,) = (each for each in blocks if "import UdpClient" in each)
    return str(block)


async def test_the_documented_example_runs(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    gateway = await asyncio.start_server(Opens(served), "127.0.0.1", 0)
    code = documented().replace("127.0.0.1:2679", served.endpoint.addresses[0]).replace("asyncio.run(main())", "")
    code = code.replace("127.0.0.1:8080", "{}:{}".format(*gateway.sockets[0].getsockname()))
    names: dict[str, Any] = {}
    exec(compile(code, "python.md", "exec"), names)
    async with gateway:
        await names["main"]()
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "BTC 67000.10 FRESH"
    assert [line.split()[0] for line in printed[1:]] == ["BTC", "ETH", "NOPE"]
    assert sum(served.office.counted().values()) == 4


@pytest.mark.parametrize(("key", "reason"), [("wrong", Reason.INVALID_KEY), ("odd", Reason.BACKEND_UNAVAILABLE)])
async def test_a_session_that_is_not_opened_says_why(key: str, reason: Reason, served: Served) -> None:
    gateway = await asyncio.start_server(Opens(served), "127.0.0.1", 0)
    url = "http://{}:{}".format(*gateway.sockets[0].getsockname())
    async with gateway, served.client(session=None, http=url, key=key) as client:
        with pytest.raises(TrinityError) as caught:
            await client.get("BTC")
        assert caught.value.reason is reason
    async with served.client(session=None, http=url, key=key) as client:
        with pytest.raises(TrinityError, match="cannot be reached"):
            await client.get("BTC")


class Opens:
    """A gateway's HTTP port as far as sessions need it."""

    def __init__(self, served: Served) -> None:
        self.served = served

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(2)
        assert head.startswith(b"POST /v1/udp/sessions HTTP/1.1\r\n")
        status, body = b"401 Unauthorized", to_status(TrinityError(Reason.INVALID_KEY, "this key is not valid"))
        if b"Authorization: Bearer YOUR KEY\r\n" in head:
            session = self.served.office.session
            status, body = (
                b"200 OK",
                account_pb2.CreateUdpSessionResponse(session_id=session.text, session_key=session.key(MASTER)),
            )
            body.expire_time.seconds = session.expire_s
        text = b"<html>" if b"Bearer odd" in head else json_format.MessageToJson(body).encode()
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(text), text))
        await writer.drain()
        writer.close()


@pytest.mark.parametrize("wrong", [{"tries": 0}, {"timeout_ms": 0}, {"key": "k"}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        UdpClient("127.0.0.1:2679", **wrong)


async def test_an_address_that_is_none_is_refused_with_an_example() -> None:
    async with UdpClient("2679") as client:
        with pytest.raises(ValueError, match=r"127\.0\.0\.1:2679"):
            await client.get("BTC")


def test_prices_keep_their_numbers_in_the_contract() -> None:
    assert (State.FRESH.value, Tier.LIVE.value) == (price_pb2.STATE_FRESH, price_pb2.TIER_LIVE)
