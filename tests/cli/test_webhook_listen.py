"""`trinity webhook listen`: the command as a process, and our own senders as its senders."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cli.processes import finish, start
from trinity_core.prices import State
from trinity_core.webhook_payload import challenge_body, trial_body
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_rules import Change
from trinity_core.webhook_secrets import Scheme, SecretValue, public_text
from trinity_core.webhook_signing import Signer
from trinity_core.webhook_ticks import Item
from trinity_core.webhook_urls import read_url
from trinity_mesh.clock import SystemClock
from trinity_webhook.https_sender import HttpsSender
from trinity_webhook.sender_config import SenderConfig
from trinity_webhook.sending import Posting, Sent, challenge_answer
from trinity_webhook.udp_config import UdpSenderConfig
from trinity_webhook.udp_sender import UdpSender
from webhook.authority import Authority
from webhook.receiving import ENDPOINT, POLICY, until

CLOCK = SystemClock()
SECRET = SecretValue(Scheme.V1, bytes(range(32)))
STRANGE = SecretValue(Scheme.V1, bytes(range(1, 33)))
PAIR = SecretValue(Scheme.V1A, bytes(range(2, 34)))
TEST = trial_body(endpoint=ENDPOINT, at_ns=0)


def posting(message: str = "msg_1", body: bytes = TEST, by: SecretValue = SECRET) -> Posting:
    now_s = CLOCK.unix_ns() // 10**9
    return Posting(message, now_s, Signer(by, secret="whk_1").sign(message, now_s, body), body)


class Listening:
    """The command, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.urls: list[str] = []

    async def begin(self, ports: int) -> None:
        assert self.process.stderr is not None
        async with asyncio.timeout(60):
            while len(self.urls) < ports:
                line = (await self.process.stderr.readline()).decode()
                assert line, "the command ended"
                self.urls += re.findall(r"listening at (\S+)", line)

    async def record(self) -> Any:
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            return json.loads(await self.process.stdout.readline())


