"""Keys, scopes and admission at the bridge."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from bridge_stage import Stage, error_of, shelf_stage
from trinity_core.errors import Code, Reason, TrinityError
from trinity_http.answer import Admitted, Call, Outcome
from trinity_http.auth import SettingsFileKeys
from trinity_mesh.config import ConfigError

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOOK = "/v1/shelves/1/books/2"


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def unix_ns(self) -> int:
        return self.now_ns

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


def keys_text(**keys: Sequence[str]) -> str:
    entries = [
        {"id": f"{key}-id", "key_sha256": hashlib.sha256(key.encode()).hexdigest(), "scopes": list(scopes)}
        for key, scopes in keys.items()
    ]
    return json.dumps({"keys": entries})


class Counting:
    """Admission that writes down what happens, and refuses when told to."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.outcomes: list[Outcome] = []
        self.requests: list[Any] = []
        self.ends: list[Any] = []
        self.sent_count = 0
        self.closed = 0
        self.refuse: TrinityError | None = None
        self.refuse_answer: TrinityError | None = None
        self.stop_after = 1 << 30

    def admit(self, call: Call) -> Admitted:
        self.calls.append(call)
        if self.refuse is not None:
            raise self.refuse
        return self

    def bound(self, request: Any) -> None:
        self.requests.append(request)

    async def answer(self, outcome: Outcome) -> Sequence[tuple[bytes, bytes]]:
        self.outcomes.append(outcome)
        if self.refuse_answer is not None:
            raise self.refuse_answer
        return [(b"ratelimit", b"limit=10")]

    def opened(self, end: Any) -> None:
        self.ends.append(end)

    def sent(self, messages: int) -> None:
        self.sent_count += messages
        if self.sent_count > self.stop_after:
            raise TrinityError(Reason.RATE_LIMITED, "enough for now", retry_after_ms=2_500)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest_asyncio.fixture(loop_scope="module")
async def guarded(shelf_set: bytes, tmp_path: Path, counting: Counting) -> AsyncIterator[Any]:
    path = tmp_path / "keys.json"
    path.write_text(keys_text(reader=["books.read"], writer=["books.read", "books.write"], nobody=[]))
    keys = SettingsFileKeys(path, clock=HandClock())
    async with shelf_stage(shelf_set, tmp_path, authenticate=keys, admission=counting) as running:
        yield running


@pytest.mark.parametrize(
    ("authorization", "reason", "challenge"),
    [
        (None, "MISSING_KEY", 'Bearer realm="trinity-beast"'),
        ("", "MISSING_KEY", 'Bearer realm="trinity-beast"'),
        ("Basic cmVhZGVyOg==", "MISSING_KEY", 'Bearer realm="trinity-beast"'),
        ("Bearer", "MISSING_KEY", 'Bearer realm="trinity-beast"'),
        ("Bearer reader extra", "MISSING_KEY", 'Bearer realm="trinity-beast"'),
        ("Bearer readers", "INVALID_KEY", 'Bearer realm="trinity-beast", error="invalid_token"'),
        ("Bearer " + "x" * 512, "INVALID_KEY", 'Bearer realm="trinity-beast", error="invalid_token"'),
        ("Bearer " + "x" * 5_000, "MISSING_KEY", 'Bearer realm="trinity-beast"'),
    ],
)
async def test_a_call_without_a_good_key_is_401(
    guarded: Stage, authorization: str | None, reason: str, challenge: str
) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    response = await guarded.client.get(BOOK, headers=headers)
    assert error_of(response) == (401, reason)
    assert response.headers["www-authenticate"] == challenge
    assert (authorization or "none").removeprefix("Bearer ") not in response.text or authorization in ("", "Bearer")


async def test_a_good_key_is_taken_whatever_the_case_of_its_scheme(guarded: Stage) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert (await guarded.get(BOOK, authorization=f"{scheme} reader")).status_code == 200


async def test_a_key_without_the_scope_is_403_and_the_scope_named(guarded: Stage) -> None:
    response = await guarded.client.delete(BOOK, headers={"authorization": "Bearer reader"})
    assert error_of(response) == (403, "MISSING_SCOPE")
    assert "books.write" in response.text
    assert (await guarded.client.delete(BOOK, headers={"authorization": "Bearer writer"})).status_code == 200
    anybody = await guarded.get("/v1/any/x", authorization="Bearer nobody")
    assert anybody.status_code == 200


async def test_a_socket_needs_a_key_like_any_request(guarded: Stage, counting: Counting) -> None:
    address = f"ws://127.0.0.1:{guarded.port}/v1/count?to=1"
    with pytest.raises(InvalidStatus) as caught:
        async with connect(address):
            pass
    assert caught.value.response.status_code == 401
    assert "www-authenticate" in caught.value.response.headers
    async with connect(address, additional_headers={"authorization": "Bearer reader"}) as socket:
        assert socket.response is not None
        assert socket.response.headers["ratelimit"] == "limit=10"
        assert json.loads(await socket.recv())["number"] == "1"
    assert (counting.calls[-1].transport, counting.sent_count) == ("websocket", 1)


async def test_an_anonymous_method_and_the_gateways_own_pages_need_no_key(guarded: Stage) -> None:
    for path in ("/v1/isbn/9780141036137", "/healthz", "/readyz", "/docs", "/openapi.json"):
        assert (await guarded.get(path)).status_code == 200
    assert error_of(await guarded.get("/nowhere")) == (404, "UNKNOWN_PATH")


