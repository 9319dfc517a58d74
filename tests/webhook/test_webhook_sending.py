"""Deliveries over real TLS: what goes out, what the answers mean, and what ends an attempt."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import email.utils
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from trinity_core.webhook_addresses import AddressPolicy
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_secrets import Scheme, SecretValue
from trinity_core.webhook_signing import Signer
from trinity_mesh.clock import SystemClock
from trinity_webhook.https_sender import HttpsSender
from trinity_webhook.sender_config import SenderConfig
from trinity_webhook.sending import KEPT_MAX, Posting, challenge_answer
from trinity_webhook.udp_config import UdpSenderConfig
from webhook.receiving import ENDPOINT, NAME, OK, Peer, Stage, answering, posting, saying, staged


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as found:
        yield found


async def test_a_posting_arrives_as_standard_webhooks_wants_it(stage: Stage) -> None:
    receiver = await stage.receiver(answering)
    sender = await stage.sender()
    sent = await sender.post(ENDPOINT, receiver.target(), posting())
    assert (sent.outcome, sent.status, sent.answer, sent.error) == (Outcome.DELIVERED, 200, b"ok", "")
    (first, fields, body) = receiver.requests[0]
    assert first == "POST /prices?of=all HTTP/1.1"
    assert fields == {
        "host": f"{NAME}:{receiver.port}",
        "user-agent": "Trinity-Beast-Webhooks/1",
        "content-type": "application/json",
        "accept": "*/*",
        "content-length": "23",
        "webhook-id": "msg_1",
        "webhook-timestamp": "1767322800",
        "webhook-signature": "v1,c2lnbmVk",
    }
    assert body == b'{"type":"webhook.test"}'
    assert receiver.names == [NAME]


async def test_the_official_package_verifies_what_arrives(stage: Stage) -> None:
    receiver = await stage.receiver(answering)
    sender = await stage.sender()
    secret = SecretValue(Scheme.V1, bytes(range(32)))
    old = SecretValue(Scheme.V1, bytes(range(1, 33)))
    body = b'{"type":"price.tick","data":{"prices":[]}}'
    now_s = SystemClock().unix_ns() // 10**9
    signature = " ".join(Signer(value, secret="whk_1").sign("tck_1", now_s, body) for value in (old, secret))
    await sender.post(ENDPOINT, receiver.target(), Posting("tck_1", now_s, signature, body))
    _, fields, arrived = receiver.requests[0]
    assert Webhook(secret.text).verify(arrived, fields) == json.loads(body)
    stranger = Webhook(base64.b64encode(bytes(32)).decode())
    with pytest.raises(Exception, match="No matching signature"):
        stranger.verify(arrived, fields)


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        (b"204 No Content", Outcome.DELIVERED),
        (b"301 Moved", Outcome.REDIRECTED),
        (b"307 Moved", Outcome.REDIRECTED),
        (b"400 Bad", Outcome.REFUSED),
        (b"410 Gone", Outcome.GONE),
        (b"503 Later", Outcome.REFUSED),
    ],
)
async def test_a_status_says_what_became_of_an_attempt(stage: Stage, line: bytes, outcome: Outcome) -> None:
    length = b"" if line.startswith(b"204") else b"content-length: 0\r\n"
    sent = await stage.post(saying(b"HTTP/1.1 %b\r\n%b\r\n" % (line, length)))
    assert (sent.outcome, sent.status) == (outcome, int(line[:3]))


async def test_a_redirect_is_not_followed(stage: Stage) -> None:
    elsewhere = await stage.receiver(answering)
    location = f"location: {elsewhere.target().url}\r\n".encode()
    sent = await stage.post(saying(b"HTTP/1.1 308 Moved\r\ncontent-length: 0\r\n" + location + b"\r\n"))
    assert (sent.outcome, sent.status) == (Outcome.REDIRECTED, 308)
    assert "never followed" in sent.error
    assert elsewhere.connections == 0


async def test_the_environment_names_no_proxy(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = await stage.receiver(answering, tls=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    sent = await stage.post(answering)
    assert sent.outcome is Outcome.DELIVERED
    assert proxy.connections == 0


@pytest.mark.parametrize(("value", "expected"), [("120", 120), ("soon", None), ("-1", None)])
async def test_a_wait_that_is_asked_for_is_told(stage: Stage, value: str, expected: int | None) -> None:
    answer = f"HTTP/1.1 429 Slow\r\ncontent-length: 0\r\nRetry-After: {value}\r\n\r\n"
    sent = await stage.post(saying(answer.encode()))
    assert (sent.outcome, sent.status, sent.retry_after_s) == (Outcome.REFUSED, 429, expected)


async def test_a_wait_may_be_a_date(stage: Stage) -> None:
    date = email.utils.formatdate(SystemClock().unix_ns() / 1e9 + 600, usegmt=True)
    sent = await stage.post(saying(f"HTTP/1.1 503 x\r\ncontent-length: 0\r\nretry-after: {date}\r\n\r\n".encode()))
    assert sent.retry_after_s is not None
    assert 500 < sent.retry_after_s <= 600


async def test_an_answer_in_chunks_with_trailers_is_read_and_the_connection_kept(stage: Stage) -> None:
    async def chunked(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
            await peer.send(b"2;x=y\r\nde\r\n0\r\nretry-after: 5\r\n\r\n")

    receiver = await stage.receiver(chunked)
    sender = await stage.sender()
    for _ in range(2):
        sent = await sender.post(ENDPOINT, receiver.target(), posting())
        assert (sent.outcome, sent.answer, sent.retry_after_s) == (Outcome.DELIVERED, b"abcde", None)
    assert (receiver.connections, sender.reused) == (1, 1)


async def test_interim_answers_are_passed_over(stage: Stage) -> None:
    interim = b"HTTP/1.1 100 Continue\r\nretry-after: 9\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    sent = await stage.post(saying(interim, b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno"))
    assert (sent.outcome, sent.status, sent.answer, sent.retry_after_s) == (Outcome.REFUSED, 500, b"no", None)


async def test_interim_answers_without_end_are_not_waited_for(stage: Stage) -> None:
    sent = await stage.post(saying(b"HTTP/1.1 100 Continue\r\n\r\n" * 9, OK))
    assert (sent.outcome, sent.status) == (Outcome.NOT_CONNECTED, 0)


async def test_an_answer_of_no_given_length_ends_with_the_connection(stage: Stage) -> None:
    sent = await stage.post(saying(b"HTTP/1.0 200 OK\r\n\r\nfine"))
    assert (sent.outcome, sent.answer) == (Outcome.DELIVERED, b"fine")


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x00" * 64,
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    ],
)
async def test_what_is_no_answer_fails(stage: Stage, answer: bytes) -> None:
    sent = await stage.post(saying(answer))
    assert sent.outcome is Outcome.NOT_CONNECTED
    assert "the answer" in sent.error


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-len",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhalf",
    ],
)
async def test_a_connection_that_closes_within_an_answer_is_no_delivery(stage: Stage, answer: bytes) -> None:
    sent = await stage.post(saying(answer))
    assert (sent.outcome, sent.error) == (Outcome.NOT_CONNECTED, "the connection was closed within the answer")
    assert not sent.stale


async def test_a_connection_that_closes_without_an_answer_is_no_delivery(stage: Stage) -> None:
    sent = await stage.post(saying())
    assert (sent.outcome, sent.error) == (Outcome.NOT_CONNECTED, "the connection was closed without an answer")
    assert not sent.stale


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_an_endless_body_is_cut(stage: Stage, head: bytes) -> None:
    written = 0

    async def endless(peer: Peer) -> None:
        nonlocal written
        await peer.request()
        await peer.send(head)
        while True:
            await peer.send(b"x" * 4_096)
            written += 4_096
            await asyncio.sleep(0)

    sent = await stage.post(endless, answer_bytes_max=20_000)
    assert (sent.outcome, sent.status, sent.answer) == (Outcome.ANSWER_TOO_LONG, 200, b"x" * KEPT_MAX)
    assert len(sent.attempt("msg_1", 1, at_ns=0).answer) == 256


async def test_an_endless_head_is_cut(stage: Stage) -> None:
    async def endless(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await peer.send(b"x-more: %b\r\n" % (b"y" * 1_000))
            await asyncio.sleep(0)

    sent = await stage.post(endless, answer_bytes_max=20_000)
    assert sent.outcome in (Outcome.ANSWER_TOO_LONG, Outcome.NOT_CONNECTED)
    assert sent.status == 0


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nx-slow: ", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"]
)
async def test_a_slow_answer_is_waited_for_so_long_and_no_longer(stage: Stage, answer: bytes) -> None:
    sent = await stage.post(saying(answer, close=False), total_ms=300)
    assert sent.outcome is Outcome.TIMED_OUT
    assert sent.latency_us >= 300_000


async def test_a_handshake_that_stalls_ends_in_time(stage: Stage) -> None:
    silent = await stage.receiver(lambda peer: peer.reader.read(), tls=False)
    sender = await stage.sender(connect_ms=200)
    silent.context = stage.authority.server(NAME)  # only for the scheme of its URL
    sent = await sender.post(ENDPOINT, silent.target(), posting())
    assert (sent.outcome, sent.error) == (Outcome.TIMED_OUT, "no connection in time")


async def test_a_certificate_of_another_name_is_not_taken(stage: Stage) -> None:
    receiver = await stage.receiver(answering, "other.example")
    sent = await (await stage.sender()).post(ENDPOINT, receiver.target(), posting())
    assert sent.outcome is Outcome.TLS_FAILED
    assert "Hostname mismatch" in sent.error
    assert receiver.requests == []


async def test_an_expired_certificate_is_not_taken(stage: Stage) -> None:
    receiver = await stage.receiver(answering, expired=True)
    sent = await (await stage.sender()).post(ENDPOINT, receiver.target(), posting())
    assert (sent.outcome, sent.error) == (Outcome.TLS_FAILED, "the certificate is not right: certificate has expired")
    assert receiver.requests == []


async def test_an_authority_that_is_not_known_is_not_taken(stage: Stage) -> None:
    receiver = await stage.receiver(answering)
    sent = await (await stage.sender(ca_file="")).post(ENDPOINT, receiver.target(), posting())
    assert sent.outcome is Outcome.TLS_FAILED
    assert "the certificate is not right" in sent.error
    assert receiver.requests == []


async def test_a_server_without_tls_is_no_delivery(stage: Stage) -> None:
    plain = await stage.receiver(lambda peer: peer.send(OK), tls=False)
    plain.context = stage.authority.server(NAME)  # only for the scheme of its URL
    sent = await (await stage.sender()).post(ENDPOINT, plain.target(), posting())
    assert sent.outcome in (Outcome.TLS_FAILED, Outcome.NOT_CONNECTED)
    assert plain.requests == []


async def test_an_address_as_host_is_checked_against_the_certificate(stage: Stage) -> None:
    good = await stage.receiver(answering, "127.0.0.1")
    other = await stage.receiver(answering, NAME)
    sender = await stage.sender()
    assert (await sender.post(ENDPOINT, good.target("127.0.0.1"), posting())).outcome is Outcome.DELIVERED
    assert (await sender.post(ENDPOINT, other.target("127.0.0.1"), posting())).outcome is Outcome.TLS_FAILED
    assert stage.names.asked == []


async def test_a_port_that_nobody_listens_on_is_not_connected(stage: Stage) -> None:
    receiver = await stage.receiver(answering)
    async with receiver.listening() as gone:
        target = gone.target()
    sent = await (await stage.sender()).post(ENDPOINT, target, posting())
    assert (sent.outcome, sent.error) == (Outcome.NOT_CONNECTED, "the connection was refused")


async def test_a_name_that_does_not_exist_is_not_connected(stage: Stage) -> None:
    receiver = await stage.receiver(answering)
    sent = await (await stage.sender()).post(ENDPOINT, receiver.target("nowhere.example"), posting())
    assert (sent.outcome, sent.error) == (Outcome.NOT_CONNECTED, "the name cannot be resolved")


async def test_the_next_address_is_tried_where_the_first_refuses(stage: Stage) -> None:
    receiver = await stage.receiver(answering)
    stage.names.answers[NAME] = [["127.0.0.7", "127.0.0.1"]]
    sender = await stage.sender()
    assert (await sender.post(ENDPOINT, receiver.target(), posting())).outcome is Outcome.DELIVERED
    assert (sender.dialled, sender.opened) == (2, 1)


@pytest.mark.parametrize("body", [b" abc ", b'{"challenge":"abc"}'])
async def test_an_answer_to_a_challenge_is_found(stage: Stage, body: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    assert challenge_answer(await stage.post(saying(answer))) == "abc"


async def test_a_refusal_answers_no_challenge(stage: Stage) -> None:
    assert challenge_answer(await stage.post(saying(b"HTTP/1.1 404 x\r\ncontent-length: 3\r\n\r\nabc"))) == ""


@pytest.mark.parametrize("name", ["message", "signature"])
async def test_a_field_never_becomes_two(stage: Stage, name: str) -> None:
    receiver, sender = await stage.receiver(answering), await stage.sender()
    broken = dataclasses.replace(posting(), **{name: "x\r\nwebhook-id: y"})
    with pytest.raises(ValueError, match="more than one line"):
        await sender.post(ENDPOINT, receiver.target(), broken)
    assert receiver.connections == 0


async def test_what_the_log_keeps_is_bounded(stage: Stage) -> None:
    sent = await stage.post(saying(b"HTTP/1.1 500 x\r\ncontent-length: 2000\r\n\r\n" + b"y" * 2_000))
    assert sent.answer == b"y" * KEPT_MAX
    attempt = sent.attempt("msg_1", 3, at_ns=7)
    assert (attempt.number, attempt.at_ns, attempt.status, attempt.outcome) == (3, 7, 500, Outcome.REFUSED)
    assert (len(attempt.answer), attempt.error) == (256, "the answer is 500")


async def test_a_file_of_roots_that_cannot_be_read_is_said_at_once() -> None:
    with pytest.raises(OSError, match="No such file"):
        HttpsSender(SenderConfig(ca_file="/nowhere.pem"), policy=AddressPolicy(), clock=SystemClock())


@pytest.mark.parametrize("config", [SenderConfig, UdpSenderConfig])
def test_a_setting_out_of_its_bounds_is_named(config: type[Any]) -> None:
    numbers = [each.name for each in dataclasses.fields(config) if isinstance(each.default, int)]
    assert numbers
    for name in numbers:
        for value in (-1, 1 << 40):
            with pytest.raises(ValueError, match=f"{name} must be between"):
                config(**{name: value})
