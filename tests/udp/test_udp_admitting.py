"""Sessions and the count at the datagram endpoint: on real sockets, and line by line at the desk."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admission.stage import change, record_of
from price.virtual_clock import until
from trinity.price.v1 import price_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_core.udp_session import open_session
from trinity_mesh.clock import SystemClock
from trinity_udp.admitting import DEMO
from trinity_udp.batches import OneByOne
from trinity_udp.config import UdpConfig
from trinity_udp.drops import Drop
from trinity_udp.endpoint import Endpoint
from trinity_udp.main import make_price_endpoint
from udp.counter import ASSETS, UNIX_S, Shelf, make_price
from udp.office import A, Office


@pytest.fixture
def office() -> Office:
    return Office()


FULL = "OK - BTC 67000.10 USD 1767322800 6 F\n"


def test_a_line_with_a_session_is_answered_and_counted_to_its_key(office: Office) -> None:
    assert office.ask(office.line()) == FULL
    assert office.ask(office.line("GET BTC USD id=7")) == FULL.replace("-", "7")
    assert office.counted() == {("udp", "GetPrice", "BTC", 1): 2}
    assert office.counted(DEMO) == {}


def test_a_line_without_one_is_answered_as_ever_and_counted_to_nobody(office: Office) -> None:
    assert office.ask(b"GET BTC USD") == "OK BTC 67000.10 USD F\n"
    assert office.ask(b"GET NOPE USD") == "ERR - UNKNOWN_ASSET\n"
    assert office.ask(b"GET SOL USD") == "ERR - NO_PRICE\n"
    assert office.ask(b"GET BTC EUR") == "ERR - INVALID_FIELD field=quote\n"
    assert office.ask(b"PING") == "OK - PONG\n"
    assert office.counted(DEMO) == {
        ("udp", "GetPrice", "BTC", 1): 1,
        ("udp", "GetPrice", "", 5): 2,
        ("udp", "GetPrice", "SOL", 6): 1,
        ("udp", "Ping", "", 4): 1,
    }
    assert office.counted() == {}


def test_what_comes_twice_is_answered_and_counted_once(office: Office) -> None:
    line = office.line()
    assert [office.ask(line) for _ in range(3)] == [FULL, "", ""]
    assert office.ask(line + b"\n" + line) == ""
    assert office.counted() == {("udp", "GetPrice", "BTC", 1): 1}
    assert office.counter.dropped() == {"session_replay": 4}


def test_whatever_is_wrong_with_a_session_there_is_silence_and_a_count_of_why(office: Office) -> None:
    good = office.line()
    mac_at = good.index(b" m=") + 3
    assert office.ask(good[:mac_at] + b"0" * 32) == ""
    assert office.ask(good.replace(b"BTC", b"ETH")) == ""
    assert office.ask(office.line(ago_s=31)) == ""
    stranger = open_session(b"x" * 32, key_id=A.key_id, now_s=UNIX_S, nonce=1)
    assert office.ask(office.line(session=stranger)) == ""
    assert office.ask(good[:mac_at]) == ""
    assert office.ask(good.replace(b" s=", b" c=00 s=")) == ""
    assert office.ask(good.replace(b" s=", b" c=" + b"0" * 48 + b" s=")) == ""
    assert office.counter.dropped() == {
        "session_mac": 3,
        "session_time": 1,
        "session_unknown": 1,
        "session_malformed": 1,
        "cookie_malformed": 1,
    }
    assert not office.keys.counts.counted
    assert office.ask(good) == FULL


def test_a_revoked_keys_sessions_stop_with_the_push(office: Office) -> None:
    assert office.ask(office.line()) == FULL
    office.keys.say(change(record_of(A, revoked=True), version=2))
    assert office.ask(office.line()) == ""
    assert office.counter.dropped() == {"session_key": 1}


def test_one_line_may_ask_for_several_assets_within_the_bytes_it_earns(office: Office) -> None:
    reply = office.ask(office.line("GET BTC,ETH,NOPE USD id=5"))
    assert reply == "OK 5 BTC 67000.10 USD 1767322800 6 F\nOK 5 ETH 3000.5 USD 1767322800 6 F*\nERR 5 UNKNOWN_ASSET\n"
    assert office.counted() == {
        ("udp", "GetPrice", "BTC", 1): 1,
        ("udp", "GetPrice", "ETH", 1): 1,
        ("udp", "GetPrice", "", 5): 1,
    }
    many = "GET " + ",".join(["BTC"] * 20)
    datagram = office.line(many)
    assert len(office.ask(datagram)) <= 3 * len(datagram)


def test_good_lines_are_answered_beside_bad_and_demo_ones(office: Office) -> None:
    bad = office.line()[:-1] + b"x"
    datagram = b"\n".join([office.line("GET ETH USD id=1"), office.line()[:-32] + b"0" * 32, b"GET BTC USD id=3"])
    assert office.ask(datagram).split("\n")[0].startswith("OK 1 ETH")
    assert office.counter.dropped() == {"session_mac": 1}
    assert office.counted() == {("udp", "GetPrice", "ETH", 1): 1}
    assert office.counted(DEMO) == {("udp", "GetPrice", "BTC", 1): 1}
    assert office.ask(bad) == ""


@pytest.mark.parametrize(
    ("fields", "text", "reply"),
    [
        ({"assets": ["ETH"]}, "GET BTC USD id=7", "ERR 7 ASSET_NOT_ALLOWED\n"),
        ({"scopes": ["reports.read"]}, "GET BTC USD", "ERR - MISSING_SCOPE\n"),
        ({"scopes": []}, "PING", "OK - PONG\n"),
        ({"transports": [1, 3]}, "GET BTC USD", "ERR - TRANSPORT_NOT_ALLOWED\n"),
        ({"allowed_networks": ["10.0.0.0/8"]}, "GET BTC USD", "ERR - NETWORK_NOT_ALLOWED\n"),
        ({"allowed_networks": ["192.0.2.0/24"]}, "GET BTC USD", FULL),
    ],
)
def test_a_session_may_do_what_its_key_may_do_now(
    office: Office, fields: dict[str, Any], text: str, reply: str
) -> None:
    office.keys.say(change(record_of(A, **{"burst": 50, **fields}), version=2))
    assert office.ask(office.line(text)) == reply


def test_a_keys_rate_bounds_its_sessions_and_the_refusal_says_when_to_come_again(office: Office) -> None:
    office.keys.say(change(record_of(A, burst=2, rate_per_s=1), version=2))
    replies = [office.ask(office.line()) for _ in range(2)] + [office.ask(office.line(session=office.open()))]
    assert replies == [FULL, FULL, "ERR - RATE_LIMITED retry=1\n"]
    assert office.counted() == {("udp", "GetPrice", "BTC", 1): 2, ("udp", "GetPrice", "BTC", 5): 1}
    office.keys.clock.move(1)
    assert office.ask(office.line()) == FULL


def test_sessions_are_not_held_up_by_a_demo_allowance_that_is_spent_or_switched_off(office: Office) -> None:
    office = Office(burst=1, per_s=1, demo=True, session_burst=500)
    assert office.ask(b"GET BTC USD") == "OK BTC 67000.10 USD F\n"
    assert office.ask(b"GET BTC USD") == ""
    assert office.ask(office.line()) == FULL
    assert office.ask(office.line() + b"\nGET BTC USD") == "", "a demo line among them is paid for as one"
    closed = Office(demo=False)
    assert closed.ask(closed.line()) == FULL
    assert closed.ask(b"GET BTC USD") == ""


def test_what_checking_sessions_costs_is_bounded_for_each_prefix(office: Office) -> None:
    office = Office(session_burst=3, per_s=1)
    forged = office.line()[:-1] + b"0"
    for _ in range(10):
        office.ask(forged, "198.51.100.9")
    assert office.counter.dropped()["rate_limited"] == 7
    assert office.ask(office.line()) == FULL, "and others pay nothing for it"
    assert office.ask(b"\n".join(office.line() for _ in range(5))) == ""


def test_what_cannot_be_counted_is_not_answered(office: Office) -> None:
    office.keys.counts.full = True
    assert office.ask(office.line("GET BTC,ETH USD")) == ""
    assert office.ask(b"GET BTC USD") == ""
    assert office.counter.dropped() == {"uncounted": 3}
    office.keys.counts.full = False
    assert office.ask(office.line()) == FULL


def test_answers_that_do_not_fit_into_the_datagram_are_not_counted(office: Office) -> None:
    office = Office(burst=1_000)
    line = b"GET BTC USD id=abcdefghijkl" + b" " * 5
    reply = office.ask(b"\n".join([line] * 30))
    assert "TRUNCATED" in reply
    answers = reply.count("OK abcdefghijkl")
    assert 0 < answers < 30
    assert office.counted(DEMO) == {("udp", "GetPrice", "BTC", 1): answers}


def test_what_is_looked_up_is_counted_by_where_it_came_from(office: Office) -> None:
    def deferred(asset: str) -> Any:
        reply = office.counter.desk.handle(
            office.line(f"GET {asset} USD"), "192.0.2.7", 40_000, mono_ns=0, unix_ns=UNIX_S * 10**9
        )
        assert reply.data == b""
        return reply.deferred[0]

    desk, unix_ns = office.counter.desk, UNIX_S * 10**9
    live = make_price("SOL", "150.25", tier=price_pb2.TIER_LIVE)
    assert desk.settle(deferred("SOL"), live, unix_ns=unix_ns).data.startswith(b"OK - SOL 150.25")
    refused = TrinityError(Reason.INVALID_FIELD, "no")
    assert desk.settle(deferred("SOL"), refused, unix_ns=unix_ns).data == b"ERR - INVALID_FIELD\n"
    failed = TrinityError(Reason.NO_PRICE, "none")
    assert desk.settle(deferred("DOGE"), failed, unix_ns=unix_ns).data == b"ERR - NO_PRICE\n"
    deferred("SOL").entry.close()
    assert office.counted() == {
        ("udp", "GetPrice", "SOL", 3): 1,
        ("udp", "GetPrice", "SOL", 5): 1,
        ("udp", "GetPrice", "DOGE", 6): 1,
    }


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_answer_is_counted_once_and_nothing_else_is(data: st.DataObject) -> None:
    office = Office(burst=10_000, session_burst=10_000, per_s=10_000)
    lines = data.draw(
        st.lists(st.sampled_from(["good", "again", "forged", "demo", "ping", "many", "nope"]), min_size=1, max_size=12)
    )
    spoken: list[bytes] = []
    for kind in lines:
        if kind == "good":
            spoken.append(office.line("GET BTC USD id=1"))
        elif kind == "again" and spoken:
            spoken.append(spoken[-1])
        elif kind == "forged":
            spoken.append(office.line()[:-32] + b"f" * 32)
        elif kind == "demo":
            spoken.append(b"GET BTC USD id=2")
        elif kind == "ping":
            spoken.append(office.line("PING id=3"))
        elif kind == "many":
            spoken.append(office.line("GET BTC,ETH USD id=4"))
        else:
            spoken.append(office.line("GET NOPE USD id=5"))
    datagrams = data.draw(st.permutations(spoken))
    replies = "".join(office.ask(datagram) for datagram in datagrams)
    assert replies.count("\n") == sum(n for kind, n in office.keys.counts.counted.items() if n)


class Wire:
    """A real endpoint with admission, and a client's socket."""

    def __init__(self, office: Office, endpoint: Endpoint) -> None:
        self.office = office
        self.endpoint = endpoint
        host, _, port = endpoint.addresses[0].rpartition(":")
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect((host, int(port)))

    async def ask(self, datagram: bytes) -> str:
        self.socket.send(datagram)
        async with asyncio.timeout(20):
            return (await asyncio.get_running_loop().sock_recv(self.socket, 65_536)).decode()