class Bench:
    """Starts the command and sends to it."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.stack = stack

    async def listen(self, *options: str, secret: str = SECRET.text, ports: int = 1) -> Listening:
        process = await start(
            "webhook", "listen", "--http", "127.0.0.1:0", *options, env={"TRINITY_WEBHOOK_SECRET": secret}
        )
        listening = Listening(process)

        async def end() -> None:
            if process.returncode is None:
                process.kill()
            await process.communicate()

        self.stack.push_async_callback(end)
        await listening.begin(ports)
        return listening

    async def sender(self, **settings: Any) -> HttpsSender:
        return await self.stack.enter_async_context(HttpsSender(SenderConfig(**settings), policy=POLICY, clock=CLOCK))


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        yield Bench(stack)


async def post(sender: HttpsSender, listening: Listening, message: Posting) -> Sent:
    target = read_url(listening.urls[0], policy=POLICY, loopback=True)
    return await sender.post(ENDPOINT, target, message)


async def test_a_delivery_is_verified_and_shown(bench: Bench) -> None:
    listening, sender = await bench.listen("--json"), await bench.sender()
    sent = await post(sender, listening, posting())
    assert (sent.outcome, sent.status) == (Outcome.DELIVERED, 204)
    record = await listening.record()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record.pop("time"))
    assert record == {
        "via": "https", "id": "msg_1", "path": "/", "genuine": True, "type": "webhook.test",
        "data": {"endpoint": ENDPOINT}, "again": False, "status": 204,
    }  # fmt: skip
    await post(sender, listening, posting())
    assert (await listening.record())["again"] is True
    assert sender.reused == 1


async def test_what_is_not_genuine_is_refused_and_says_why(bench: Bench) -> None:
    listening, sender = await bench.listen("--json"), await bench.sender()
    assert (await post(sender, listening, posting(by=STRANGE))).status == 401
    record = await listening.record()
    assert (record["genuine"], record["error"]) == (False, "no signature is one of the keys'")


async def test_a_public_key_verifies_v1a(bench: Bench) -> None:
    listening = await bench.listen("--json", secret=f"{public_text(PAIR.public)} {SECRET.text}")
    sender = await bench.sender()
    for by in (PAIR, SECRET):
        assert (await post(sender, listening, posting(by=by))).status == 204


async def test_a_challenge_is_answered_even_where_all_else_fails(bench: Bench) -> None:
    listening, sender = await bench.listen("--json", "--fail", "100%"), await bench.sender()
    body = challenge_body(endpoint=ENDPOINT, challenge="abc-_", at_ns=0)
    assert challenge_answer(await post(sender, listening, posting(body=body))) == "abc-_"
    assert (await post(sender, listening, posting("msg_2"))).status == 503


async def test_without_a_secret_a_challenge_is_answered_and_nothing_called_genuine(bench: Bench) -> None:
    listening, sender = await bench.listen("--json", secret=""), await bench.sender()
    body = challenge_body(endpoint=ENDPOINT, challenge="abc-_", at_ns=0)
    assert challenge_answer(await post(sender, listening, posting(body=body))) == "abc-_"
    assert (await listening.record())["genuine"] is False


async def test_shares_fail_and_hang_as_they_are_told(bench: Bench) -> None:
    options = ("--fail", "40%", "--hang", "0.2", "--status", "429", "--retry-after", "7", "--seed", "1")
    listening, sender = await bench.listen("--json", *options), await bench.sender(total_ms=5_000)
    results = await asyncio.gather(*(post(sender, listening, posting(f"msg_{n}")) for n in range(50)))
    found = [(sent.outcome, sent.status, sent.retry_after_s) for sent in results]
    kinds = {
        (Outcome.DELIVERED, 204, None): 20,
        (Outcome.REFUSED, 429, 7): 20,
        (Outcome.TIMED_OUT, 0, None): 10,
    }
    assert set(found) == set(kinds)
    for kind, expected in kinds.items():
        assert abs(found.count(kind) - expected) <= 12


async def test_it_ends_after_so_many_and_shows_them_to_people(bench: Bench) -> None:
    listening, sender = await bench.listen("--count", "2", "--delay", "10ms"), await bench.sender()
    for message in ("msg_1", "msg_1"):
        assert (await post(sender, listening, posting(message))).status == 204
    out, _ = await asyncio.wait_for(listening.process.communicate(), 60)
    lines = [line.split("  ")[1:] for line in out.decode().splitlines()]
    assert lines == [
        ["https", "webhook.test", "msg_1", "-> 204"],
        ["https", "webhook.test", "msg_1", "again", "-> 204"],
    ]
    assert listening.process.returncode == 0


async def test_it_speaks_tls_with_a_certificate(bench: Bench, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    leaf = authority.leaf("127.0.0.1")
    listening = await bench.listen("--json", "--cert", leaf, "--cert-key", leaf)
    sender = await bench.sender(ca_file=authority.ca_file)
    assert listening.urls[0].startswith("https://")
    assert (await post(sender, listening, posting())).outcome is Outcome.DELIVERED


async def test_datagrams_are_renewed_read_and_confirmed(bench: Bench) -> None:
    listening = await bench.listen("--json", "--udp", "127.0.0.1:0", ports=2)
    sender = await bench.stack.enter_async_context(
        UdpSender(UdpSenderConfig(), policy=POLICY, clock=CLOCK, random_bytes=random.Random(1).randbytes)
    )
    target = read_url(listening.urls[1], policy=POLICY, loopback=True)
    body = challenge_body(endpoint=ENDPOINT, challenge="abc", at_ns=0)
    assert challenge_answer(await sender.challenge(ENDPOINT, target, [SECRET.data], "msg_0", body)) == "abc"
    sender.hold(ENDPOINT, target, [SECRET.data])
    await until(lambda: sender.is_live(ENDPOINT))
    change = Change("BTC", Decimal("67000.10"), State.FRESH, Decimal(1), Decimal(1), (), 42, 5, 98, 99)
    assert sender.push_ticks(ENDPOINT, [Item(change, 3)]).outcome is Outcome.DELIVERED
    assert (await sender.push_message(ENDPOINT, "msg_1", TEST)).outcome is Outcome.DELIVERED
    records = [await listening.record() for _ in range(4)]
    assert [record["type"] for record in records] == ["webhook.challenge", "heartbeat", "price.tick", "webhook.test"]
    assert records[2]["data"]["prices"] == [
        {"asset": "BTC", "price": "67000.10", "state": "fresh", "sequence": 42, "epoch": "5", "skipped": 3,
         "receive_time_ns": "99", "venue_time_ns": "98"}
    ]  # fmt: skip
    assert [record["answered"] for record in records] == [True, True, False, True]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--udp", "127.0.0.1:0"], "whsec_ secret"),
        (["--fail", "60%", "--hang", "50%"], "more than all"),
        (["--fail", "often"], "no share"),
        (["--secret", "abc"], "whsec_"),
        (["--http", "nowhere"], "no place"),
    ],
)
async def test_wrong_usage_of_the_receiver_is_said(options: list[str], why: str) -> None:
    done = await finish(await start("webhook", "listen", *options))
    assert (done.code, why in done.err.decode()) == (2, True), done.err
