"""The port for reports on real sockets: totals of a session's key, by two services over real gRPC."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from admission.stage import change
from price.virtual_clock import until
from trinity.account.v1 import account_pb2
from trinity.report.v1 import report_pb2
from trinity.usage.v1 import usage_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.channels import open_channel
from trinity_udp.admitting import DEMO
from trinity_udp.config import ReportUdpConfig, UdpConfig
from trinity_udp.drops import Drop
from trinity_udp.endpoint import Endpoint
from trinity_udp.main import make_price_endpoint, make_report_endpoint
from udp.counter import ASSETS, Shelf, make_price
from udp.office import A, B, Office, holder
from udp.scripted_totals import ScriptedQuotas, ScriptedReports, quotas_address, reports_address, telling

TOLD = "OK 7 USAGE day=123 month=4567 left=995433 1767322800\n"


class Peer:
    """A client's socket; answers are read as soon as they come."""

    def __init__(self, endpoint: Endpoint) -> None:
        host, _, port = endpoint.addresses[0].rpartition(":")
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect((host, int(port)))
        asyncio.get_running_loop().add_reader(self.socket, self._read)

    def _read(self) -> None:
        try:
            while True:
                self.answers.put_nowait(self.socket.recv(65_536))
        except BlockingIOError:
            pass

    def send(self, datagram: bytes) -> None:
        self.socket.send(datagram)

    async def receive(self) -> str:
        async with asyncio.timeout(20):
            return (await self.answers.get()).decode()

    async def ask(self, datagram: bytes) -> str:
        self.send(datagram)
        return await self.receive()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.socket)
        self.socket.close()


class Ports:
    """Both ports of one gateway, and clients of them."""

    def __init__(self, office: Office, prices: Endpoint, reports: Endpoint) -> None:
        self.office = office
        self.prices, self.reports = prices, reports
        self.at_prices, self.at_reports = Peer(prices), Peer(reports)

    async def usage(self, text: str = "USAGE id=7", **line: Any) -> str:
        return await self.at_reports.ask(self.office.line(text, **line))

    async def silent(self, datagram: bytes) -> bool:
        """Whether a datagram is met by silence: the next one is answered first."""
        self.at_reports.send(datagram)
        return await self.at_reports.ask(b"PING id=next") == "OK next PONG\n"


@asynccontextmanager
async def both_ports(folder: Path, *records: account_pb2.KeyRecord, **settings: Any) -> AsyncIterator[Ports]:
    office = Office(*(records or [holder()]))
    clock = office.keys.clock
    async with AsyncExitStack() as stack:
        prices = make_price_endpoint(
            config=UdpConfig(listen=("127.0.0.1:0",)),
            replica=Shelf({"BTC": make_price()}),
            assets=ASSETS,
            lookup=None,
            clock=clock,
            doors=office.doors,
        )
        reports = make_report_endpoint(
            config=ReportUdpConfig(**{"listen": ("127.0.0.1:0",), "totals_timeout_ms": 20_000, **settings}),
            reports=await stack.enter_async_context(open_channel(reports_address(folder))),
            quotas=await stack.enter_async_context(open_channel(quotas_address(folder))),
            clock=clock,
            doors=office.doors,
        )
        await stack.enter_async_context(prices)
        await stack.enter_async_context(reports)
        ports = Ports(office, prices, reports)
        stack.callback(ports.at_prices.close)
        stack.callback(ports.at_reports.close)
        yield ports


@pytest.fixture
def folder() -> Any:
    # Paths of sockets are short; a test's folder is not.
    with tempfile.TemporaryDirectory(prefix="tb-") as name:
        yield Path(name)


@pytest.fixture
async def services(folder: Path) -> AsyncIterator[tuple[ScriptedReports, ScriptedQuotas]]:
    reports, quotas = ScriptedReports(), ScriptedQuotas()
    async with telling(folder, reports, quotas):
        yield reports, quotas


@pytest.fixture
async def ports(folder: Path, services: Any) -> AsyncIterator[Ports]:
    async with both_ports(folder) as opened:
        yield opened


async def test_the_totals_of_a_sessions_key_are_told_and_counted_to_it(ports: Ports, services: Any) -> None:
    reports, quotas = services
    assert await ports.usage() == TOLD
    assert ports.office.counted() == {("udp", "SummarizeUsage", "", 4): 1}
    ((principal, request),) = reports.asked
    assert (principal.key_id, principal.associate, principal.holds("reports.read")) == (A.key_id, "acme", True)
    assert quotas.asked == [principal]
    assert request == report_pb2.SummarizeUsageRequest(
        start_time={"seconds": 1_767_225_600},
        end_time={"seconds": 1_769_904_000},
        key_ids=[A.key_id],
        group_by=[report_pb2.GROUP_BY_DAY],
    )