async def test_the_document_says_which_calls_need_a_key(guarded: Stage) -> None:
    document = (await guarded.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
    assert document["paths"]["/v1/shelves/{name_1}/books/{name_2}"]["get"]["security"] == [{"bearer": ["books.read"]}]
    assert document["paths"]["/v1/isbn/{isbn}"]["get"]["security"] == []


async def test_admission_sees_each_call_and_how_it_ended(guarded: Stage, counting: Counting) -> None:
    good = await guarded.get(BOOK, authorization="Bearer reader", x_request_id="r-1")
    assert good.headers["ratelimit"] == "limit=10"
    call, outcome = counting.calls[-1], counting.outcomes[-1]
    assert call.principal is not None
    assert (call.principal.key_id, call.method.name, call.request_id) == ("reader-id", "GetBook", "r-1")
    assert call.request is not None
    assert call.request.name == "shelves/1/books/2"  # type: ignore[attr-defined]
    assert (outcome.code, outcome.http_status, outcome.local) == (Code.OK, 200, False)
    bad = await guarded.get("/v1/shelves/1/books?page_size=101", authorization="Bearer reader")
    assert bad.headers["ratelimit"] == "limit=10"
    assert (counting.outcomes[-1].reason, counting.outcomes[-1].http_status) == ("INVALID_FIELD", 400)
    await guarded.get(BOOK)
    assert (len(counting.calls), len(counting.outcomes), counting.closed) == (2, 2, 2)


async def test_admission_may_refuse_before_and_after_the_work(guarded: Stage, counting: Counting) -> None:
    counting.refuse = TrinityError(Reason.RATE_LIMITED, "slower", retry_after_ms=1_001)
    refused = await guarded.get(BOOK, authorization="Bearer reader")
    assert error_of(refused) == (429, "RATE_LIMITED")
    assert refused.headers["retry-after"] == "2"
    counting.refuse = None
    counting.refuse_answer = TrinityError(Reason.STORE_UNAVAILABLE, "nobody can count this")
    assert error_of(await guarded.get(BOOK, authorization="Bearer reader")) == (503, "STORE_UNAVAILABLE")
    assert error_of(await guarded.get("/v1/count?to=1", authorization="Bearer reader")) == (503, "STORE_UNAVAILABLE")
    with pytest.raises(InvalidStatus) as caught:
        async with connect(
            f"ws://127.0.0.1:{guarded.port}/v1/count?to=1", additional_headers={"authorization": "Bearer reader"}
        ):
            pass
    assert caught.value.response.status_code == 503
    assert len(counting.outcomes) == 3, "each call was settled once"
    assert not guarded.app.state.bridge.core.streams


async def test_admission_counts_the_messages_of_a_stream_and_may_end_it(guarded: Stage, counting: Counting) -> None:
    response = await guarded.get("/v1/count?to=3", authorization="Bearer reader")
    assert len(response.json()) == counting.sent_count == 3
    counting.stop_after = 4
    body = b""
    headers = {"authorization": "Bearer reader", "accept": "application/x-ndjson"}
    with pytest.raises(Exception, match="incomplete chunked read"):
        async with guarded.client.stream("GET", "/v1/count?to=3", headers=headers) as stream:
            async for part in stream.aiter_raw():
                body += part
    assert json.loads(body.splitlines()[-1])["error"]["details"][0]["reason"] == "RATE_LIMITED"
    assert counting.closed == 2


async def test_keys_are_read_again_when_their_file_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, clock = tmp_path / "keys.json", HandClock()
    path.write_text(keys_text(first=["a"]))
    keys = SettingsFileKeys(path, clock=clock, reread_ms=1_000)

    async def known(key: str) -> bool:
        try:
            return (await keys.authenticate(key)).key_id == f"{key}-id"
        except TrinityError as error:
            assert error.reason is Reason.INVALID_KEY
            return False

    def replace(text: str) -> None:
        beside = tmp_path / "beside"
        beside.write_text(text)
        beside.replace(path)

    assert await known("first")
    replace(keys_text(second=["a"]))
    assert await known("first"), "the file is looked at once a second at most"
    clock.now_ns += 1_000_000_000
    assert (await known("first"), await known("second")) == (False, True)
    replace("{ broken")
    clock.now_ns += 1_000_000_000
    with caplog.at_level(logging.ERROR):
        assert await known("second")
    assert "stay as they were" in caplog.text
    path.unlink()
    clock.now_ns += 1_000_000_000
    assert await known("second")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"keys": [{"id": "a", "key": "plain"}]}',
        '{"keys": [{"id": "a", "key_sha256": "00"}]}',
        '{"keys": [{"id": "", "key_sha256": "' + "0" * 64 + '"}]}',
        '{"keys": [{"id": "a", "key_sha256": "' + "0" * 64 + '", "scope": "x"}]}',
        '{"keys": [{"id": "a", "key_sha256": "' + "0" * 64 + '"}, {"id": "b", "key_sha256": "' + "0" * 64 + '"}]}',
    ],
)
async def test_a_key_file_that_is_none_is_a_configuration_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="key file"):
        SettingsFileKeys(path, clock=HandClock())


async def test_a_key_file_that_is_missing_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        SettingsFileKeys(tmp_path / "none.json", clock=HandClock())