@pytest.fixture
async def wire() -> Any:
    office = Office(clock=SystemClock())
    shelf = Shelf({"BTC": make_price(), "ETH": make_price("ETH", "3000.5")})
    endpoint = make_price_endpoint(
        config=UdpConfig(listen=("127.0.0.1:0",), strict_answers_max=2),
        replica=shelf,
        assets=ASSETS,
        lookup=None,
        clock=SystemClock(),
        doors=office.doors,
    )
    async with endpoint:
        made = Wire(office, endpoint)
        yield made
        made.socket.close()


async def test_a_session_works_over_a_real_socket(wire: Wire) -> None:
    line = wire.office.line("GET BTC USD id=7")
    assert await wire.ask(line) == FULL.replace("-", "7")
    wire.socket.send(line)
    assert await wire.ask(wire.office.line("GET ETH USD id=8")) == "OK 8 ETH 3000.5 USD 1767322800 6 F\n"
    assert wire.endpoint.tally.dropped[Drop.SESSION_REPLAY] == 1
    assert wire.office.counted() == {("udp", "GetPrice", "BTC", 1): 1, ("udp", "GetPrice", "ETH", 1): 1}


async def test_an_answer_that_the_kernel_does_not_take_is_given_back(wire: Wire) -> None:
    class Blocked:
        def __init__(self, inner: socket.socket) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def sendto(self, *_: Any) -> None:
            raise BlockingIOError

    endpoint = wire.endpoint
    bound = endpoint._sockets[0]
    asyncio.get_running_loop().remove_reader(bound)
    wire.socket.send(wire.office.line())
    await until(lambda: _readable(bound))
    endpoint._on_readable(bound, OneByOne(Blocked(bound), 64))  # type: ignore[arg-type]
    assert endpoint.tally.dropped[Drop.SEND_BLOCKED] == 1
    assert wire.office.counted() == {}
    asyncio.get_running_loop().add_reader(bound, endpoint._on_readable, bound, OneByOne(bound, 64))
    assert (await wire.ask(wire.office.line())).startswith("OK")