async def test_an_associate_without_a_bound_has_a_dash_for_what_is_left(ports: Ports, services: Any) -> None:
    reports, quotas = services
    reports.days, quotas.answer = {}, usage_pb2.GetQuotaResponse(unlimited=True)
    assert await ports.usage("usage") == "OK - USAGE day=0 month=0 left=- 1767322800\n"


async def test_a_thousand_waiting_lines_of_a_key_cost_one_call_of_each_service(ports: Ports, services: Any) -> None:
    reports, quotas = services
    reports.release.clear()
    for _ in range(100):
        ports.at_reports.send(b"\n".join(ports.office.line("USAGE id=7") for _ in range(10)))
    await until(lambda: ports.reports.tally.looked_up == 1_000)
    reports.release.set()
    answers = [await ports.at_reports.receive() for _ in range(1_000)]
    assert set(answers) == {TOLD}
    assert (len(reports.asked), len(quotas.asked)) == (1, 1)
    assert ports.office.counted() == {("udp", "SummarizeUsage", "", 4): 1_000}


async def test_totals_are_kept_for_a_moment_and_then_read_anew(ports: Ports, services: Any) -> None:
    reports, _ = services
    assert await ports.usage() == TOLD
    reports.days["2026-01-02T00:00:00Z"] = 125
    ports.office.keys.clock.move(0.999)
    assert await ports.usage() == TOLD, "and it says of when they are"
    ports.office.keys.clock.move(0.001)
    assert await ports.usage() == "OK 7 USAGE day=125 month=4569 left=995433 1767322801\n"
    assert len(reports.asked) == 2


async def test_totals_of_a_day_that_is_over_are_no_answer(ports: Ports, services: Any) -> None:
    reports, _ = services
    assert await ports.usage() == TOLD
    ports.office.keys.clock.jump_wall(86_400)
    ports.office.session = ports.office.open()
    reports.days["2026-01-03T00:00:00Z"] = 1
    assert await ports.usage() == "OK 7 USAGE day=1 month=4568 left=995433 1767409200\n"


async def test_each_key_is_told_its_own(folder: Path, services: Any) -> None:
    reports, quotas = services
    async with both_ports(folder, holder(), holder(B, associate="globex")) as ports:
        assert await ports.usage() == TOLD
        reports.days, quotas.answer = {"2026-01-02T00:00:00Z": 1}, usage_pb2.GetQuotaResponse(remaining=5)
        own = await ports.usage(session=ports.office.open(B))
        assert own == "OK 7 USAGE day=1 month=1 left=5 1767322800\n"
        assert await ports.usage() == TOLD
        assert [principal.associate for principal in quotas.asked] == ["acme", "globex"]


@pytest.mark.parametrize("text", ["USAGE", "usage", "USAGE id=7", "USAGE id=abcdefghijklmnop", "USAGE" + " " * 40])
async def test_without_a_session_the_answer_says_that_one_is_needed_and_is_as_short_as_earned(
    text: str, ports: Ports, services: Any
) -> None:
    reports, quotas = services
    answer = await ports.at_reports.ask(text.encode())
    mark = text.partition("id=")[2] or "-"
    assert answer in (f"ERR {mark} SESSION open=/v1/udp/sessions\n", f"ERR {mark} SESSION\n")
    assert len(answer) <= 3 * len(text)
    assert not reports.asked
    assert not quotas.asked
    assert ports.office.counted(DEMO) == {("udp", "SummarizeUsage", "", 5): 1}


async def test_what_the_other_port_is_for_is_told_at_both(ports: Ports) -> None:
    assert await ports.at_reports.ask(b"GET BTC USD id=1") == "ERR 1 PRICES\n"
    assert await ports.at_prices.ask(b"USAGE") == "ERR - REPORTS\n"
    assert await ports.at_reports.ask(ports.office.line("GET BTC USD")) == "ERR - PRICES\n"
    assert await ports.at_prices.ask(ports.office.line("USAGE id=3")) == "ERR 3 REPORTS\n"
    assert ports.office.counted() == {("udp", "GetPrice", "", 5): 1, ("udp", "SummarizeUsage", "", 5): 1}


async def test_a_line_taken_from_one_port_is_worth_nothing_at_the_other(ports: Ports) -> None:
    asked, told = ports.office.line("GET BTC USD"), ports.office.line("PING id=4")
    assert (await ports.at_prices.ask(asked)).startswith("OK - BTC")
    assert await ports.at_reports.ask(told) == "OK 4 PONG\n"
    assert await ports.silent(asked)
    ports.at_prices.send(told)
    assert await ports.at_prices.ask(b"PING id=next") == "OK next PONG\n"
    for port in (ports.prices, ports.reports):
        assert port.tally.dropped[Drop.SESSION_REPLAY] == 1


async def test_what_comes_twice_is_answered_and_counted_once(ports: Ports) -> None:
    line = ports.office.line("USAGE id=7")
    assert await ports.at_reports.ask(line) == TOLD
    assert await ports.silent(line)
    assert ports.office.counted() == {("udp", "SummarizeUsage", "", 4): 1}


