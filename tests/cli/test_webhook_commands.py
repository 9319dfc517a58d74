"""`trinity webhook endpoints`, `subscriptions` and `deliveries` on a real webhook service."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from account.databases import Databases
from cli.processes import Shown, Trinity, finish, start
from trinity_core.webhook_activity import Activity, Seen
from trinity_core.webhook_breaker import Circuit
from trinity_core.webhook_retry import Outcome
from trinity_storage.webhook_outbox import PostgresOutbox
from webhook.small_webhook import AT_NS, SmallWebhook, give_up

URL = "https://hooks.acme.example/prices"


@pytest.fixture
async def webhook(databases: Databases) -> AsyncIterator[SmallWebhook]:
    async with databases.fresh() as url, SmallWebhook(url).running() as running:
        yield running


@pytest.fixture
def trinity(webhook: SmallWebhook, tmp_path: Path) -> Trinity:
    ready = tmp_path / "ready.json"
    ready.write_text(json.dumps({"grpc": {"webhook": webhook.config.listen}}))

    async def call(*arguments: str) -> Shown:
        done = await finish(await start("webhook", *arguments, env={"TRINITY_READY_FILE": str(ready)}))
        return Shown(done.code, done.out.decode(), done.err.decode())

    return call


async def document(trinity: Trinity, *arguments: str) -> Any:
    done = await trinity(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


async def test_an_endpoint_is_made_proved_changed_tried_and_removed(trinity: Trinity, webhook: SmallWebhook) -> None:
    made = await trinity("endpoints", "create", URL, "--associate", "demo", "--sign", "v1", "--sign", "v1a")
    assert made.exit_code == 0, made.stderr
    assert made.stdout.startswith("whsec_")
    assert len(made.stdout.splitlines()) == 1
    assert "whpk_" in made.stderr
    assert "only time" in made.stderr
    (listed,) = (await document(trinity, "endpoints", "list"))["endpoints"]
    name = listed["endpoint"]
    assert (listed["state"], listed["schemes"]) == ("ENDPOINT_STATE_PENDING", ["SCHEME_V1", "SCHEME_V1A"])
    wrong = await trinity("endpoints", "verify", name, "wrong")
    assert wrong.exit_code == 3
    assert "not the challenge" in wrong.stderr
    proved = await document(trinity, "endpoints", "verify", name, await webhook.challenge(name))
    assert proved["endpoint"]["state"] == "ENDPOINT_STATE_ACTIVE"
    changed = await document(trinity, "endpoints", "update", name, "--rate", "7", "--pause", "--batch-wait", "150ms")
    assert (changed["ratePerS"], changed["paused"], changed["batchWait"]) == (7, True, "0.150s")
    shown = await trinity("endpoints", "get", name)
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["ENDPOINT", name]
    assert "active, paused" in shown.stdout
    await document(trinity, "endpoints", "update", name, "--resume")
    rotated = await trinity("endpoints", "rotate-secret", name, "--sign", "v1", "--overlap", "1h")
    assert rotated.stdout.startswith("whsec_")
    assert rotated.stdout != made.stdout
    tested = await trinity("endpoints", "test", name)
    assert tested.stdout.startswith("msg_")
    found = (await document(trinity, "deliveries", "list", "--class", "test", "--state", "pending"))["deliveries"]
    assert [each["delivery"] for each in found] == [tested.stdout.strip()]
    assert (await trinity("endpoints", "delete", name)).exit_code == 0
    gone = await trinity("endpoints", "get", name)
    assert (gone.exit_code, "there is no endpoint" in gone.stderr) == (3, True)


async def test_a_bad_url_is_refused_and_says_why(trinity: Trinity) -> None:
    for url, why in (("http://hooks.acme.example/", "https"), ("https://10.0.0.1/", "private"), ("nonsense", "URL")):
        done = await trinity("endpoints", "create", url, "--associate", "demo")
        assert (done.exit_code, why in done.stderr) == (3, True), done.stderr


@pytest.mark.parametrize(
    ("options", "rule", "shown"),
    [
        (["--every-change"], {"everyChange": {}}, "every_change"),
        (["--interval", "500ms"], {"interval": {"interval": "0.500s"}}, "interval 0.500s"),
        (["--moved", "25"], {"moved": {"bps": "25"}}, "moved 25 bps"),
        (
            ["--crossing", "65000", "--direction", "up", "--hysteresis", "100", "--cooldown", "5m"],
            {"crossing": {"direction": "DIRECTION_UP", "threshold": "65000", "hysteresis": "100", "cooldown": "300s"}},
            "crossing up 65000",
        ),
        (
            ["--percent-move", "2.5", "--window", "10m"],
            {"percentMove": {"direction": "DIRECTION_EITHER", "percent": "2.5", "window": "600s"}},
            "percent_move either 2.5 % in 600s",
        ),
        (
            ["--divergence", "50", "--hysteresis", "10"],
            {"divergence": {"bps": "50", "hysteresisBps": "10"}},
            "divergence 50 bps",
        ),
        (["--staleness", "30s"], {"staleness": {"after": "30s"}}, "staleness 30s"),
        (["--recovery", "30s"], {"recovery": {"after": "30s"}}, "recovery 30s"),
    ],
)
async def test_every_rule_has_its_options(
    trinity: Trinity, webhook: SmallWebhook, options: list[str], rule: dict[str, Any], shown: str
) -> None:
    endpoint = (await webhook.active()).endpoint
    made = await document(trinity, "subscriptions", "create", endpoint, "--asset", "btc", *options)
    assert made["assets"] == ["BTC"]
    (field,) = rule
    given = {name: value for name, value in made[field].items() if value not in ("", "0s")}
    assert given == rule[field]
    listed = await trinity("subscriptions", "list", "--endpoint", endpoint)
    assert shown in listed.stdout


async def test_a_subscription_is_changed_and_removed(trinity: Trinity, webhook: SmallWebhook) -> None:
    endpoint = (await webhook.active()).endpoint
    made = (await document(trinity, "subscriptions", "create", endpoint, "--every-change"))["subscription"]
    changed = await document(trinity, "subscriptions", "update", made, "--asset", "eth", "--pause", "--moved", "5")
    assert (changed["assets"], changed["paused"], changed["moved"]) == (["ETH"], True, {"bps": "5"})
    assert (await document(trinity, "subscriptions", "get", made)) == changed
    assert (await trinity("subscriptions", "delete", made)).exit_code == 0
    assert (await document(trinity, "subscriptions", "list"))["subscriptions"] == []


async def test_the_public_keys_of_an_endpoint_are_printed_alone(trinity: Trinity, webhook: SmallWebhook) -> None:
    plain = (await webhook.endpoint()).endpoint
    signed = (await webhook.endpoint(schemes=[2], url=f"{URL}/signed")).endpoint
    shown = await trinity("endpoints", "keys", signed.endpoint)
    assert (shown.exit_code, shown.stdout) == (0, f"{signed.secrets[0].public_key}\n")
    await trinity("endpoints", "rotate-secret", signed.endpoint, "--overlap", "1h")
    both = await trinity("endpoints", "keys", signed.endpoint)
    assert both.stdout.splitlines()[1:] == shown.stdout.splitlines()
    assert f"{signed.secrets[0].public_key} signs until" in both.stderr
    documents = (await document(trinity, "endpoints", "keys", signed.endpoint))["keys"]
    assert [each["publicKey"] for each in documents] == both.stdout.splitlines()
    none = await trinity("endpoints", "keys", plain.endpoint)
    assert (none.stdout, "not signed with v1a" in none.stderr) == ("", True)


async def test_endpoints_that_were_given_up_are_shown_and_how_calls_went(
    trinity: Trinity, webhook: SmallWebhook
) -> None:
    endpoint = (await webhook.active()).endpoint
    await give_up(webhook, endpoint)
    (told,) = (await document(trinity, "notices"))["notices"]
    assert (told["endpoint"], told["reason"], told["url"]) == (endpoint, "DISABLE_REASON_GONE", URL)
    shown = await trinity("notices")
    assert f"{endpoint}  gone" in shown.stdout
    activity = Activity(
        ticks_delivered=41, alerts_delivered=1, ticks_failed=9, circuit=Circuit.OPEN, ready_time_ns=AT_NS,
        failure_time_ns=AT_NS, failure_outcome=Outcome.REFUSED, failure_error="the answer is 503", time_ns=AT_NS,
    )  # fmt: skip
    await PostgresOutbox(webhook.part.postgres).see([Seen(endpoint=endpoint, token=1, activity=activity)])
    assert (await document(trinity, "endpoints", "get", endpoint))["activity"]["ticksDelivered"] == "41"
    words = (await trinity("endpoints", "get", endpoint)).stdout.splitlines()[1]
    assert "42       9  open until" in words
    assert "the answer is 503" in words


CROSSING = ["--crossing", "100", "--direction", "up", "--cooldown", "60s"]


def samples(folder: Path, *lines: dict[str, Any]) -> str:
    file = folder / "prices.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(file)


async def test_a_rule_is_tried_with_prices_of_a_file(trinity: Trinity, tmp_path: Path) -> None:
    lines = [
        {"asset": "BTC", "time": f"2026-01-31T00:00:0{second}Z", "price": price}
        for second, price in enumerate(("99", "101", "99", "102"))
    ]
    tried = await trinity("subscriptions", "try", samples(tmp_path, *lines), "--name", "desk", *CROSSING)
    assert tried.exit_code == 0, tried.stderr
    assert "1 would have been sent for 4 prices; 1 wait still" in tried.stderr
    (told,) = (await document(trinity, "subscriptions", "try", samples(tmp_path, *lines), *CROSSING))["previews"]
    assert (told["type"], told["time"]) == ("alert.crossing", "2026-01-31T00:00:01Z")
    assert json.loads(told["body"])["data"]["price"]["price"] == "101"
    assert "alert.crossing" in tried.stdout


async def test_a_rule_is_tried_with_a_stream_of_prices(trinity: Trinity, tmp_path: Path) -> None:
    times = ("2026-01-31T00:00:05Z", "2026-01-31T00:00:03Z", "2026-01-31T00:00:09Z")
    lines = [
        {"asset": "BTC", "quote": "USD", "price": price, "state": "STATE_FRESH", "receiveTime": at}
        for at, price in zip(times, ("99", "100", "101"), strict=True)
    ]
    previews = (await document(trinity, "subscriptions", "try", samples(tmp_path, *lines), *CROSSING))["previews"]
    assert [each["time"] for each in previews] == ["2026-01-31T00:00:05Z"]


@pytest.mark.parametrize(
    ("lines", "code", "why"),
    [
        ([], 2, "there is no price in"),
        ([{"asset": "BTC", "prise": "1"}], 2, "price 1 cannot be read"),
        ([{"asset": "BTC", "price": "1"}] * 1_001, 2, "more than 1000 prices"),
        ([{"asset": "BTC", "price": "1"}], 3, "samples[0].time"),
        ([{"asset": "BTCC", "time": "2026-01-31T00:00:00Z", "price": "1"}], 3, "BTCC"),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_prices_that_make_no_sense_are_refused(
    trinity: Trinity, tmp_path: Path, lines: list[dict[str, Any]], code: int, why: str
) -> None:
    done = await trinity("subscriptions", "try", samples(tmp_path, *lines), *CROSSING)
    assert (done.exit_code, why in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["subscriptions", "create", "whe_1"], "name one rule"),
        (["subscriptions", "try", "/dev/null"], "name one rule"),
        (["subscriptions", "create", "whe_1", "--every-change", "--moved", "5"], "name one rule"),
        (["subscriptions", "update", "whs_1"], "name what to change"),
        (["endpoints", "update", "whe_1"], "name what to change"),
        (["deliveries", "replay", "whe_1", "--start", "yesterday", "--end", "now"], "no time"),
    ],
)
async def test_wrong_usage_is_said_before_anybody_is_asked(arguments: list[str], why: str) -> None:
    done = await finish(await start("webhook", *arguments))
    assert done.code == 2
    assert why in done.err.decode()


async def test_deliveries_are_sent_again_one_by_one_and_by_time(trinity: Trinity, webhook: SmallWebhook) -> None:
    endpoint = (await webhook.active()).endpoint
    sent = (await trinity("endpoints", "test", endpoint)).stdout.strip()
    again = await document(trinity, "deliveries", "redeliver", sent)
    assert (again["delivery"], again["state"]) == (sent, "DELIVERY_STATE_PENDING")
    day = ["--start", "2026-01-01T00:00:00Z", "--end", "2026-01-02T00:00:00Z"]
    assert await document(trinity, "deliveries", "replay", endpoint, *day) == {"count": 0}
    assert (await trinity("deliveries", "replay", endpoint, *day)).stdout == "0\n"
    shown = (await trinity("deliveries", "list", "--endpoint", endpoint)).stdout.splitlines()
    assert shown[0].split()[0] == "DELIVERY"
    assert any(line.split()[:3] == [sent, "webhook.test", "pending"] for line in shown)