def _readable(bound: socket.socket) -> bool:
    try:
        return bool(bound.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


async def test_strict_answers_leave_when_their_count_is_safe_and_not_many_wait(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    safe = asyncio.Event()
    waiting = 0

    async def committed() -> None:
        nonlocal waiting
        waiting += 1
        await safe.wait()

    wire.office.keys.counts.strict = True
    monkeypatch.setattr(wire.office.keys.counts, "committed", committed)
    for _ in range(3):
        wire.socket.send(wire.office.line())
    await until(lambda: wire.endpoint.tally.dropped[Drop.SEND_BLOCKED])
    await until(lambda: waiting == 2)
    assert wire.endpoint.tally.replied == 0
    assert wire.office.counted() == {("udp", "GetPrice", "BTC", 1): 2}
    safe.set()
    await until(lambda: wire.endpoint.tally.replied == 2)


async def test_a_disk_that_fails_keeps_strict_answers_back(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    async def committed() -> None:
        raise TrinityError(Reason.LEDGER_FULL, "the disk failed")

    wire.office.keys.counts.strict = True
    monkeypatch.setattr(wire.office.keys.counts, "committed", committed)
    wire.socket.send(wire.office.line())
    await until(lambda: wire.endpoint.tally.dropped[Drop.UNCOUNTED])
    assert wire.office.counted() == {}