async def test_a_revoked_key_is_met_with_silence_and_a_key_without_the_scope_with_a_reason(ports: Ports) -> None:
    ports.office.keys.say(change(holder(scopes=["prices.read"]), version=2))
    assert await ports.usage() == "ERR 7 MISSING_SCOPE\n"
    ports.office.keys.say(change(holder(revoked=True), version=3))
    assert await ports.silent(ports.office.line("USAGE id=7"))
    assert ports.reports.tally.dropped[Drop.SESSION_KEY] == 1


async def test_services_that_are_away_are_named_as_such_and_not_asked_once_a_line(folder: Path) -> None:
    reports, quotas = ScriptedReports(), ScriptedQuotas()
    async with both_ports(folder) as ports:
        async with telling(folder, reports, quotas):
            assert await ports.usage() == TOLD
        ports.office.keys.clock.move(1)
        answers = [await ports.usage() for _ in range(5)]
        assert answers == ["ERR 7 BACKEND_UNAVAILABLE\n"] * 5
        assert ports.reports.tally.looked_up == 2
        assert ports.office.counted() == {("udp", "SummarizeUsage", "", 4): 1, ("udp", "SummarizeUsage", "", 6): 5}


async def test_with_one_of_the_two_services_there_is_no_figure_at_all(ports: Ports, services: Any) -> None:
    reports, quotas = services
    quotas.error = TrinityError(Reason.STORE_UNAVAILABLE, "no database", retry_after_ms=1_500)
    assert await ports.usage() == "ERR 7 STORE_UNAVAILABLE retry=2\n"
    ports.office.keys.clock.move(1)
    quotas.error, reports.error = None, TrinityError(Reason.INTERNAL, "a bug")
    assert await ports.usage() == "ERR 7 INTERNAL\n"
    ports.office.keys.clock.move(1)
    reports.error = None
    assert (await ports.usage()).startswith("OK 7 USAGE day=123 month=4567 left=995433 ")


async def test_a_service_that_never_answers_costs_its_time_and_no_more(folder: Path, services: Any) -> None:
    reports, _ = services
    reports.release.clear()
    async with both_ports(folder, totals_timeout_ms=50) as ports:
        assert await ports.usage() == "ERR 7 DEADLINE_EXCEEDED\n"
        assert ports.office.counted() == {("udp", "SummarizeUsage", "", 6): 1}
    reports.release.set()


async def test_who_comes_when_too_many_wait_is_told_so(folder: Path, services: Any) -> None:
    reports, _ = services
    reports.release.clear()
    both = (holder(), holder(B))
    async with both_ports(folder, *both, totals_calls_max=1, totals_waiters_max=2) as ports:
        for _ in range(2):
            ports.at_reports.send(ports.office.line("USAGE id=7"))
        assert await ports.usage(session=ports.office.open(B)) == "ERR 7 BACKEND_UNAVAILABLE retry=1\n"
        assert await ports.usage() == "ERR 7 BACKEND_UNAVAILABLE retry=1\n"
        reports.release.set()
        assert [await ports.at_reports.receive() for _ in range(2)] == [TOLD] * 2


async def test_several_lines_are_answered_together_once_the_totals_are_at_hand(ports: Ports) -> None:
    assert await ports.usage() == TOLD
    lines = [ports.office.line(f"USAGE id={number}") for number in range(3)]
    answer = await ports.at_reports.ask(b"\n".join([*lines, b"TIME id=t", ports.office.line("USAGE me id=w")]))
    assert answer.splitlines() == [
        *(TOLD.replace(" 7 ", f" {number} ").rstrip() for number in range(3)),
        "OK t TIME 1767322800",
        "ERR w INVALID_FIELD field=words",
    ]


async def test_the_port_explains_itself(ports: Ports) -> None:
    assert await ports.at_reports.ask(b"HELP") == "OK USAGE\n"
    assert await ports.at_reports.ask(b"HELP" + b" " * 10) == "OK USAGE s= t= q= m= | PING | TIME\n"
    full = await ports.at_reports.ask(b"HELP id=5" + b" " * 200)
    assert full.startswith("OK 5 HELP\nUSAGE ")
    assert "/v1/udp/sessions" in full
    assert await ports.silent(full.encode()), "an answer was answered"


@pytest.mark.parametrize(
    "wrong", [{"listen": ()}, {"demo_per_s": 0}, {"session_burst": 0}, {"totals_kept_max": 0}, {"totals_calls_max": 0}]
)
def test_a_setting_of_the_port_out_of_its_bounds_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ReportUdpConfig(**wrong)


def test_each_port_has_its_own_addresses_by_default() -> None:
    assert UdpConfig().listen == ("127.0.0.1:2679", "[::1]:2679")
    assert ReportUdpConfig().listen == ("127.0.0.1:2680", "[::1]:2680")
